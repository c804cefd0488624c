"""How time and memory of `spineseg segment` grow with the number of slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from Testing.Benchmarks.rounds import apart, run_program
from Testing.Benchmarks.table import Candidate, Quantity, Table
from Testing.Benchmarks.tall_ct import STEP, write_tall_ct

SLICES = (50, 200, 600, 2000)
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
        rows.append(Candidate(f"{count} slices", *_segment(tall, model, folder / "tall.seg.nrrd")))
        tall.unlink()
    conditions = (
        f"CTs of {size} x {size} pixels and slices {STEP:g} mm apart, made of {description} up and down again, "
        "uncompressed, each segmented once by a process of its own. Straight lines through these: "
        f"{_line(slices, rows, 'process_seconds', 's', 3)} and {_line(slices, rows, 'peak_memory_mb', 'MB', 2)}; the "
        f"CT itself is {size * size * 2 / 2**20:.2g} MB a slice."
    )
    return Table("Growth", conditions, QUANTITIES, tuple(rows), None)


def _segment(ct: Path, model: Path, out: Path) -> tuple[str, tuple[dict[str, float], ...]]:
    """The device, and the one round's numbers."""
    arguments = ["segment", str(ct), "--model", str(model), "--json", "--overwrite", "--output", str(out)]
    result = run_program("SpineSegLib.cli", arguments)
    return result["device"], ({quantity.key: result[quantity.key] for quantity in QUANTITIES},)


def _line(slices: Sequence[int], rows: Sequence[Candidate], key: str, unit: str, digits: int) -> str:
    """The straight line with the least squares, and the furthest that a point lies off it."""
    values = np.array([row.rounds[0][key] for row in rows])
    slope, start = np.polyfit(slices, values, 1)
    off = np.abs(values - start - slope * np.array(slices)).max() / values.max()
    line = f"{start:.{max(0, digits - 2)}f} {unit} + {slope:.{digits}f} {unit} a slice"
    return f"{line} (no point further off than {off:.0%} of the largest)"
