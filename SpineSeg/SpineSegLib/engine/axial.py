"""The working grid: axial slices in patient space, whatever the orientation a CT is stored in.

A CT whose axes run along the patient's (in any order and direction, up to `ALIGNED_WITHIN` degrees) is read through a
transposed and flipped view of its own voxels; any other CT is resampled slab by slab to a grid along the patient's
axes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.axis_weights import axis_weights, narrowed, resample_plane
from SpineSegLib.engine.models.preprocessing import AIR_HU, Preprocessing
from SpineSegLib.engine.padding import Padding
from SpineSegLib.engine.probabilities import Box
from SpineSegLib.engine.volume import Grid, Volume

ALIGNED_WITHIN = 2.0  # degrees; a tilt this small changes no anatomy, and results return through the same axes
THINNEST_STEP = 1.0  # mm between slices given to the network; thinner slices are averaged in groups
BODY_HU = -300.0
BODY_MARGIN = 20.0  # mm kept around the body
BODY_SAMPLING = 4.0  # mm between the voxels looked at to find the body
STRIP = 48  # rows of an oblique CT resampled at once: the box of stored voxels around more of them holds far too many
READ_AHEAD = 16  # planes read at once where the same voxels are needed for several


class StoredPlanes(Protocol):
    """Axial planes of a CT at the resolution they are available in."""

    grid: Grid
    ahead: int  # planes that are best read at once

    def planes(self, first: int, last: int, rows: slice, columns: slice) -> np.ndarray:
        """Rows and columns of planes first to last - 1: float32 (n, y, x) in HU."""

    def coarse(self, step: tuple[int, int, int]) -> np.ndarray:
        """Every step-th voxel in z, y and x."""


def _hu(array: np.ndarray) -> np.ndarray:
    """Float32 HU where nothing is below air, and what is no finite number is air: padding must not weigh in when pixels
    are averaged."""
    if array.dtype.kind == "f":
        array = np.where(np.isfinite(array), array, np.float32(AIR_HU))
    return np.maximum(array, AIR_HU, dtype=np.float32)


def aligned_axes(direction: Sequence[float]) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]] | None:
    """How a stored volume lies along the patient: for each of x, y, z (LPS) the stored axis (i, j, k) and its sense.

    `direction`: row-major, columns are the stored axes. The sense is True where the stored axis runs backwards. None if
    the axes differ from the patient's by more than `ALIGNED_WITHIN` degrees.
    """
    direction = np.array(direction).reshape(3, 3)
    stored = tuple(int(axis) for axis in np.argmax(np.abs(direction), axis=1))
    if sorted(stored) != [0, 1, 2]:
        return None
    along = np.array([direction[patient, axis] for patient, axis in enumerate(stored)])
    if np.any(np.abs(along) < np.cos(np.radians(ALIGNED_WITHIN))):
        return None
    return stored, tuple(bool(value < 0) for value in along)


def slices_averaged(step: float) -> int:
    """How many stored slices, `step` mm apart, make one of those that the network gets."""
    return max(1, round(THINNEST_STEP / step))


def patient_grid(grid: Grid, axes: tuple[tuple[int, ...], tuple[bool, ...]]) -> Grid:
    """The grid of the `patient_view` of an array on `grid`."""
    stored, backwards = axes
    corner = [0, 0, 0]  # k, j, i of the view's first voxel
    for axis, flip in zip(stored, backwards, strict=True):
        corner[2 - axis] = grid.shape[2 - axis] - 1 if flip else 0
    columns = np.array(grid.direction).reshape(3, 3)[:, list(stored)] * np.where(backwards, -1.0, 1.0)
    return Grid(
        shape=tuple(grid.shape[2 - axis] for axis in reversed(stored)),
        spacing=tuple(grid.spacing[2 - axis] for axis in reversed(stored)),
        origin=tuple(grid.point(*corner).tolist()),
        direction=tuple(columns.ravel().tolist()),
    )


def patient_view(array: np.ndarray, axes: tuple[tuple[int, ...], tuple[bool, ...]]) -> np.ndarray:
    """View (no copy) of a stored array (k, j, i) as z, y, x running to the head, back and left; see `aligned_axes`."""
    stored, backwards = axes
    view = array.transpose(2 - stored[2], 2 - stored[1], 2 - stored[0])
    return view[tuple(slice(None, None, -1) if flip else slice(None) for flip in reversed(backwards))]


def stored_box(box: Box, axes: tuple[tuple[int, ...], tuple[bool, ...]], shape: tuple[int, ...]) -> Box:
    """The box in a stored array (k, j, i) that is `box` in its `patient_view` of shape `shape`."""
    stored, backwards = axes
    result = [slice(0)] * 3
    for along, n, axis, flip in zip(box, shape, reversed(stored), reversed(backwards), strict=True):
        result[2 - axis] = slice(n - along.stop, n - along.start) if flip else along
    return tuple(result)


class AlignedPlanes:
    """Axial planes of a CT stored along the patient's axes: its own voxels."""

    def __init__(self, volume: Volume, axes: tuple[tuple[int, ...], tuple[bool, ...]], padding: Padding | None) -> None:
        self._volume = volume  # owns the memory the view looks at
        self._view = patient_view(volume.array, axes)
        self._axes = axes
        self._padding = padding
        self.grid = patient_grid(volume.grid, axes)
        # where the voxels of a column along the patient are neighbours in memory, they are fetched together
        self.ahead = READ_AHEAD if axes[0][2] == 0 else 1

    def planes(self, first: int, last: int, rows: slice, columns: slice) -> np.ndarray:
        box = slice(first, last), rows, columns
        if self._padding is None:
            part = self._view[box]
        else:
            part = patient_view(self._padding.filled(stored_box(box, self._axes, self._view.shape)), self._axes)
        return np.ascontiguousarray(_hu(part))

    def coarse(self, step: tuple[int, int, int]) -> np.ndarray:
        return _hu(self._view[:: step[0], :: step[1], :: step[2]])


