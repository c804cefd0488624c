"""The way back: probabilities on the working grid become labels on the CT's own grid.

Each stored voxel is decided from the working voxels around it and from nothing else, so the result is the same to the
last voxel whether all is decided at once, slice by slice while the network still computes, or for a part of the CT.
Padding of the CT is background, as nothing is known of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from SpineSegLib.engine.axial import aligned_axes, patient_grid, patient_view, stored_box
from SpineSegLib.engine.axis_weights import axis_weights, narrowed, resample_plane
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.padding import Padding
from SpineSegLib.engine.probabilities import Box, Probabilities, around, foreground, most_probable
from SpineSegLib.engine.volume import Grid

if TYPE_CHECKING:
    from scipy import sparse

NOT_COMPUTED = 255  # value of voxels that nothing is said about
SLAB = 8  # slices done at once
WITHIN = 1e-3  # mm by which a voxel may miss a region: positions come through other programs' rounding


@dataclass(frozen=True)
class Decision:
    """What makes labels of probabilities: a voxel is foreground where the sum over the labels reaches `threshold`; it
    then gets that of `values` which is the most probable."""

    threshold: float
    values: tuple[int, ...]

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Labels uint8 (...) from probabilities float32 (labels, ...), 255 being 1."""
        if len(self.values) == 1:
            return np.where(probabilities[0] >= self.threshold * 255, np.uint8(self.values[0]), np.uint8(0))
        best = np.asarray(self.values, dtype=np.uint8)[most_probable(probabilities)]
        return np.where(probabilities.sum(axis=0, dtype=np.float32) >= self.threshold * 255, best, np.uint8(0))


class WayBack(Protocol):
    """Decides the stored voxels of a region.

    Voxels are decided in the order of the working slices they come from. `start` and what `limit` gives are places in
    this order, in steps that only the class itself understands.
    """

    needed: slice  # the working slices that the region's voxels come from
    start: int
    reach: int  # working pixels: voxels come from pixels at most this far from their middle

    def limit(self, done: int) -> int:
        """How far voxels can be decided once all needed working slices below `done` are known."""

    def ripe(self, first: int, last: int) -> bool:
        """Whether so much lies between two places that deciding it now costs no more than deciding it later."""

    def clear(self, labels: np.ndarray) -> None:
        """Set the region's voxels in `labels` (k, j, i) to 0."""

    def fill(self, labels: np.ndarray, probabilities: Probabilities, first: int, last: int) -> Box | None:
        """Write the labels of the region's voxels after `first` up to `last` into `labels` (k, j, i).

        Writes only in and around the foreground and gives the box of what it wrote, None where it wrote nothing.
        """


def way_back(
    grid: Grid,
    stored: Grid,
    decision: Decision,
    region: tuple[float, float] | None = None,
    padding: Padding | None = None,
) -> WayBack:
    """From the working grid `grid` to the CT's own grid `stored`.

    `region`: lowest and highest position in mm (LPS z) of the voxels that are wanted; None for all. Where both are the
    same, the axial slice nearest to it: one layer of the CT's own voxels, in an oblique CT all voxels that the slice
    cuts through. Raises InputError where the CT has no voxel there, ValueError where `low` is above `high`.
    """
    if region is not None and not region[0] <= region[1]:
        raise ValueError(f"the region {region} doesn't rise")
    axes = aligned_axes(stored.direction)
    if axes is None:
        return _Oblique(grid, stored, decision, region, padding)
    return _Aligned(grid, stored, axes, decision, region, padding)


