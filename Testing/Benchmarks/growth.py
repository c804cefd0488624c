"""How time and memory of `spineseg segment` grow with the number of slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from Testing.Benchmarks.rounds import MeasurementError, apart, run_program
from Testing.Benchmarks.table import Candidate, Quantity, Table
from Testing.Benchmarks.tall_ct import STEP, write_tall_ct

SLICES = (50, 200, 500, 2000)
LIMIT_MB = 4 * 1024
QUANTITIES = (Quantity("process_seconds", "whole process, s", 1), Quantity("peak_memory_mb", "peak memory, MB", 0))


def measure_growth(
    ct: Path,
    description: str,
    model: Path,
    folder: Path,
    tell: Callable[[str], None],
    slices: Sequence[int] = SLICES,
    size: int = 512,
) -> Table:
    """Segment CTs of size x size pixels and so many slices, made of `ct`, with `model`; files go into `folder`."""
    rows = []
    for count in slices:
        tell(f"growth: {count} slices")
        tall = folder / "tall.nrrd"
        apart(write_tall_ct, ct, count, size, tall)
        try:
            rows.append(Candidate(f"{count} slices", *_segment(tall, model, folder / "tall.seg.nrrd")))
        except MeasurementError as error:
            tell(f"{count} slices: {error}")
            rows.append(Candidate(f"{count} slices", problem="failed"))
        tall.unlink()
    conditions = (
        f"CTs of {size} x {size} pixels and slices {STEP:g} mm apart, made of {description} up and down again, "
        "uncompressed, each segmented once by a process of its own. Straight lines through these: "
        f"{_line(slices, rows, 'process_seconds', 's', 3)}; {_line(slices, rows, 'peak_memory_mb', 'MB', 2)}, of which "
        f"the CT itself is {size * size * 2 / 2**20:.2g} MB. {_fits(rows[-1])}"
    )
    return Table("Growth", conditions, QUANTITIES, tuple(rows), None)


def _segment(ct: Path, model: Path, out: Path) -> tuple[str, tuple[dict[str, float], ...]]:
    """The device, and the one round's numbers."""
    arguments = ["segment", str(ct), "--model", str(model), "--json", "--overwrite", "--output", str(out)]
    result = run_program("SpineSegLib.cli", arguments)
    return result["device"], ({quantity.key: result[quantity.key] for quantity in QUANTITIES},)


def _line(slices: Sequence[int], rows: Sequence[Candidate], key: str, unit: str, digits: int) -> str:
    """The straight line with the least squares, how much of all differences it explains, and the furthest point."""
    points = [(count, row.rounds[0][key]) for count, row in zip(slices, rows, strict=True) if row.rounds]
    if len(points) < 2:
        return "none, as too little could be measured"
    counts, values = np.array(points).T
    slope, start = np.polyfit(counts, values, 1)
    off = np.abs(values - start - slope * counts)
    explained = 1 - (off**2).sum() / ((values - values.mean()) ** 2).sum()
    line = f"{start:.{max(0, digits - 2)}f} {unit} + {slope:.{digits}f} {unit} a slice"
    return f"{line} (R² {explained:.4f}, no point further off than {off.max() / values.max():.0%} of the largest)"


def _fits(row: Candidate) -> str:
    """Whether what was measured in `row` is within the limit."""
    if not row.rounds:
        return f"{row.name} could not be segmented here."
    peak = row.rounds[0]["peak_memory_mb"]
    return f"{row.name} {'fit' if peak < LIMIT_MB else 'do not fit'} into {LIMIT_MB / 1024:g} GB ({peak:.0f} MB)."
