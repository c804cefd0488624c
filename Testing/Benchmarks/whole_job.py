"""From a CT on disk to a saved segmentation: `spineseg segment` as a person starts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from Testing.Benchmarks.rounds import (
    PAPER,
    PATCHES,
    SPINESEG,
    alternate,
    run_program,
)
from Testing.Benchmarks.table import Candidate, Quantity, Table

STAGES = ("start", "read", "prepare", "network", "postprocess", "write")
QUANTITIES = (
    Quantity("seconds", "whole process, s", 1),
    *(Quantity(stage, f"{stage}, s", 1, compared=False) for stage in STAGES),
    Quantity("rest_share", "read, prepare, postprocess and write, % of the network", 0, compared=False),
    Quantity("peak_memory_mb", "peak memory, MB", 0),
)


def measure_ways(
    ct: Path,
    description: str,
    model: Path,
    folder: Path,
    rounds: int,
    budget: float,
    share: float,
    tell: Callable[[str], None],
) -> Table:
    """Segment `ct` with `model` and by the ways that a user would pick instead; results go into `folder`.

    `share`: of the patches and slices of these on which their networks are run, see `laps.chosen`; 1: on all. SpineSeg
    is always run in full. `budget`: see `alternate`.
    """

    def spineseg() -> dict[str, Any]:
        arguments = ["segment", str(ct), "--model", str(model), "--device", "cpu", "--json", "--overwrite"]
        result = run_program("Testing.Benchmarks.staged", [*arguments, "--output", str(folder / "ours.seg.nrrd")])
        stages = result["stages"]
        # the network waits for slices that aren't ready, and what it says is kept in between
        stages["prepare"] = stages["network"] - result["predict_seconds"]
        stages["network"] = result["predict_seconds"]
        return _by_stage(result | {"measured": result["slices"], "parts": result["slices"]})

    def other(module: str) -> dict[str, Any]:
        return _by_stage(run_program(module, [str(ct), str(folder / "other.nii.gz"), str(share)]))

    measures = {
        SPINESEG: spineseg,
        PATCHES: lambda: other("Testing.Benchmarks.volumetric"),
        PAPER: lambda: other("Testing.Benchmarks.paper_way"),
    }
    keys = [quantity.key for quantity in QUANTITIES]
    found = dict(zip(measures, alternate(measures, [*keys, "measured", "parts"], rounds, tell, budget), strict=True))
    rows = {SPINESEG: found[SPINESEG], PATCHES: _said(found[PATCHES], "patches"), PAPER: _said(found[PAPER], "slices")}
    conditions = (
        f"{description} to a saved segmentation. SpineSeg reads the CT while the network starts, and while it works "
        "prepares slices and uses what it said of others: what is left of these is what it waits for. 3D patches: a "
        "network of nnU-Net's size (31 million weights) in patches of 128 x 128 x 128 voxels of 1.5 mm that overlap by "
        "half, without test-time mirroring. As in the paper: all slices whole through its network (31 million weights) "
        "in TensorFlow. Both with random weights in float32, and nothing counts of what their networks take longer the "
        "first time. All compute on the CPU. SpineSeg is run in full. Of the others all is done in full but the "
        "network where its row says how many were measured: their time, multiplied, stands for all; buffers are those "
        "of the whole CT. Ratios are to the 3D patches."
    )
    title = f"Whole job by stage: {description.split(',')[0]}"
    return Table(title, conditions, QUANTITIES, tuple(rows.values()), rows[PATCHES].name)


def _said(row: Candidate, parts: str) -> Candidate:
    """With a name that tells on how many of all parts the network was run."""
    if not row.rounds:
        return row
    numbers = row.rounds[0]
    return replace(row, name=f"{row.name}: network from {numbers['measured']} of {numbers['parts']} {parts} measured")


def _by_stage(result: dict[str, Any]) -> dict[str, Any]:
    """The numbers of `QUANTITIES`, and of how many parts the network's time is. The start is also Python's own, and its
    end."""
    seconds = result["process_seconds"] + result.get("skipped", 0.0)
    stages = result["stages"]
    stages["start"] = seconds - sum(stages[stage] for stage in STAGES if stage != "start")
    rest = sum(stages[stage] for stage in STAGES if stage not in ("start", "network"))
    kept = {key: result[key] for key in ("peak_memory_mb", "device", "measured", "parts")}
    return stages | kept | {"seconds": seconds, "rest_share": 100 * rest / stages["network"]}
