"""From a CT on disk to a saved segmentation: `spineseg segment` as a person starts it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from Testing.Benchmarks.rounds import ENGINES, NAMES, PLAIN, MeasurementError, alternate, backend_of
from Testing.Benchmarks.table import Quantity, Table

REPOSITORY = Path(__file__).resolve().parents[2]
QUANTITIES = (
    Quantity("process_seconds", "whole process, s", 1),
    Quantity("seconds", "of which the command, s", 1),
    Quantity("seconds_per_slice", "network and its input, s a slice", 4),
    Quantity("peak_memory_mb", "peak memory, MB", 0),
)


def measure_whole_job(
    ct: Path, description: str, model: Path, folder: Path, rounds: int, tell: Callable[[str], None]
) -> Table:
    """Segment `ct` with `model` by each engine; results go into `folder`. `description` says what CT it is."""

    def segment(engine: str) -> dict[str, Any]:
        module = "Testing.Benchmarks.plain" if engine == PLAIN else "SpineSegLib.cli"
        command = [sys.executable, "-m", module, "segment", str(ct), "--model", str(model), "--json", "--overwrite"]
        command += ["--backend", backend_of(engine), "--output", str(folder / f"{engine}.seg.nrrd")]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
        seconds = time.perf_counter() - start
        if done.returncode != 0:
            raise MeasurementError(f"spineseg segment ended with exit code {done.returncode}")
        return json.loads(done.stdout) | {"process_seconds": seconds}

    measures = {engine: lambda engine=engine: segment(engine) for engine in ENGINES}
    candidates = alternate(measures, [quantity.key for quantity in QUANTITIES], rounds, tell)
    conditions = (
        f"{description} to a saved .seg.nrrd, every step the same but how the network is run; model.predict gets "
        "32 slices at once, Keras' own batch. The command's time leaves out starting Python."
    )
    return Table("Whole job", conditions, QUANTITIES, candidates, NAMES[PLAIN])
