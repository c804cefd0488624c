"""Runs jobs in processes of their own, each with its share of the machine; one that dies takes only its job with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

MEMORY_EACH = 2 * 2**30  # bytes that segmenting a large CT takes, rounded up
CORES_EACH = 2  # reading and tidying use one core, so that more of them would often wait


@dataclass(frozen=True)
class Share:
    """What one process gets: cores (numbers as the system has them; empty: any) and further environment variables."""

    cores: tuple[int, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Died:
    """Stands for the result of a job whose process ended without one."""

    code: int | None


def shares(count: int, gpus: int = 0, cores_each: int = CORES_EACH, memory_each: int = MEMORY_EACH) -> list[Share]:
    """How to divide the machine among up to `count` processes: one a GPU, or one for every `cores_each` cores as far
    as there are `memory_each` bytes for each; at least one."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    number = gpus or min(len(cores) // cores_each, _memory() // memory_each)
    number = max(1, min(number, count))
    parts = [tuple(cores[n::number]) or tuple(cores) for n in range(number)]
    return [Share(part, _environment(part, n if gpus else None)) for n, part in enumerate(parts)]


def _memory() -> int:
    """Bytes of memory of the machine; plenty where the system doesn't say."""
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 2**40


def _environment(cores: Sequence[int], gpu: int | None) -> dict[str, str]:
    environment = {"OMP_NUM_THREADS": str(len(cores)), "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(len(cores))}
    if gpu is not None:
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
        environment["CUDA_VISIBLE_DEVICES"] = visible[gpu].strip() if gpu < len(visible) else str(gpu)
    return environment


def run_jobs(
    work: Callable[[Any], Any], jobs: Sequence[Any], places: Sequence[Share]
) -> Iterator[tuple[int, Any | Died]]:
    """Do `work(job)` for each job, in one process a place; yields the job's number and its result as they come.

    `work` is a function of a module, and jobs and results can be pickled. What it raises is raised here; a process that
    dies (out of memory, a crash in a library) gives Died for its job, and a new one goes on with the next. Leaving the
    loop ends all processes.
    """
    waiting = list(range(len(jobs)))[::-1]
    crew: dict[Connection, tuple[multiprocessing.Process, Share, int]] = {}

    def start(place: Share) -> None:
        if waiting:
            number = waiting.pop()
            process, connection = _start(work, place)
            crew[connection] = (process, place, number)
            _give(connection, jobs[number])

    try:
        for place in places:
            start(place)
        while crew:
            for connection in wait(list(crew)):
                process, place, number = crew[connection]
                try:
                    failed, result = connection.recv()
                except (EOFError, OSError):
                    process.join()
                    del crew[connection]
                    yield number, Died(process.exitcode)
                    start(place)
                    continue
                if failed:
                    raise result
                if waiting:
                    following = waiting.pop()
                    crew[connection] = (process, place, following)
                    _give(connection, jobs[following])
                else:
                    del crew[connection]
                    connection.close()  # which tells the process to end
                    process.join()
                yield number, result
    finally:
        for connection, (process, _, _) in crew.items():
            process.terminate()
            connection.close()
            process.join()


def _give(connection: Connection, job: Any) -> None:
    with suppress(OSError):  # it has died already, which is noticed when its result is read
        connection.send(job)


def _start(work: Callable[[Any], Any], place: Share) -> tuple[multiprocessing.Process, Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(work, place.cores, there), daemon=True)
    with _changed(place.environment):  # libraries read it when they are loaded, which is before any code of ours runs
        process.start()
    there.close()
    return process, here


@contextmanager
def _changed(environment: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(work: Callable[[Any], Any], cores: Sequence[int], connection: Connection) -> None:
    """The process's own loop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who started us ends us
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setaffinity(0, cores)
    with suppress(EOFError, OSError):
        while True:
            job = connection.recv()
            try:
                answer = (False, work(job))
            except Exception as error:
                answer = (True, error)
            connection.send(answer)
