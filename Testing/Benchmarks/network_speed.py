"""Seconds a slice of the network alone, by engine.

Each engine runs in a worker process (this module as a program), which loads the network, warms up, and then does one
round for each line it reads.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from SpineSegLib.cli.console import quiet_libraries
from SpineSegLib.cli.measure import peak_memory_mb
from SpineSegLib.engine.models.backends import activate, choose_backend
from SpineSegLib.engine.models.model_file import ModelInfo, read_info, read_weights, save_model, save_weights
from SpineSegLib.engine.models.unet import Preset, build_unet
from SpineSegLib.engine.training.int8 import measured_peaks

from Testing.Benchmarks.engines import CONVERTED, ENGINES, INT8, ONNX, Engine, convert, int8_model
from Testing.Benchmarks.rounds import NAMES, PLAIN, REPOSITORY, MeasurementError, alternate, apart
from Testing.Benchmarks.table import Quantity, Table

LEAST = 0.5  # s for which a round measures a number, as one call of a few ms tells little
SAME = 0.05  # largest difference of a probability, half precision against any other
QUANTITIES = (
    Quantity("seconds_per_slice", "s a slice", 4),
    Quantity("best_seconds_per_slice", "s a slice, best batch", 4),
    Quantity("best_batch", "that batch", 0, compared=False),
    Quantity("peak_memory_mb", "peak memory, MB", 0),
)


def measure_network(
    name: str,
    preset: Preset,
    batches: Sequence[int],
    engines: Sequence[Engine],
    size: int,
    folder: Path,
    rounds: int,
    tell: Callable[[str], None],
    budget: float = math.inf,
) -> Table:
    """Run the network of a preset with random weights on slices of size x size pixels by some of `ENGINES`.

    `batches`: how many slices at once, 1 among them; each engine shows 1 and, in each round, its fastest. `budget`: see
    `alternate`.
    """
    best_too = len(batches) > 1
    quantities = [quantity for quantity in QUANTITIES if best_too or "best" not in quantity.key]
    model = random_model(name, preset, folder)
    possible = [engine for engine in engines if engine.possible]
    if CONVERTED in possible or ONNX in possible:
        apart(convert, model)
    sample: list[float] = []
    with ExitStack() as stack:
        measures = {
            e.name: stack.enter_context(_Worker(e.name, model, (1,) if e.single else batches, size, sample))
            for e in possible
        }
        candidates = alternate(measures, [quantity.key for quantity in quantities], rounds, tell, budget)
    conditions = (
        f"Slices of {size} x {size} pixels from normalised array to probabilities, one at once"
        f"{' or the best of ' + ', '.join(map(str, batches)) if best_too else ''}; "
        f"{preset.architecture.parameters / 1e6:.1f} million random weights. A round computes each for {LEAST:g} s "
        "or once, whichever takes longer, and the median counts. Peak memory is that of all of these batches. All "
        f"compute the same: no probability of a sample differs by more than {SAME:g}."
    )
    missing = [engine.name for engine in engines if not engine.possible]
    if missing:
        conditions += f" Left out here: {'; '.join(missing)}."
    which = "every engine" if ONNX in engines else "the nearest engines"
    return Table(f"Same network, {which}: {name}", conditions, tuple(quantities), candidates, NAMES[PLAIN])


def random_model(name: str, preset: Preset, folder: Path) -> Path:
    """File of an untrained model, and beside it where int8 is possible one for that; written where they aren't yet."""
    path = folder / f"{name}.weights.h5"
    if not path.exists():
        apart(_write_random_model, name, preset, path)
        if INT8.possible:
            apart(_write_int8_model, path)
    return path


def _write_random_model(name: str, preset: Preset, path: Path) -> None:
    activate(choose_backend("cpu"))
    info = ModelInfo(name, 1, preset.architecture, preset.preprocessing, preset.labels)
    save_model(build_unet(info.architecture), info, path)


def _write_int8_model(path: Path) -> None:
    """Write a model once more, with the ranges that int8 needs, of random slices."""
    info, weights = read_weights(path)
    slices = np.random.default_rng(1).random((1, 256, 256, info.architecture.inputs), dtype=np.float32)
    peaks = measured_peaks(info.architecture, weights, [slices])
    save_weights(weights, info, int8_model(path), peaks=peaks)


class _Worker:
    """A worker process, started when it is first asked for a round, so that its start disturbs nobody's round.

    `sample`: some probabilities that all workers must agree on; the first one to be asked writes them there.
    """

    def __init__(self, engine: str, model: Path, batches: Sequence[int], size: int, sample: list[float]) -> None:
        self._sample = sample
        self._command = [sys.executable, "-m", "Testing.Benchmarks.network_speed"]
        self._command += [engine, str(model), str(size), *map(str, batches)]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.communicate()  # closes its stdin, which ends it

    def __call__(self) -> dict[str, Any]:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._check(self._process.stdout.readline())
        try:
            self._process.stdin.write("round\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            raise MeasurementError("the worker process ended") from None

    def _check(self, line: str) -> None:
        """Compare the sample that a worker sends when it is ready."""
        if not line:
            raise MeasurementError("the worker process ended")
        found = json.loads(line)
        if not self._sample:
            self._sample += found
        if np.abs(np.subtract(found, self._sample)).max() > SAME:
            raise MeasurementError("it computes something else")


def seconds_a_slice(
    predict: Callable[[np.ndarray], Any], batch: np.ndarray, clock: Callable[[], float] = time.perf_counter
) -> float:
    """What `predict` takes for a slice of a batch: the median of as many calls in a row as it takes to fill `LEAST`."""
    begin, calls = clock(), []
    while not calls or clock() - begin < LEAST:
        start = clock()
        predict(batch)
        calls.append(clock() - start)
    return statistics.median(calls) / len(batch)


def _work(name: str, model: str, size: str, *sizes: str) -> None:
    """What a worker process does."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not get between the replies
    batches = [int(each) for each in sizes]
    with quiet_libraries(debug=False):
        predict, device = next(engine for engine in ENGINES if engine.name == name).load(Path(model))
    shape = (max(batches), read_info(model).architecture.inputs, int(size), int(size))
    x = np.random.default_rng(0).random(shape, dtype=np.float32)

    def measured(batch: int) -> float:
        return seconds_a_slice(predict, x[:batch])

    for batch in batches:
        predict(x[:batch])  # compiles
    step = max(1, int(size) // 8)
    print(json.dumps(predict(x[:1])[0, -1, ::step, ::step].ravel().tolist()), file=replies)
    for _ in sys.stdin:
        found = {batch: measured(batch) for batch in batches}
        best = min(found, key=found.get)
        numbers = {"seconds_per_slice": found[1], "best_seconds_per_slice": found[best], "best_batch": best}
        numbers |= {"peak_memory_mb": peak_memory_mb(), "device": device}
        print(json.dumps(numbers), file=replies)


if __name__ == "__main__":
    _work(*sys.argv[1:])
