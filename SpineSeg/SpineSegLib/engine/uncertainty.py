"""Which slices of a segmentation are most worth checking, from the probabilities that it came with.

Measured per slice on held-out phantoms and real CT (Testing/Benchmarks/UNCERTAINTY.md), the area in doubt goes with the
number of wrong pixels, so with the work that waits there. It is free of charge; looking at the mirrored slice as well
(test-time augmentation) doubles the time and tells nothing more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

CERTAIN = 1 / 255  # probabilities nearer to 0 or 1 are as good as sure
APART = 10.0  # mm; what lies nearer to a checked slice shows much of the same


def uncertain_area(probabilities: np.ndarray, pixel_area: float) -> float:
    """Area in doubt in mm²: the binary entropy in bits of each pixel times its area (`pixel_area`, mm²), summed.

    `probabilities`: of a finished slice (labels, y, x), their sum is that of being spine. A pixel of 0.5 counts whole,
    a sure one nothing.
    """
    p = probabilities.sum(axis=0)
    p = p[(p > CERTAIN) & (p < 1 - CERTAIN)].astype(np.float64)
    return float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)).sum() * pixel_area)


def next_slice(uncertainties: Sequence[float], checked: Collection[int], positions: Sequence[float]) -> int | None:
    """Index of the slice to check next, None where no unchecked one is in doubt.

    `uncertainties`: see `uncertain_area`; `checked`: indices; `positions`: of the slices in mm. The largest doubt comes
    first, where slices nearer than `APART` to a checked one count the less the nearer they are.
    """
    worth = np.array(uncertainties, dtype=float)
    places = np.asarray(positions, dtype=float)
    for index in checked:
        near = np.abs(places - places[index]) / APART
        worth = np.minimum(worth, np.asarray(uncertainties) * np.minimum(near, 1.0))
    return int(worth.argmax()) if len(worth) and worth.max() > 0 else None
