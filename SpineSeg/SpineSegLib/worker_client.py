"""A front door's side of the worker process: starts it, gives it jobs, and reads what it says without ever waiting.

No threads are used and no pipes read: Slicer's event loop lets Python threads starve. The worker's events go into a
file, and `Job.poll`, called by a timer, reads what is new in it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from SpineSegLib.engine.errors import ComputeError, OutputError, SpineSegError
from SpineSegLib.jobs import KINDS

PATIENCE = 1.0  # seconds until a worker that doesn't do what it is asked is killed
REAPING = 0.02  # seconds that a killed process gets to vanish; the system may need longer, and nobody must wait for it
LOG_TAIL = 4000  # bytes


class Job:
    """One job of a `WorkerProcess`.

    `state`: "running", "finished", "cancelled" or "failed", as of the last `poll`. `result`: what a finished job gave.
    `message`: one sentence on why a job failed.
    """

    def __init__(self, process: _Process | None, number: int, failure: str = "") -> None:
        self.state = "failed" if failure else "running"
        self.result: dict[str, Any] = {}
        self.message = failure
        self._process = process
        self._number = number
        self._cancelled_at: float | None = None

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called, also while the worker still has to obey."""
        return self._cancelled_at is not None

    def poll(self) -> list[dict[str, Any]]:
        """The events since the last call, in order; see `jobs` for what they are. Never blocks.

        Of a job that was cancelled no more events come; `state` tells when it has ended.
        """
        if self.state != "running":
            return []
        alive = self._process.alive  # asked first: what a process says before it ends is read after
        events = self._process.events_of(self._number)
        last = events[-1] if events else {"event": ""}
        if self._cancelled_at is not None:
            events = []
            late = time.monotonic() - self._cancelled_at > PATIENCE
            if late:
                self._process.kill()
            if late or not alive or last["event"] in ("finished", "cancelled", "failed"):
                self.state = "cancelled"
        elif last["event"] == "finished":
            self.state, self.result = "finished", last["result"]
        elif last["event"] == "failed":
            self.state, self.message = "failed", last["message"]
        elif not alive:
            self.state, self.message = "failed", self._process.epitaph()
        return events

    def cancel(self) -> None:
        """Ask the worker to stop; go on polling until `state` is no longer "running".

        A worker that doesn't stop within a second is killed.
        """
        if self.state == "running" and self._cancelled_at is None:
            self._cancelled_at = time.monotonic()
            self._process.send({"cancel": self._number})


class WorkerProcess:
    """Runs jobs, one at a time, in a process of its own, which is started when it is needed and stays for the next job.

    A job that needs another backend or device than the one before gets another process, as Keras can't change its
    backend. Use it as a context manager or `close` it; at the latest the process ends with this one.
    """

    def __init__(self, python: str | Path | None = None, environment: dict[str, str] | None = None) -> None:
        """`python`: the interpreter, None for the one that runs here. `environment`: of the process, None for that of
        this one."""
        self._python = str(python or sys.executable)
        self._environment = environment
        self._folder: Path | None = None
        self._process: _Process | None = None
        self._made_for: tuple[str, str, str | None] | None = None
        self._job: Job | None = None
        self._count = 0

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether a process is there."""
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int | None:
        """Number of the process, None without one."""
        return self._process.pid if self.alive else None

    @property
    def busy(self) -> bool:
        """Whether a job, other than warming up, has neither ended nor been cancelled as of its last `poll`."""
        return self._job is not None and self._job.state == "running" and not self._job.cancelled

    def start_job(self, kind: str, *, device: str = "auto", backend: str | None = None, **parameters: Any) -> Job:
        """Start a job of one of `jobs.KINDS`; the parameters, plain JSON values, are those of the kind.

        Where the process can't be started, the job that comes back has failed. Raises RuntimeError while another job
        runs, KeyError for an unknown kind.
        """
        if self.busy:
            raise RuntimeError("a job is still running")
        if self._job is not None:
            self._job.poll()
            if self._job.state == "running":
                self._process.kill()  # it was cancelled and takes its time
        self._job = self._start(kind, device, backend, parameters)
        return self._job

    def warm(self, model: str | Path, device: str = "auto", backend: str | None = None) -> Job | None:
        """Load a network before it is needed. Nothing needs to be done with the job. None while another job runs."""
        if self._job is not None and self._job.state == "running":
            return None
        return self._start("warm", device, backend, {"model": str(model)})

    def new_folder(self) -> Path:
        """A new, empty temporary folder for what a job reads and writes; goes by `remove_folder`, at the latest by
        `close`. Raises OutputError where none can be made."""
        try:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="spineseg-"))
                atexit.register(self.close)
            return Path(tempfile.mkdtemp(prefix="job-", dir=self._folder))
        except OSError as error:
            raise OutputError(f"No temporary folder can be made ({error.strerror}); make space for one.") from None

    def remove_folder(self, folder: str | Path) -> None:
        """Remove a folder of `new_folder`. What can't go yet, as a file still in use on Windows, goes by `close`."""
        shutil.rmtree(folder, ignore_errors=True)

    def log_tail(self) -> str:
        """The last of what libraries printed in the process and where unexpected errors came from, for bug reports."""
        return self._process.log_tail() if self._process is not None else ""

    def close(self) -> None:
        """End the process, in about a second at most, and remove all temporary files. A later job starts a new one."""
        if self._job is not None:
            self._job.cancel()
        if self._process is not None:
            self._process.end()
        if self._job is not None:
            self._job.poll()
        self._process = self._job = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            atexit.unregister(self.close)
        self._folder = None

    def _start(self, kind: str, device: str, backend: str | None, parameters: dict[str, Any]) -> Job:
        purpose = KINDS[kind].purpose
        made_for = (purpose, device, backend) if purpose or not self.alive else self._made_for
        self._count += 1
        try:
            if not self.alive or made_for != self._made_for:
                if self._process is not None:
                    self._process.kill()
                folder = self.new_folder()
                self._process = _Process(self._python, self._environment, folder, self._folder)
                self._made_for = made_for
        except SpineSegError as error:
            self._process = None
            return Job(None, self._count, str(error))
        parameters = {**parameters, "device": device, "backend": backend}
        self._process.send({"id": self._count, "kind": kind, "parameters": parameters})
        return Job(self._process, self._count)


