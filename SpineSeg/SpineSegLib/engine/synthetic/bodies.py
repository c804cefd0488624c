"""Where the bodies of the vertebrae of a label map are: what ribs and vessels are drawn beside."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from SpineSegLib.engine.synthetic.vertebra import NUMBERS, TYPICAL

_NAMES = {number: name for name, number in NUMBERS.items()}


class FoundBody:
    """Body of the vertebra `number` (VerSe), in voxels.

    `middle`: its midline (x), `front`: where it begins (y), `low`, `high`: its ends (z); `half_width`, `depth`: typical
    ones of the level. `whole`: whether the label map holds most of it.
    """

    def __init__(self, mask: np.ndarray, box: tuple[slice, ...], number: int, spacing: float) -> None:
        self.number, self.spacing = number, spacing
        self.inside, self.start = mask[box], np.array([s.start for s in box])
        size = TYPICAL[_NAMES[number]]
        self.front = self.start[1]
        depth = int(0.95 * size.depth / spacing)
        z, _, x = np.nonzero(self.inside[:, :depth])
        self.middle = float(self.start[2] + np.median(x))
        self.low, self.high = (self.start[0] + np.quantile(z, q) for q in (0.03, 0.97))
        # Less than this is an end of it, or arch and processes alone.
        self.whole = len(z) * spacing**3 > 0.4 * size.width * size.depth * size.height
        self.half_width, self.depth = 0.5 * size.width / spacing, size.depth / spacing

    def wall(self, z: float, y: float, side: int) -> np.ndarray:
        """Place (z, y, x) on the body's wall at height `z` and depth `y` on `side` (1 left, -1 right)."""
        k = int(np.clip(round(z) - self.start[0], 0, self.inside.shape[0] - 1))
        j = int(np.clip(round(y) - self.start[1], 2, max(2, self.inside.shape[1] - 3)))
        rows = self.inside[max(0, k - 3) : k + 2, j - 2 : j + 3].any(axis=(0, 1))
        columns = (np.flatnonzero(rows) + self.start[2] - self.middle) * side
        columns = columns[(columns > 0) & (columns < self.half_width + 6 / self.spacing)]
        wall = columns.max() if len(columns) else self.half_width
        return np.array([z, y, self.middle + side * wall])

    def transverse_tip(self, side: int) -> np.ndarray:
        """Tip (z, y, x) of the transverse process on `side`: what lies farthest out behind the body."""
        behind = int(0.95 * self.depth)
        at = np.argwhere(self.inside[:, behind:]) + self.start + [0, behind, 0]
        if not len(at):
            return np.array([self.low, self.front + 1.6 * self.depth, self.middle + 1.5 * side * self.half_width])
        outwards = (at[:, 2] - self.middle) * side
        return at[outwards >= outwards.max() - 2 / self.spacing].mean(axis=0)


def find_bodies(vertebrae: np.ndarray, spacing: float, first: str, last: str) -> dict[int, FoundBody]:
    """Bodies of the levels from `first` down to `last` (such as "T1", "L5") in `vertebrae` (z, y, x), by number.

    A vertebra of which the label map holds only an end is left out.
    """
    boxes = ndimage.find_objects(vertebrae)
    found = {}
    for number in range(NUMBERS[first], min(NUMBERS[last], len(boxes)) + 1):
        if boxes[number - 1] is not None:
            body = FoundBody(vertebrae == number, boxes[number - 1], number, spacing)
            if body.whole:
                found[number] = body
    return found
