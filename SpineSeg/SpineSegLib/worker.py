"""The process that runs long jobs for a front door: `python -m SpineSegLib.worker`, or this file by its path.

Requests come as JSON lines on stdin: {"id": 1, "kind": "segment", "parameters": {...}} starts a job once those before
it are done, {"cancel": 1} ends it. Events go to stdout as JSON lines, each with the job's "id": those of the kind, then
one of "finished" (with "result"), "cancelled" or "failed" (with "message", a sentence, and "kind", the error's class).
What libraries print goes to stderr. The process ends when stdin does, even in the middle of a job, and so it ends with
the program that started it, however that ended; the folder named as its argument, that program's temporary one, goes
with it. See `worker_client` for the other side.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import queue
import shutil
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, BinaryIO

if __name__ == "__main__" and not __package__:
    # run by its path: the package must be found, and its modules not as modules of their own
    package = Path(__file__).resolve().parent
    sys.path[:] = [str(package.parent), *(path for path in sys.path if Path(path).resolve() != package)]

from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.jobs import KINDS, Cancelled

GRACE = 0.5  # seconds that a running job gets to close what it has open when the process must end


class Worker:
    """Takes requests from one stream and sends events to another."""

    def __init__(self, requests: BinaryIO, events: BinaryIO, temporary: str | None) -> None:
        """`temporary`: a folder to remove at the end."""
        self._temporary = temporary
        self._requests = requests
        self._events = events
        self._waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._ending = False
        self._idle = threading.Event()

    def run(self) -> None:
        """Run jobs until the requests end; doesn't return."""
        self._send(0, "ready", {})
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            self._idle.set()
            request = self._waiting.get()
            self._idle.clear()
            self._run_job(request["id"], request["kind"], request["parameters"])
            gc.collect()  # lets go of mapped files, which Windows can't remove before

    def _read(self) -> None:
        for line in self._requests:
            try:
                request = json.loads(line)
                if "cancel" in request:
                    self._cancelled.add(int(request["cancel"]))
                else:
                    job = {"id": int(request["id"]), "kind": str(request["kind"])}
                    self._waiting.put(job | {"parameters": dict(request["parameters"])})
            except (ValueError, TypeError, KeyError):
                print(f"not a request: {line[:80]!r}", file=sys.stderr, flush=True)
        self._ending = True
        self._idle.wait(GRACE)
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)
        # threads and libraries have nothing left to do, and some take long to find that out
        os._exit(0)

    def _run_job(self, number: int, kind: str, parameters: dict[str, Any]) -> None:
        def check() -> None:
            if self._ending or number in self._cancelled:
                raise Cancelled

        def report(event: str, **values: Any) -> None:
            check()
            self._send(number, event, values)

        try:
            check()
            result = importlib.import_module(KINDS[kind].module).run(parameters, report, check)
            check()
            self._send(number, "finished", {"result": result})
        except Cancelled:
            self._send(number, "cancelled", {})
        except Exception as error:
            traceback.print_exc()
            self._send(number, "failed", {"message": sentence(error), "kind": type(error).__name__})

    def _send(self, number: int, event: str, values: dict[str, Any]) -> None:
        line = json.dumps({"id": number, "event": event, **values}, allow_nan=False)
        self._events.write(line.encode("ascii") + b"\n")
        self._events.flush()


def sentence(error: Exception) -> str:
    """What is said about an error: never what a library says, which may name files and so patients."""
    if isinstance(error, SpineSegError):
        return str(error)
    if isinstance(error, MemoryError):
        return "The computer ran out of memory; close other programs or segment a part of the CT."
    if isinstance(error, ImportError):
        return f"The Python package {error.name} is missing or damaged; install what SpineSeg needs again."
    reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return f"Unexpected {type(error).__name__}{reason} in the computation; start it again."


def main() -> None:
    """Serve stdin and stdout."""
    # Ctrl-C in a terminal reaches every process there; what it means is the front door's business
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print
    Worker(sys.stdin.buffer, events, sys.argv[1] if len(sys.argv) > 1 else None).run()


if __name__ == "__main__":
    main()
