"""The process itself: it obeys, it ends when it must, and when it is killed nothing is lost but the job."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import SpineSegLib.worker
from geometry import smooth_ct
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.exchange import open_mask, write_volume_steps
from SpineSegLib.worker_client import WorkerProcess
from worker_models import PATIENCE, gone, wait

LIBRARY = Path(SpineSegLib.worker.__file__).parent
GEOMETRY = {"spacing": (1.5, 1.5, 2.0), "origin": (0.0, 0.0, 0.0), "direction": (1, 0, 0, 0, 1, 0, 0, 0, 1)}


def hand_over(folder, repeats=1):
    """A CT that takes `repeats` times as long as the smallest one."""
    array = np.tile(sitk.GetArrayFromImage(smooth_ct()), (repeats, 1, 1))
    for _ in write_volume_steps(folder, array, **GEOMETRY):
        pass


def segment(worker, folder, model, **parameters):
    return worker.start_job("segment", device="cpu", folder=str(folder), model=str(model), whole=True, **parameters)


def long_job(worker, folder, model):
    """A job that is computing and takes minutes if nobody stops it."""
    hand_over(folder, 300)
    job = segment(worker, folder, model)
    wait(job, "progress", 3)
    return job


def test_cancel_stops_the_job_and_not_the_process(worker, folder, model):
    job = long_job(worker, folder, model)
    pid = worker.pid
    assert worker.busy
    with pytest.raises(RuntimeError, match="still running"):
        segment(worker, folder, model)
    assert worker.warm(model) is None
    job.cancel()
    assert job.cancelled
    assert not worker.busy
    assert wait(job) == []
    assert job.state == "cancelled"
    assert worker.pid == pid  # it did as it was asked and wasn't killed
    assert (open_mask(folder)[-1] == 255).all()
    hand_over(folder)
    job = segment(worker, folder, model)
    wait(job)
    assert job.state == "finished"
    assert worker.pid == pid


def test_a_process_that_does_not_obey_is_killed(worker, folder, model):
    job = long_job(worker, folder, model)
    pid = worker.pid
    os.kill(pid, signal.SIGSTOP)
    job.cancel()
    wait(job)
    assert job.state == "cancelled"
    assert gone(pid)
    assert not worker.alive
    job = worker.start_job("segment", device="cpu", folder=str(folder), model="none")
    wait(job)
    assert job.state == "failed"
    assert "none" in job.message
    assert worker.pid not in (None, pid)


def test_a_job_after_one_that_was_cancelled_and_never_ended(worker, folder, model):
    job = long_job(worker, folder, model)
    os.kill(worker.pid, signal.SIGSTOP)
    job.cancel()
    hand_over(folder)
    following = segment(worker, folder, model)
    wait(following)
    assert following.state == "finished"
    wait(job)
    assert job.state == "cancelled"


def test_a_killed_process_is_one_sentence_and_the_next_job_has_a_new_one(worker, folder, model):
    job = long_job(worker, folder, model)
    pid = worker.pid
    os.kill(pid, signal.SIGKILL)
    events = wait(job)
    assert all(event["event"] == "progress" for event in events)
    assert job.state == "failed"
    assert job.message.startswith("The computation stopped unexpectedly")
    assert job.message.endswith(".")
    assert job.poll() == []
    hand_over(folder)
    job = segment(worker, folder, model)
    wait(job)
    assert job.state == "finished"
    assert worker.pid != pid


def test_nothing_is_left_after_close(model):
    worker = WorkerProcess()
    folder = worker.new_folder()
    job = long_job(worker, folder, model)
    pid = worker.pid
    worker.close()
    assert job.state == "cancelled"
    assert gone(pid)
    assert not folder.parent.exists()
    assert not worker.alive
    worker.close()
    # and it can be used again
    hand_over(worker.new_folder())
    job = worker.start_job("segment", device="cpu", folder="none", model="none")
    wait(job)
    assert job.state == "failed"
    worker.close()


def test_the_folder_goes_also_after_a_kill(tmp_path):
    worker = WorkerProcess()
    folder = worker.new_folder()
    job = worker.start_job("segment", device="cpu", folder=str(folder), model="none")
    os.kill(worker.pid, signal.SIGKILL)
    wait(job)
    worker.close()
    assert not folder.parent.exists()


PARENT = """
import os, signal, sys, time
sys.path += {paths!r}
from test_process import long_job
from SpineSegLib.worker_client import WorkerProcess
from worker_models import wait

worker = WorkerProcess()
folder = worker.new_folder()
if {job}:
    long_job(worker, folder, {model!r})
else:
    wait(worker.start_job("segment", device="cpu", folder="none", model="none"))
print(worker.pid, folder.parent, flush=True)
{end}
"""


@pytest.mark.parametrize(
    ("job", "end"),
    [(True, "os.kill(os.getpid(), signal.SIGKILL)"), (False, "os._exit(1)"), (False, "raise SystemExit")],
)
def test_it_ends_with_the_program_that_started_it(model, job, end):
    """In the middle of a job, however that program ends, and takes the patient's CT in the temporary folder with it."""
    program = PARENT.format(paths=[path for path in sys.path if path], model=str(model), job=job, end=end)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    pid, folder = done.stdout.split()
    assert gone(int(pid))
    assert not Path(folder).exists()


