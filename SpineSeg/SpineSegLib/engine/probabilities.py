"""Probabilities of the labels on the working grid, and the boxes of what lies in them."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import numpy as np

Box = tuple[slice, slice, slice]  # of an array


def around(boxes: Sequence[Box]) -> Box | None:
    """The box around boxes, None without any."""
    if not boxes:
        return None
    return tuple(slice(min(s.start for s in along), max(s.stop for s in along)) for along in zip(*boxes, strict=True))


def sparse_zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros (uint8) that take memory only where something is written.

    So would `np.zeros` if it didn't ask Linux for pages of 2 MB, of which a few rows of a slice touch all. Raises
    MemoryError.
    """
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    try:
        memory = mmap.mmap(-1, math.prod(shape), **private)
    except OSError:
        raise MemoryError from None
    return np.frombuffer(memory, dtype=np.uint8).reshape(shape)


def foreground(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Where the sum over the labels of uint8 probabilities (labels, ...), 255 being 1, reaches the threshold."""
    total = probabilities[0].astype(np.uint16)
    for label in probabilities[1:]:
        total += label
    return total >= math.ceil(threshold * 255)  # of whole numbers the same, and faster


def most_probable(probabilities: np.ndarray) -> np.ndarray:
    """Number (uint8) of the label with the largest of some probabilities (labels, ...), the first one of several.

    As `np.argmax`, which is made for long axes.
    """
    best = np.zeros(probabilities.shape[1:], dtype=np.uint8)
    highest = probabilities[0]
    for number, label in enumerate(probabilities[1:], start=1):
        best[label > highest] = number
        highest = np.maximum(highest, label)
    return best


class Probabilities:
    """Uint8 probabilities of the labels on the working grid, 255 being 1, that know where there is foreground.

    `values` are those of all slices within a window of the grid that begins at `corner` (row, column): (labels, z, y,
    x). All else is 0.
    """

    def __init__(self, values: np.ndarray, threshold: float, corner: tuple[int, int] = (0, 0)) -> None:
        """After writing into `values`, `look` at what was written."""
        self.values = values
        self._threshold = threshold
        self._corner = corner
        self._boxes: list[Box | None] = [None] * values.shape[1]

    def look(self, z: int, rows: slice, columns: slice) -> None:
        """See where there is foreground in a slice within some rows and columns of the grid."""
        inside = foreground(self.part(slice(z, z + 1), rows, columns)[:, 0], self._threshold)
        y = np.flatnonzero(inside.any(axis=1))
        if len(y):
            y, x = y + rows.start, np.flatnonzero(inside.any(axis=0)) + columns.start
            found = slice(z, z + 1), slice(int(y[0]), int(y[-1]) + 1), slice(int(x[0]), int(x[-1]) + 1)
            before = self._boxes[z]
            self._boxes[z] = around([found, before]) if before else found

    def box(self, along: slice, margin: int) -> Box | None:
        """The voxels of the grid (z, y, x) that hold all foreground of some slices, and `margin` more around in these.

        None where there is no foreground.
        """
        box = around([box for box in self._boxes[along] if box is not None])
        if box is None:
            return None
        (top, left), (height, width) = self._corner, self.values.shape[2:]
        ends = (along.start, along.stop), (top, top + height), (left, left + width)
        return tuple(
            slice(max(low, s.start - margin), min(high, s.stop + margin))
            for s, (low, high) in zip(box, ends, strict=True)
        )

    def part(self, along: slice, rows: slice, columns: slice) -> np.ndarray:
        """View of the values (labels, z, y, x) of voxels of the grid that lie in the window."""
        top, left = self._corner
        return self.values[:, along, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