class _Process:
    """The process, with its events and its log in files of `folder`."""

    def __init__(self, python: str, environment: dict[str, str] | None, folder: Path, temporary: Path) -> None:
        """`temporary`: what the process removes where it ends because this one did. Raises ComputeError."""
        package = Path(__file__).resolve().parent
        environment = dict(os.environ if environment is None else environment)
        paths = [str(package.parent), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        self._log = folder / "log.txt"
        self._events: dict[int, list[dict[str, Any]]] = {}
        self._incomplete = b""
        self._started = self._killed = False
        try:
            with (folder / "events.jsonl").open("wb") as events, self._log.open("wb") as log:
                self._popen = subprocess.Popen(
                    [python, str(package / "worker.py"), str(temporary)],
                    stdin=subprocess.PIPE,
                    stdout=events,
                    stderr=log,
                    bufsize=0,
                    env=environment,
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # Windows would show a console
                )
            self._reader = (folder / "events.jsonl").open("rb")
        except OSError as error:
            raise ComputeError(
                f"The computation can't be started ({error.strerror}); check the Python it needs, or install it again."
            ) from None

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return not self._killed and self._popen.poll() is None

    def send(self, request: dict[str, Any]) -> None:
        # that the process has ended shows at the next poll
        with contextlib.suppress(OSError, ValueError):
            self._popen.stdin.write(json.dumps(request, allow_nan=False).encode("ascii") + b"\n")

    def events_of(self, number: int) -> list[dict[str, Any]]:
        """What was said about a job since the last call."""
        if self._reader.closed:
            return []
        *lines, self._incomplete = (self._incomplete + self._reader.read()).split(b"\n")
        for line in lines:
            event = json.loads(line)
            self._started = True
            self._events.setdefault(event["id"], []).append(event)
        return self._events.pop(number, [])

    def epitaph(self) -> str:
        """Why the process has ended, as far as one can tell."""
        if not self._started:
            return "The computation could not start; install what SpineSeg needs in Python again."
        return (
            "The computation stopped unexpectedly, perhaps because memory or disk space ran out; start it again, and "
            "close other programs if it stops again."
        )

    def log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return self._log.read_bytes()[-LOG_TAIL:].decode("utf-8", "replace")
        return ""

    def kill(self) -> None:
        """End it at once."""
        self._killed = True
        self._popen.kill()
        with contextlib.suppress(OSError):
            self._popen.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(REAPING)

    def end(self) -> None:
        """Let it end by itself, kill it if it doesn't, and close its files."""
        with contextlib.suppress(OSError):
            self._popen.stdin.close()
        try:
            self._popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.close()
