"""Measuring several ways to do the same work fairly: in turn, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

from SpineSegLib.engine.models.backends import BACKENDS, installed_backends

from Testing.Benchmarks.table import Candidate

PLAIN = "plain"
# What is compared everywhere: SpineSeg on each of its backends, and the baseline.
ENGINES = (*BACKENDS, PLAIN)
NAMES = {PLAIN: "model.predict, TensorFlow"} | {backend: f"SpineSeg, {backend}" for backend in BACKENDS}

Result = TypeVar("Result")
# Does the work once and says at least "device" and the numbers of the table.
Measure = Callable[[], Mapping[str, Any]]


class MeasurementError(Exception):
    """A process that was to be measured failed; it has said why on stderr."""


def alternate(
    measures: Mapping[str, Measure], keys: Sequence[str], rounds: int, tell: Callable[[str], None]
) -> tuple[Candidate, ...]:
    """Measure each engine once, then each once more and so on: a slow minute of the machine hits them all.

    `measures`: by key of ENGINES; `keys`: the numbers to keep. An engine that fails is not asked again. One whose
    library is missing is not asked at all. Both get a row that says so.
    """
    results: dict[str, list[Mapping[str, Any]]] = {engine: [] for engine in measures}
    installed = installed_backends()
    problems = {engine: "not installed" for engine in measures if backend_of(engine) not in installed}
    for n in range(1, rounds + 1):
        for engine, measure in measures.items():
            if engine not in problems:
                tell(f"round {n} of {rounds}: {NAMES[engine]}")
                try:
                    results[engine].append(measure())
                except MeasurementError as error:
                    tell(f"{NAMES[engine]}: {error}")
                    problems[engine] = "failed"
    return tuple(
        Candidate(NAMES[engine], problem=problems[engine])
        if engine in problems
        else Candidate(NAMES[engine], done[0]["device"], tuple({key: r[key] for key in keys} for r in done))
        for engine, done in results.items()
    )


def backend_of(engine: str) -> str:
    """The Keras backend an engine computes with."""
    return "tensorflow" if engine == PLAIN else engine


def apart(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function of a module in a process of its own.

    Whatever prepares a measurement must be called so: Linux counts the memory of the process that starts another one
    into the other's peak (`ru_maxrss` survives exec), so the one that starts those to be measured has to stay small.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()