def test_another_device_or_backend_gets_another_process():
    with WorkerProcess() as worker:
        pids = []
        for choice in (
            {"device": "cpu"},
            {"device": "cpu"},
            {"device": "auto"},
            {"device": "auto", "backend": "torch"},
        ):
            wait(worker.start_job("segment", folder="none", model="none", **choice))
            pids.append(worker.pid)
        assert pids[0] == pids[1]
        assert len(set(pids)) == 3
        assert all(gone(pid) for pid in set(pids[:-1]))


@pytest.mark.parametrize(
    ("python", "words"), [("/nowhere/python", "can't be started"), ("/bin/false", "could not start")]
)
def test_a_python_that_does_not_run_is_one_sentence(python, words):
    with WorkerProcess(python) as worker:
        job = worker.start_job("segment", device="cpu", folder="none", model="none")
        wait(job)
        assert job.state == "failed"
        assert words in job.message
        assert job.message.endswith(".")
        assert "nowhere" not in job.message


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits another process")
def test_a_full_disk_is_one_sentence(worker, folder, model):
    """A limit on a file's size stands in for the end of the disk: the same call fails."""
    hand_over(folder, 20)
    warming = worker.warm(model, device="cpu")
    wait(warming)
    before = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        job = segment(worker, folder, model)
        wait(job)
    finally:
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, before)
    assert job.state == "failed"
    assert job.message.startswith("There is not enough space for temporary files")


def test_the_environment_is_passed_on_and_what_libraries_print_does_not_disturb(tmp_path):
    """The package is found wherever it lies, also where the environment names other paths."""
    program = (
        "import os, sys\nif 'worker' in sys.orig_argv[1]:\n    os.write(2, os.environ['SPINESEG_TEST'].encode())\n"
    )
    (tmp_path / "sitecustomize.py").write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "SPINESEG_TEST": "from the environment"}
    with WorkerProcess(environment=environment) as worker:
        wait(worker.start_job("segment", device="cpu", folder="none", model="none"))
        assert "from the environment" in worker.log_tail()


# --- the protocol, without the client ---------------------------------------------------------------------------------

COMMANDS = [["-m", "SpineSegLib.worker"], [str(LIBRARY / "worker.py")]]


def talk(lines, answers, command=COMMANDS[0], cwd=None):
    """Send lines, wait until so many jobs are answered, then let the process end by itself; all events and the log."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if command[0] == "-m":
        environment["PYTHONPATH"] = str(LIBRARY.parent)
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment, cwd=cwd,
    )  # fmt: skip
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    with process:
        process.stdin.writelines(line + b"\n" for line in lines)
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == {"id": 0, "event": "ready"}
        events = [json.loads(process.stdout.readline()) for _ in range(answers)]
        process.stdin.close()
        assert process.stdout.read() == b""
        log = process.stderr.read().decode()
    watchdog.cancel()
    assert process.returncode == 0
    return events, log


def request(number, kind="segment", **parameters):
    return json.dumps({"id": number, "kind": kind, "parameters": parameters}).encode()


@pytest.mark.parametrize("command", COMMANDS)
def test_it_runs_by_module_and_by_path(command, tmp_path):
    events, _ = talk([request(5, folder="none", model="none")], 1, command, tmp_path)
    assert [(event["id"], event["event"], event["kind"]) for event in events] == [(5, "failed", "InputError")]


def test_what_is_no_request_is_passed_over():
    garbage = [
        b"",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b"{",
        b'{"id": "x"}',
        b'{"id": 1}',
        b'"text"',
        b"null",
        b'{"cancel": []}',
    ]
    garbage += [b'{"id": 2, "kind": "segment"}'[:-10], b"x" * 100_000]
    events, log = talk([*garbage, request(1, folder="none", model="none"), *garbage], 1)
    assert [(event["id"], event["event"]) for event in events] == [(1, "failed")]
    assert "not a request" in log


def test_unknown_kinds_and_missing_parameters_are_answered():
    events, _ = talk([request(1, kind="dance"), request(2), request(3, folder=7)], 3)
    assert [event["id"] for event in events] == [1, 2, 3]
    assert all(event["message"].startswith("Unexpected ") and event["message"].endswith(".") for event in events)


def test_a_job_cancelled_before_its_turn_does_not_run():
    lines = [b'{"cancel": 2}', request(1, folder="none", model="none"), request(2, folder="none", model="none")]
    events, _ = talk(lines, 2)
    assert [(event["id"], event["event"]) for event in events] == [(1, "failed"), (2, "cancelled")]


def test_ctrl_c_in_the_terminal_is_not_for_the_worker(worker):
    wait(worker.start_job("segment", device="cpu", folder="none", model="none"))
    pid = worker.pid
    os.kill(pid, signal.SIGINT)
    time.sleep(0.05)
    wait(worker.start_job("segment", device="cpu", folder="none", model="none"))
    assert worker.pid == pid


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("The CT is no CT; choose one."), "The CT is no CT; choose one."),
        (MemoryError(), "ran out of memory"),
        (OSError(5, "Input/output error", "/home/jane/Doe^John.dcm"), "Unexpected OSError (Input/output error)"),
        (RuntimeError("reading /home/jane/Doe^John.dcm"), "Unexpected RuntimeError"),
        (ModuleNotFoundError("No module named 'h5py'", name="h5py"), "package h5py is missing"),
    ],
)
def test_sentences_name_no_files(error, said):
    sentence = SpineSegLib.worker.sentence(error)
    assert said in sentence
    assert sentence.endswith(".")
    assert "John" not in sentence
