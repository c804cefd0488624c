"""What a person at the panel feels: from the click to the first slice, and how long the interface stands still."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from Testing.Benchmarks.rounds import apart, rounds_within
from Testing.Benchmarks.table import Candidate, Quantity, Table

REPOSITORY = Path(__file__).resolve().parents[2]
ROWS = ("first run, cold", "second run, warm", "current slice, warm")
QUANTITIES = (
    Quantity("first", "click to first slice, s", 2),
    Quantity("whole", "click to the end, s", 2),
    Quantity("stall", "longest stall of the event loop, ms", 0),
)


def measure_panel(ct: Path, description: str, rounds: int, budget: float, tell: Callable[[str], None]) -> Table:
    """Press the panel's real buttons on `ct` in SlicerShell. `budget`: see `rounds_within`."""
    conditions = (
        f"{description} segmented by the panel's button; the worker process is started anew for the cold run. A stall "
        "is the longest time in which the event loop did not get its turn. The window is not shown: views draw nothing."
    )
    if find_spec("slicer") is None or find_spec("PySide6") is None:
        rows = tuple(Candidate(name, problem="SlicerShell's packages are not installed") for name in ROWS)
    else:
        tell("the panel")
        measured = apart(_rounds, ct, rounds, budget)
        rows = tuple(Candidate(name, "cpu", tuple(each[name] for each in measured)) for name in ROWS)
    return Table("In the panel", conditions, QUANTITIES, rows, ROWS[0])


def _rounds(ct: Path, rounds: int, budget: float) -> list[dict[str, dict[str, float]]]:
    sys.path[:0] = [str(REPOSITORY / "Testing"), str(REPOSITORY / "Testing" / "Python" / "panel")]
    import SlicerShell

    shell = SlicerShell.start()
    import slicer
    from panel_samples import add_volume
    from SpineSegLib.engine.files.reading import read_volume

    module = shell.load_module(REPOSITORY / "SpineSeg" / "SpineSeg.py")
    volume = add_volume(read_volume(ct).image)
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *middle)
    slicer.util.selectModule("SpineSeg")
    panel = module.widgetRepresentation().self()
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    results = []
    for _ in rounds_within(budget, rounds):
        panel.logic.close()
        panel.ui.partSelector.setCurrentIndex(0)
        result = {name: _run(panel) for name in ROWS[:2]}
        panel.ui.partSelector.setCurrentIndex(1)
        results.append(result | {ROWS[2]: _run(panel)})
    shell.exit()
    return results


def _run(panel: Any) -> dict[str, float]:
    """Press Segment and let Qt work until the run has ended."""
    import slicer

    begin = before = time.perf_counter()
    first, stall = None, 0.0
    panel.ui.segmentButton.click()
    while panel.segmentSection.run.running:
        if first is None and panel.segmentSection.run.done:
            first = time.perf_counter() - begin
        slicer.app.processEvents()
        now = time.perf_counter()
        before, stall = now, max(stall, now - before)
        time.sleep(0.001)
    whole = time.perf_counter() - begin
    return {"first": first or whole, "whole": whole, "stall": 1000 * stall}
