"""Measuring several ways to do the same work fairly: in turn, each in a process of its own."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from SpineSegLib.engine.models.backends import BACKENDS, installed_backends

from Testing.Benchmarks.table import Candidate

REPOSITORY = Path(__file__).resolve().parents[2]
PLAIN = "plain"
# Ways from a CT to a segmentation: ours, and those that a user would pick instead.
SPINESEG, PATCHES, PAPER = "spineseg", "patches", "paper"
# Ways to train.
TRAINER, FIT = "trainer", "fit"
NAMES = {PLAIN: "model.predict, TensorFlow"} | {backend: f"SpineSeg, {backend}" for backend in BACKENDS}
NAMES |= {SPINESEG: "SpineSeg", PATCHES: "3D patches, torch", PAPER: "as in the paper, TensorFlow"}
NAMES |= {TRAINER: "SpineSeg", FIT: "model.fit, TensorFlow"}

Result = TypeVar("Result")
# Does the work once and says at least "device" and the numbers of the table.
Measure = Callable[[], Mapping[str, Any]]


class MeasurementError(Exception):
    """A process that was to be measured failed; it has said why on stderr."""


def alternate(
    measures: Mapping[str, Measure],
    keys: Sequence[str],
    rounds: int,
    tell: Callable[[str], None],
    budget: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Candidate, ...]:
    """Measure each engine once, then each once more and so on: a slow minute of the machine hits them all.

    `measures`: by key of NAMES, or by what their row shall be called; `keys`: the numbers to keep. An engine that fails
    is not asked again. One of NAMES whose library is missing is not asked at all. Both get a row that says so.
    `budget`: see `rounds_within`.
    """
    results: dict[str, list[Mapping[str, Any]]] = {engine: [] for engine in measures}
    installed = installed_backends()
    names = {engine: NAMES.get(engine, engine) for engine in measures}
    needed = {engine: backend_of(engine) for engine in measures if engine in NAMES}
    problems = {engine: "not installed" for engine, backend in needed.items() if backend not in (None, *installed)}
    for n in rounds_within(budget, rounds, clock):
        for engine, measure in measures.items():
            if engine not in problems:
                tell(f"round {n} of {rounds}: {names[engine]}")
                try:
                    results[engine].append(measure())
                except MeasurementError as error:
                    tell(f"{names[engine]}: {error}")
                    problems[engine] = "failed"
    return tuple(
        Candidate(names[engine], problem=problems[engine])
        if engine in problems
        else Candidate(names[engine], done[0]["device"], tuple({key: r[key] for key in keys} for r in done))
        for engine, done in results.items()
    )


def rounds_within(budget: float, most: int, clock: Callable[[], float] = time.monotonic) -> Iterator[int]:
    """The numbers of rounds, from 1: always the first, and up to `most` each that would end within `budget` seconds
    were it as long as the one before."""
    start = before = clock()
    for n in range(1, most + 1):
        now = clock()
        if n > 1 and 2 * now - before - start > budget:
            return
        before = now
        yield n


def backend_of(engine: str) -> str | None:
    """The library that an engine or a way computes with; None for SpineSeg where it chooses."""
    if engine in (PLAIN, PAPER, TRAINER, FIT):
        return "tensorflow"
    return {PATCHES: "torch", SPINESEG: None}.get(engine, engine)


def apart(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function of a module in a process of its own.

    Whatever prepares a measurement must be called so: Linux counts the memory of the process that starts another one
    into the other's peak (`ru_maxrss` survives exec), so the one that starts those to be measured has to stay small.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def run_program(module: str, arguments: list[str]) -> dict[str, Any]:
    """The JSON object that a module prints when it is run as a program, and how long that took as "process_seconds".

    Raises MeasurementError where it fails.
    """
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise MeasurementError(f"{module} ended with exit code {done.returncode}")
    return json.loads(done.stdout) | {"process_seconds": seconds}
