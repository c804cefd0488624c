"""Seconds a slice of the network alone, by engine.

A Keras backend is fixed per process, so each engine runs in a worker process (this module as a program), which loads
the network, warms up, and then does one round for each line it reads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from SpineSegLib.cli.console import quiet_libraries
from SpineSegLib.cli.measure import peak_memory_mb
from SpineSegLib.engine.models.backends import activate, choose_backend
from SpineSegLib.engine.models.model_file import ModelInfo, save_model
from SpineSegLib.engine.models.network import Network
from SpineSegLib.engine.models.unet import PRESETS, build_unet

from Testing.Benchmarks.plain import PlainNetwork
from Testing.Benchmarks.rounds import ENGINES, NAMES, PLAIN, MeasurementError, alternate, apart
from Testing.Benchmarks.table import Quantity, Table

REPOSITORY = Path(__file__).resolve().parents[2]
QUANTITIES = (
    Quantity("seconds_per_slice", "s a slice", 4),
    Quantity("peak_memory_mb", "peak memory, MB", 0),
)


def measure_network(
    preset: str, slices: int, size: int, folder: Path, rounds: int, tell: Callable[[str], None]
) -> Table:
    """Run the network of a preset with random weights on `slices` slices of size x size pixels a round."""
    model = folder / f"{preset}.weights.h5"
    parameters = apart(_write_random_model, preset, model)
    with ExitStack() as stack:
        measures = {engine: stack.enter_context(_Worker(engine, model, slices, size)) for engine in ENGINES}
        candidates = alternate(measures, [quantity.key for quantity in QUANTITIES], rounds, tell)
    conditions = (
        f"Slices of {size} x {size} pixels, {slices} a round, from normalised array to probabilities; "
        f"{parameters / 1e6:.1f} million random weights. SpineSeg takes batches of its own choice, model.predict "
        "those Keras takes: all slices, up to 32."
    )
    return Table(f"Network alone: {preset}", conditions, QUANTITIES, candidates, NAMES[PLAIN])


def _write_random_model(preset: str, path: Path) -> int:
    """Write an untrained model and return how many weights it has."""
    activate(choose_backend("cpu"))
    chosen = PRESETS[preset]
    info = ModelInfo(preset, 1, chosen.architecture, chosen.preprocessing, chosen.labels)
    save_model(build_unet(info.architecture), info, path)
    return info.architecture.parameters


class _Worker:
    """A worker process, started when it is first asked for a round, so that its start disturbs nobody's round."""

    def __init__(self, engine: str, model: Path, slices: int, size: int) -> None:
        self._command = [sys.executable, "-m", "Testing.Benchmarks.network_speed"]
        self._command += [engine, str(model), str(slices), str(size)]
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
            self._process.stdout.readline()  # it is ready, or has died, which shows next
        try:
            self._process.stdin.write("round\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            raise MeasurementError("the worker process ended") from None


def _work(engine: str, model: str, slices: str, size: str) -> None:
    """What a worker process does."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not get between the replies
    with quiet_libraries(debug=False):
        network = PlainNetwork(model) if engine == PLAIN else Network(model, backend=engine)
    shape = (int(slices), network.info.architecture.inputs, int(size), int(size))
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    batch = network.batch_size(*shape[2:])

    def once() -> float:
        start = time.perf_counter()
        for first in range(0, len(x), batch):
            network.predict(x[first : first + batch])
        return (time.perf_counter() - start) / len(x)

    once()  # compiles
    print("ready", file=replies)
    for _ in sys.stdin:
        numbers = {"seconds_per_slice": once(), "peak_memory_mb": peak_memory_mb(), "device": network.device}
        print(json.dumps(numbers), file=replies)


if __name__ == "__main__":
    _work(*sys.argv[1:])
