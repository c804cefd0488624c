"""Jobs for processes of their own; they import this file by its name."""

import os
import signal
import time


def die(*_):
    os._exit(9)


def work(job):
    kind, value = job
    if kind == "square":
        return value**2
    if kind == "die":
        os._exit(value)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    if kind == "raise":
        raise ValueError(value)
    if kind == "environment":
        return os.environ.get(value)
    if kind == "cores":
        return sorted(os.sched_getaffinity(0))
    if kind == "process":
        time.sleep(0.3)
        return os.getpid()
    if kind == "sleep":
        time.sleep(value)
    return None