class ObliquePlanes:
    """Axial planes of a CT stored obliquely: resampled linearly along the patient's axes, outside what is nearest."""

    ahead = READ_AHEAD

    def __init__(self, volume: Volume, in_plane: float | None, padding: Padding | None) -> None:
        self._volume = volume
        self._padding = padding
        stored = volume.grid
        direction = np.array(stored.direction).reshape(3, 3)
        # mm between samples along each patient axis: the length that crosses one voxel
        along = 1 / np.sqrt(((direction / stored.spacing[::-1]) ** 2).sum(axis=1))
        # finer than the working pixels by a whole number, so that the mean of what they cover follows
        pixel = float(min(along[:2])) if in_plane is None else in_plane / max(1, round(in_plane / min(along[:2])))
        spacing = np.array([pixel, pixel, max(float(along[2]), THINNEST_STEP)])
        outer = stored.outer_corners()
        low, high = np.min(outer, axis=0), np.max(outer, axis=0)
        count = np.maximum(1, np.ceil((high - low) / spacing - 1e-6)).astype(int)
        origin = (low + high) / 2 - (count - 1) / 2 * spacing
        self.grid = Grid(tuple(count[::-1].tolist()), tuple(spacing[::-1].tolist()), tuple(origin.tolist()))

    def planes(self, first: int, last: int, rows: slice, columns: slice) -> np.ndarray:
        starts = range(rows.start, rows.stop, STRIP)
        strips = [self._strip(first, last, slice(row, min(row + STRIP, rows.stop)), columns) for row in starts]
        return np.concatenate(strips, axis=1)

    def _strip(self, first: int, last: int, rows: slice, columns: slice) -> np.ndarray:
        shape = (last - first, rows.stop - rows.start, columns.stop - columns.start)
        corner = tuple(self.grid.point(first, rows.start, columns.start).tolist())
        wanted = Grid(shape, self.grid.spacing, corner, self.grid.direction)
        # only the stored voxels around these planes are copied into memory
        stored = self._volume.grid
        corners = stored.index(wanted.outer_corners())
        start = np.clip(np.floor(corners.min(axis=0)).astype(int) - 1, 0, np.array(stored.shape) - 1)
        stop = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, start + 1, stored.shape)
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        part = self._volume.array[box] if self._padding is None else self._padding.filled(box)
        place = Grid(part.shape, stored.spacing, tuple(stored.point(*start).tolist()), stored.direction)
        return _resample(place.image(_hu(part)), wanted, extrapolated=True)

    def coarse(self, step: tuple[int, int, int]) -> np.ndarray:
        # every so many stored voxels are enough, and all of them might not fit into memory
        stored = self._volume.grid
        finest = min(mm * s for mm, s in zip(self.grid.spacing, step, strict=True))
        sparse = [max(1, int(finest / mm)) for mm in stored.spacing]
        part = self._volume.array[:: sparse[0], :: sparse[1], :: sparse[2]]
        spacing = tuple(mm * s for mm, s in zip(stored.spacing, sparse, strict=True))
        image = Grid(part.shape, spacing, stored.origin, stored.direction).image(_hu(part))
        shape = tuple(-(-n // s) for n, s in zip(self.grid.shape, step, strict=True))
        spacing = tuple(mm * s for mm, s in zip(self.grid.spacing, step, strict=True))
        return _resample(image, Grid(shape, spacing, self.grid.origin, self.grid.direction), extrapolated=False)


def _resample(image: sitk.Image, grid: Grid, extrapolated: bool) -> np.ndarray:
    """The image, linearly interpolated on a grid, air outside: float32 HU (z, y, x)."""
    resampled = sitk.Resample(
        image,
        grid.shape[::-1],
        sitk.Transform(),
        sitk.sitkLinear,
        grid.origin,
        grid.spacing[::-1],
        grid.direction,
        AIR_HU,
        sitk.sitkFloat32,
        useNearestNeighborExtrapolator=extrapolated,
    )
    return _hu(sitk.GetArrayFromImage(resampled))


def _nearest(places: Sequence[np.ndarray], shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """The voxels of an array of this shape that are nearest to some places in it."""
    return tuple(
        np.clip(np.rint(place), 0, n - 1).astype(np.intp)
        for place, n in zip(np.broadcast_arrays(*places), shape, strict=True)
    )


class AxialSlices:
    """Axial slices of a CT as a model wants them, made as they are asked for.

    `grid` is the working grid: z ascends to the head; pixels have the model's spacing (None: the stored pixels where
    they are square, else square pixels of the smaller side); slices are the CT's own where they are at least
    `THINNEST_STEP` mm apart, groups of thinner ones are averaged to the multiple nearest to it. `region` holds the
    slices (z, y, x) of the working grid around the body; `batch` gives only those rows and columns.
    """

    def __init__(
        self,
        ct: sitk.Image | Volume,
        preprocessing: Preprocessing,
        whole: bool = False,
        padding: Padding | None = None,
    ) -> None:
        """`ct`: in HU. `whole`: take the whole field of view instead of the region around the body.

        `padding` of the CT is replaced by what was scanned next to it.
        """
        volume = ct if isinstance(ct, Volume) else Volume(ct, "")
        self._stored, self._padding = volume.grid, padding
        axes = aligned_axes(volume.grid.direction)
        self._oblique = axes is None
        self._preprocessing = preprocessing
        self._source: StoredPlanes = (
            ObliquePlanes(volume, preprocessing.spacing, padding)
            if axes is None
            else AlignedPlanes(volume, axes, padding)
        )
        stored = self._source.grid
        (nz, ny, nx), (dz, dy, dx) = stored.shape, stored.spacing
        pixel = preprocessing.spacing or min(dy, dx)
        if preprocessing.spacing is None and abs(dy - dx) < 1e-3 * pixel:
            shape, spacing = (ny, nx), (dy, dx)
        else:
            shape = tuple(max(1, round(n * d / pixel)) for n, d in ((ny, dy), (nx, dx)))
            spacing = (pixel, pixel)
        group = slices_averaged(dz)
        count = max(1, round(nz / group))
        # both grids share their centre, so storing a CT the other way round gives the same working pixels
        self.grid = Grid(
            shape=(count, *shape),
            spacing=(dz * group, *spacing),
            origin=tuple(
                stored.point(
                    (nz - 1) / 2 - (count - 1) / 2 * group,
                    (ny - 1) / 2 - (shape[0] - 1) / 2 * spacing[0] / dy,
                    (nx - 1) / 2 - (shape[1] - 1) / 2 * spacing[1] / dx,
                ).tolist()
            ),
            direction=stored.direction,
        )
        self.region = tuple(slice(0, n) for n in self.grid.shape) if whole else self._body()
        self._in_plane = axis_weights(ny, dy, shape[0], spacing[0]), axis_weights(nx, dx, shape[1], spacing[1])
        self._channels = [axis_weights(nz, dz, count, dz * group, mm) for mm in preprocessing.context]
        self._narrow(self.region)

    def part(self, along: slice, rows: slice, columns: slice) -> AxialSlices:
        """The same slices where only a part of `region` will be asked for, which is `region` there."""
        part = copy.copy(self)
        part._narrow((along, rows, columns))
        return part

    def _narrow(self, region: tuple[slice, slice, slice]) -> None:
        self.region = region
        self._rows, self._stored_rows = narrowed(self._in_plane[0], region[1])
        self._columns, self._stored_columns = narrowed(self._in_plane[1], region[2])
        self._ready: dict[int, np.ndarray] = {}  # stored slice -> its plane in working pixels
        self._single: dict[int, np.ndarray] = {}  # the same, normalised
        self._wanted = np.zeros(self._source.grid.shape[0], dtype=bool)  # the stored slices that are ever needed
        for weights in self._channels:
            self._wanted[weights[region[0]].indices] = True

    def position(self, index: int) -> float:
        """Place of a slice along the patient's axis in mm (LPS z of its centre)."""
        _, ny, nx = self.grid.shape
        return float(self.grid.point(index, (ny - 1) / 2, (nx - 1) / 2)[2])

    def scanned(self, index: int, rows: slice, columns: slice) -> np.ndarray | None:
        """Of which pixels of a slice the CT tells something: those in it and not in its padding, and one pixel around
        them, which voxels at an edge are decided from: bool (y, x), None for all."""
        if not self._oblique and self._padding is None:
            return None
        stored, first = self._stored, (index, rows.start, columns.start)
        corner = stored.index(self.grid.point(*first))
        up, down, right = (stored.index(self.grid.point(*np.add(first, step))) - corner for step in np.eye(3))
        y, x = np.ogrid[: rows.stop - rows.start, : columns.stop - columns.start]
        places = [corner[axis] + y * down[axis] + x * right[axis] for axis in range(3)]
        margins = 0.5 + np.abs([up, down, right]).sum(axis=0)
        inside = np.ones((y.size, x.size), dtype=bool)
        for place, n, margin in zip(places, stored.shape, margins, strict=True):
            inside &= (place > -margin) & (place < n - 1 + margin)
        if self._padding is not None:
            from scipy import ndimage  # would delay the panel's opening

            padded = inside
            for step in (-1, 0, 1):
                beside = [place + step * each for place, each in zip(places, up, strict=True)]
                padded = padded & self._padding.at(_nearest(beside, stored.shape))
            inside &= ndimage.binary_dilation(~padded, np.ones((3, 3)))
        return inside

    def batch(self, first: int, last: int) -> np.ndarray:
        """Slices first to last - 1 of the working grid: normalised float32 (n, channels, y, x) of `region`.

        Cheapest in ascending order: stored slices shared with the slices before are kept.
        """
        used = [weights.indices[weights.indptr[first] : weights.indptr[last]] for weights in self._channels]
        self._prepare(np.unique(np.concatenate(used)).tolist())
        rows, columns = self._rows.shape[0], self._columns.shape[0]
        out = np.empty((last - first, len(self._channels), rows, columns), dtype=np.float32)
        for channel, weights in enumerate(self._channels):
            for n, index in enumerate(range(first, last)):
                entries = slice(weights.indptr[index], weights.indptr[index + 1])
                out[n, channel] = self._normalised(weights.indices[entries].tolist(), weights.data[entries])
        return out

    def _normalised(self, used: list[int], shares: np.ndarray) -> np.ndarray:
        """The mean of stored slices that are ready, normalised; a single one is kept, as other slices need it too."""
        if len(used) > 1:
            return self._preprocessing.normalise(sum(w * self._ready[z] for z, w in zip(used, shares, strict=True)))
        if used[0] not in self._single:
            self._single[used[0]] = self._preprocessing.normalise(self._ready[used[0]])
        return self._single[used[0]]

    def _prepare(self, needed: list[int]) -> None:
        """Have the stored slices `needed` (ascending) ready in working pixels, and let go of those below them."""
        for planes in (self._ready, self._single):
            for z in [z for z in planes if z < needed[0]]:
                del planes[z]
        missing = [z for z in needed if z not in self._ready]
        while missing:
            first = missing[0]
            last = first + 1 + int(np.flatnonzero(self._wanted[first : first + self._source.ahead])[-1])
            planes = self._source.planes(first, last, self._stored_rows, self._stored_columns)
            for z, plane in enumerate(planes, start=first):
                if self._wanted[z] and z not in self._ready:
                    self._ready[z] = resample_plane(plane, self._rows, self._columns)
            missing = [z for z in missing if z >= last]

    def _body(self) -> tuple[slice, slice, slice]:
        """The working voxels around the body: the box of all that is denser than fat and thicker than a table."""
        from scipy import ndimage  # would delay the panel's opening

        stored = self._source.grid
        step = tuple(max(1, round(BODY_SAMPLING / spacing)) for spacing in stored.spacing)
        square = np.ones((1, 3, 3), dtype=bool)
        thick = ndimage.binary_erosion(self._source.coarse(step) > BODY_HU, square, border_value=1)
        opened = sitk.GetImageFromArray(ndimage.binary_dilation(thick, square).astype(np.uint8))
        parts = sitk.RelabelComponent(sitk.ConnectedComponent(opened))
        statistics = sitk.LabelShapeStatisticsImageFilter()
        statistics.Execute(parts)
        if not statistics.GetNumberOfLabels():
            return tuple(slice(0, n) for n in self.grid.shape)
        largest = statistics.GetNumberOfPixels(1)
        boxes = [
            statistics.GetBoundingBox(part)
            for part in statistics.GetLabels()
            if statistics.GetNumberOfPixels(part) >= largest / 10  # legs, arms and both halves of a torn-apart body
        ]
        low = np.min([box[:3] for box in boxes], axis=0)[::-1] * step
        high = np.max([np.add(box[:3], box[3:]) for box in boxes], axis=0)[::-1] * step
        region = []
        for axis, (n, spacing) in enumerate(zip(self.grid.shape, self.grid.spacing, strict=True)):
            # from stored voxel edges to working voxel edges: both grids share their centre
            ratio = stored.spacing[axis] / spacing
            shift = n / 2 - stored.shape[axis] / 2 * ratio
            start = int(np.floor(low[axis] * ratio + shift - BODY_MARGIN / spacing))
            stop = int(np.ceil(high[axis] * ratio + shift + BODY_MARGIN / spacing))
            region.append(slice(max(0, start), min(n, stop)))
        return tuple(region)
