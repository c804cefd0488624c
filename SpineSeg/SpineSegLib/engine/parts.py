"""Connected parts of a mask, held as runs of voxels along x.

A spine of half a million voxels in a box of twenty million has thirty thousand runs, so that finding its parts costs a
look at the box and little more, in time and in memory. (`scipy.ndimage.label` numbers every voxel of the box.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph


@dataclass(frozen=True)
class Parts:
    """The connected parts of a mask of `shape` (z, y, x), numbered from 0 in the order of their first voxels.

    Each run is the voxels `starts` to `stops` - 1 of a row (`rows`: z * ny + y) and belongs to a part (`numbers`).
    Runs are in the order of the array.
    """

    shape: tuple[int, int, int]
    rows: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    numbers: np.ndarray
    count: int

    @classmethod
    def of(cls, planes: Iterable[np.ndarray], shape: tuple[int, int, int], corners: bool, value: bool = True) -> Parts:
        """The parts of the voxels of a mask of `shape` that are `value`; its bool planes (y, x) are taken one by one.

        `corners`: whether voxels that touch at an edge or a corner are connected, else only those that share a face.
        """
        _, ny, nx = shape
        found = []
        plane = np.full((ny, nx + 2), not value)
        for z, mask in enumerate(planes):
            plane[:, 1:-1] = mask
            flat = plane.ravel()
            changes = np.flatnonzero(flat[1:] != flat[:-1])
            found.append(changes + z * plane.size)
        rows, ends = np.divmod(np.concatenate(found), nx + 2)
        runs = rows[::2], ends[::2], ends[1::2]
        return cls(shape, *runs, *_connected(*runs, shape, corners))

    @cached_property
    def sizes(self) -> np.ndarray:
        """Voxels of each part."""
        sizes = np.bincount(self.numbers, weights=self.stops - self.starts, minlength=self.count)
        return sizes.astype(np.int64)

    def at_faces(self) -> np.ndarray:
        """Whether each part reaches a face of the array."""
        nz, ny, nx = self.shape
        z, y = np.divmod(self.rows, ny)
        outer = (z == 0) | (z == nz - 1) | (y == 0) | (y == ny - 1) | (self.starts == 0) | (self.stops == nx)
        return np.bincount(self.numbers, weights=outer, minlength=self.count) > 0

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest index of each part's voxels: (count, 3) each, in z, y, x."""
        z, y = np.divmod(self.rows, self.shape[1])
        ends = ((np.minimum, (z, y, self.starts)), (np.maximum, (z, y, self.stops - 1)))
        return tuple(
            np.stack([of.reduceat(along[self._order], self._first[:-1]) for along in places], axis=1)
            for of, places in ends
        )

    def voxels(self, number: int, first: int = 0, last: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The z, y and x of the voxels of a part, or of those in planes first to last - 1."""
        runs = self._order[self._first[number] : self._first[number + 1]]
        planes = first, self.shape[0] if last is None else last
        some = slice(*np.searchsorted(self.rows[runs], np.multiply(planes, self.shape[1])))
        return self._voxels(runs[some])

    def voxels_of(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The z, y and x of the voxels of all parts that are `chosen` (count,)."""
        return self._voxels(np.flatnonzero(chosen[self.numbers]))

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.numbers, kind="stable")

    @cached_property
    def _first(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(np.bincount(self.numbers, minlength=self.count))])

    def _voxels(self, runs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        lengths = self.stops[runs] - self.starts[runs]
        z, y = np.divmod(np.repeat(self.rows[runs], lengths), self.shape[1])
        return z, y, ramps(self.starts[runs], lengths)


def ramps(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers from each of `starts` on, as many as `lengths` says, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)


def _connected(
    rows: np.ndarray, starts: np.ndarray, stops: np.ndarray, shape: tuple[int, int, int], corners: bool
) -> tuple[np.ndarray, int]:
    """The number of each run's part, and how many parts there are."""
    _, ny, nx = shape
    # every row on one line, with gaps between rows and between planes so that neighbours are a fixed way apart
    row, plane = nx + 2, (nx + 2) * (ny + 1)
    place = rows // ny * plane + rows % ny * row
    begin, end = place + starts, place + stops
    reach = 1 if corners else 0
    ways = (row, plane - row, plane, plane + row) if corners else (row, plane)
    one, other = [], []
    for way in ways:
        first = np.searchsorted(end, begin + way - reach, side="right")
        last = np.searchsorted(begin, end + way + reach, side="left")
        touching = np.maximum(last - first, 0)
        one.append(np.repeat(np.arange(len(rows)), touching))
        other.append(ramps(first, touching))
    one, other = np.concatenate(one), np.concatenate(other)
    pairs = sparse.coo_matrix((np.ones(len(one), dtype=bool), (one, other)), shape=(len(rows), len(rows)))
    count, numbers = csgraph.connected_components(pairs, directed=False)
    return numbers, int(count)