class _Aligned:
    """Finer stored voxels interpolate linearly, coarser ones take the mean of what they cover, plane by plane along the
    patient. Places are numbers of stored planes."""

    def __init__(
        self,
        grid: Grid,
        stored: Grid,
        axes: tuple[tuple[int, int, int], tuple[bool, bool, bool]],
        decision: Decision,
        region: tuple[float, float] | None,
        padding: Padding | None,
    ) -> None:
        self._axes = axes
        self._padding = padding
        self._decision = decision
        patient = patient_grid(stored, axes)
        self._across, self._rows, self._columns = (
            axis_weights(grid.shape[axis], grid.spacing[axis], patient.shape[axis], patient.spacing[axis])
            for axis in range(3)
        )
        # a coarser stored pixel covers working pixels this far from its middle
        self.reach = max(1, int(np.ceil(max(patient.spacing[1:]) / min(grid.spacing[1:]))))
        self._planes = _planes_within(patient, region)
        self.start = self._planes.start
        self._last_used = np.array([self._used(z)[0][-1] for z in range(patient.shape[0])])
        self.needed = slice(int(self._used(self.start)[0][0]), int(self._last_used[self._planes.stop - 1]) + 1)

    def limit(self, done: int) -> int:
        return max(self.start, min(int(np.searchsorted(self._last_used, done)), self._planes.stop))

    def ripe(self, first: int, last: int) -> bool:
        return last > first

    def clear(self, labels: np.ndarray) -> None:
        patient_view(labels, self._axes)[self._planes] = 0

    def fill(self, labels: np.ndarray, probabilities: Probabilities, first: int, last: int) -> Box | None:
        view = patient_view(labels, self._axes)
        boxes = []
        for lower in range(first, last, SLAB):
            slab = slice(lower, min(lower + SLAB, last))
            planes = slice(int(self._used(slab.start)[0][0]), int(self._last_used[slab.stop - 1]) + 1)
            window = probabilities.box(planes, self.reach)
            if window is None:
                continue
            rows, inner_y, y = _part(self._rows, window[1])
            columns, inner_x, x = _part(self._columns, window[2])
            inner = probabilities.part(planes, inner_y, inner_x).astype(np.float32)
            for z in range(slab.start, slab.stop):
                used, shares = self._used(z)
                mixed = sum(inner[:, n - planes.start] * share for n, share in zip(used, shares, strict=True))
                view[z, y, x] = self._decision(np.stack([resample_plane(plane, rows, columns) for plane in mixed]))
            boxes.append((slab, y, x))
        if not boxes:
            return None
        box = stored_box(around(boxes), self._axes, view.shape)
        if self._padding is not None:
            labels[box][self._padding.within(box)] = 0
        return box

    def _used(self, z: int) -> tuple[np.ndarray, np.ndarray]:
        """The working slices that a stored plane comes from, ascending and without a gap, and the share of each."""
        entries = slice(self._across.indptr[z], self._across.indptr[z + 1])
        return self._across.indices[entries], self._across.data[entries]


