"""How soon the command, the network and the panel are there.

`python -m Testing.Benchmarks.start` opens the panel in SlicerShell and prints how long that took as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from Testing.Benchmarks.rounds import REPOSITORY, MeasurementError, alternate, apart, run_program
from Testing.Benchmarks.table import Candidate, Quantity, Table
from Testing.Benchmarks.tall_ct import write_tall_ct

ROUNDS = 5
PYTHON, TENSORFLOW = "python -c pass", "python -c 'import tensorflow'"
HELP, READY, OPENS = "spineseg --help", "spineseg segment, until CT and network are ready", "the panel opens"
GOALS = {HELP: 0.3, READY: 2.0, OPENS: 0.5}  # s
QUANTITIES = (Quantity("seconds", "s", 2),)


def measure_start(
    ct: Path, model: Path, folder: Path, budget: float, tell: Callable[[str], None], slices: int = 20, size: int = 128
) -> Table:
    """Start each in a process of its own; `model` segments a small CT made of `ct`; files go into `folder`.

    `budget`: see `alternate`.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # who starts a program twice doesn't compile it twice
    small = folder / "small.nrrd"
    apart(write_tall_ct, ct, slices, size, small)
    segment = ["segment", str(small), "--model", str(model), "--json", "--overwrite"]
    segment += ["--output", str(folder / "small.seg.nrrd")]

    def ready() -> dict[str, Any]:
        result = run_program("SpineSegLib.cli", segment)
        after = result["seconds"] - result["stages"]["start"] - result["stages"]["read"]
        return {"seconds": result["process_seconds"] - after, "device": result["device"]}

    measures: dict[str, Callable[[], dict[str, Any]]] = {
        PYTHON: lambda: _run("-c", "pass"),
        HELP: lambda: _run("-m", "SpineSegLib.cli", "--help"),
        READY: ready,
        OPENS: lambda: run_program("Testing.Benchmarks.start", []) | {"device": "cpu"},
        TENSORFLOW: lambda: _run("-c", "import tensorflow"),
    }
    needed = {OPENS: ("slicer", "PySide6"), TENSORFLOW: ("tensorflow",)}
    missing = [name for name, packages in needed.items() if any(find_spec(package) is None for package in packages)]
    here = {name: measure for name, measure in measures.items() if name not in missing}
    rows = alternate(here, ["seconds"], ROUNDS, tell, budget)
    rows += tuple(Candidate(name, problem="not installed") for name in missing)
    goals = ", ".join(f"{name} {seconds:g} s" for name, seconds in GOALS.items())
    conditions = (
        "Each from the start of a process to its end, but the network until it could segment a CT of "
        f"{size} x {size} x {slices} voxels (the rest of the command is taken off), and the panel from choosing "
        "the module in SlicerShell, which is running, until it has drawn itself the first time. To be "
        f"reached: {goals}. Ratios are to the mere import of TensorFlow."
    )
    return Table("Start", conditions, QUANTITIES, rows, TENSORFLOW)


def _run(*arguments: str) -> dict[str, Any]:
    """Seconds of a Python process."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise MeasurementError(f"it ended with exit code {done.returncode}")
    return {"seconds": seconds, "device": "cpu"}


def _open() -> float:
    """Seconds from choosing the module to its panel."""
    sys.path.insert(0, str(REPOSITORY / "Testing"))
    import SlicerShell

    shell = SlicerShell.start()
    import slicer

    shell.load_module(REPOSITORY / "SpineSeg" / "SpineSeg.py")
    start = time.perf_counter()
    slicer.util.selectModule("SpineSeg")
    slicer.app.processEvents()
    seconds = time.perf_counter() - start
    shell.exit()
    return seconds


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    print(json.dumps({"seconds": _open()}), file=replies, flush=True)