class _Oblique:
    """Voxels interpolate linearly. Places are heights in working slices."""

    reach = 1

    def __init__(
        self,
        grid: Grid,
        stored: Grid,
        decision: Decision,
        region: tuple[float, float] | None,
        padding: Padding | None,
    ) -> None:
        self._stored = stored
        self._padding = padding
        self._shape = grid.shape
        self._decision = decision
        # working coordinates z, y, x are linear in k, j, i
        self._offset = grid.index(np.array(stored.origin))
        self._steps = np.stack([grid.index(stored.point(*unit)) - self._offset for unit in np.eye(3)], axis=1)
        self._low, self._high = -np.inf, np.inf
        if region is not None:
            heights = grid.index(stored.outer_corners())[:, 0]
            low, high = ((z - grid.origin[2]) / grid.spacing[0] for z in region)
            if high < heights.min() or low > heights.max():
                raise _outside()
            margin = WITHIN / grid.spacing[0]
            if region[0] == region[1]:
                low = high = round(low)
                margin = max(1.0, float(np.abs(self._steps[0]).sum())) / 2  # the voxels that the slice cuts through
            self._low, self._high = low - margin, high + margin
        first, last = np.clip([self._low, self._high], 0, grid.shape[0] - 1)
        self.needed = slice(int(np.floor(first)), int(np.ceil(last)) + 1)
        self.start = self.needed.start - 1

    def limit(self, done: int) -> int:
        return self.needed.stop if done >= self.needed.stop else max(self.start, done - 1)

    def ripe(self, first: int, last: int) -> bool:
        return last - first >= SLAB or last == self.needed.stop

    def clear(self, labels: np.ndarray) -> None:
        if np.isinf(self._low):
            labels[...] = 0
            return
        j, i = np.ogrid[: labels.shape[1], : labels.shape[2]]
        for k, plane in enumerate(labels):
            height = self._coordinate(0, k, j, i)
            plane[(height >= self._low) & (height <= self._high)] = 0

    def fill(self, labels: np.ndarray, probabilities: Probabilities, first: int, last: int) -> Box | None:
        slabs = [(lower, min(lower + SLAB, last)) for lower in range(first, last, SLAB)]
        boxes = [self._fill_slab(labels, probabilities, *slab) for slab in slabs]
        return around([box for box in boxes if box is not None])

    def _fill_slab(self, labels: np.ndarray, probabilities: Probabilities, first: int, last: int) -> Box | None:
        from scipy import ndimage  # would delay the panel's opening

        window = probabilities.box(slice(max(0, first), min(last + 1, self._shape[0])), self.reach)
        if window is None:
            return None
        inner = probabilities.part(*window)
        corner = np.array([along.start for along in window])
        # the outermost working voxels also stand for the half voxel beyond their centres
        low = np.where(corner > 0, corner, -0.5)
        stop = corner + inner.shape[1:]
        high = np.where(stop < self._shape, stop - 1, stop - 0.5)
        low[0], high[0] = max(low[0], self._low), min(high[0], self._high)
        index = self._voxels(low, high)
        places = np.stack([self._coordinate(axis, *index) for axis in range(3)])
        inside = np.all((places >= low[:, None]) & (places <= high[:, None]), axis=0)
        inside &= (places[0] > first) & (places[0] <= last)
        # the many voxels with nothing but background around them need no interpolation
        near = ndimage.maximum_filter(foreground(inner, self._decision.threshold), 3)
        places = places[:, inside] - corner[:, None]
        nearest = [np.clip(np.rint(at), 0, n - 1).astype(np.intp) for at, n in zip(places, near.shape, strict=True)]
        worth = near[tuple(nearest)]
        if not worth.any():
            return None
        index = tuple(n[inside][worth] for n in index)
        places = places[:, worth]
        values = [ndimage.map_coordinates(label, places, np.float32, order=1, mode="nearest") for label in inner]
        decided = self._decision(np.stack(values))
        if self._padding is not None:
            decided[self._padding.at(index)] = 0
        labels[index] = decided
        return tuple(slice(int(n.min()), int(n.max()) + 1) for n in index)

    def _coordinate(self, axis: int, k, j, i) -> np.ndarray:
        """The working coordinate of stored voxels along an axis (0 is z), always rounded in the same way."""
        steps = self._steps[axis]
        return (self._offset[axis] + k * steps[0] + j * steps[1]) + i * steps[2]

    def _voxels(self, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
        """The stored voxels between two working coordinates (z, y, x), and a few around: their k, j and i."""
        corners = np.array([np.where(far, high, low) for far in np.ndindex(2, 2, 2)])
        corners = (corners - self._offset) @ np.linalg.inv(self._steps).T
        start = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
        stop = np.maximum(np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, self._stored.shape), start)
        # in each stored row, where the row enters and leaves
        k, j = (n.ravel() for n in np.mgrid[start[0] : stop[0], start[1] : stop[1]])
        enters, leaves = np.full(k.shape, float(start[2])), np.full(k.shape, float(stop[2] - 1))
        for axis, step in enumerate(self._steps[:, 2]):
            if abs(step) > 1e-6:
                ends = (np.array([[low[axis]], [high[axis]]]) - self._coordinate(axis, k, j, 0)) / step
                enters = np.maximum(enters, np.floor(ends.min(axis=0)))
                leaves = np.minimum(leaves, np.ceil(ends.max(axis=0)))
        count = np.maximum(leaves - enters + 1, 0).astype(int)
        i = np.arange(count.sum()) + np.repeat(enters.astype(int) - (np.cumsum(count) - count), count)
        return [np.repeat(k, count), np.repeat(j, count), i]


def _outside() -> InputError:
    return InputError("The chosen slices lie outside the CT; choose slices within it.")


def _planes_within(patient: Grid, region: tuple[float, float] | None) -> slice:
    """The planes of a grid along the patient whose middle lies in a region, or that is nearest to its one position."""
    count, ny, nx = patient.shape
    if region is None:
        return slice(0, count)
    bottom = patient.point(0, (ny - 1) / 2, (nx - 1) / 2)[2]
    step = patient.point(1, (ny - 1) / 2, (nx - 1) / 2)[2] - bottom
    low, high = ((z - bottom) / step for z in region)
    if high < -0.5 or low > count - 0.5:
        raise _outside()
    if region[0] == region[1]:
        nearest = min(max(round(low), 0), count - 1)
        return slice(nearest, nearest + 1)
    margin = WITHIN / step
    planes = slice(max(0, int(np.ceil(low - margin))), min(count, int(np.floor(high + margin)) + 1))
    if planes.start >= planes.stop:
        raise _outside()
    return planes


def _part(weights: sparse.csr_matrix, window: slice) -> tuple[sparse.csr_matrix, slice, slice]:
    """Of `axis_weights` all rows that have to do with the samples in `window`, as weights of the samples they use.

    Gives these weights, the samples they use and which rows they are.
    """
    first, last = weights.indices[weights.indptr[:-1]], weights.indices[weights.indptr[1:] - 1]
    rows = slice(int(np.searchsorted(last, window.start)), int(np.searchsorted(first, window.stop)))
    return *narrowed(weights, rows), rows
