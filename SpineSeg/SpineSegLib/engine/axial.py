"""The working grid: axial slices in patient space, whatever the orientation a CT is stored in.

A CT whose axes run along the patient's (in any order and direction, up to `ALIGNED_WITHIN` degrees) is read through a
transposed and flipped view of its own voxels; any other CT is resampled slab by slab to a grid along the patient's
axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.axis_weights import axis_weights, resample_plane
from SpineSegLib.engine.preprocessing import AIR_HU, Preprocessing
from SpineSegLib.engine.volume import outer_corners

ALIGNED_WITHIN = 2.0  # degrees; a tilt this small changes no anatomy, and results return through the same axes
THINNEST_STEP = 1.0  # mm between slices given to the network; thinner slices are averaged in groups
BODY_HU = -300.0
BODY_MARGIN = 20.0  # mm kept around the body
BODY_SAMPLING = 4.0  # mm between the voxels looked at to find the body
READ_AHEAD = 16  # stored slices read at once


@dataclass(frozen=True)
class Grid:
    """A box of voxels: `shape` and `spacing` (mm) in z, y, x order; `origin` (centre of the first voxel) and
    `direction` (row-major, columns are the x, y, z axes) in LPS as SimpleITK has them."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def point(self, z: float, y: float, x: float) -> np.ndarray:
        """LPS position in mm of a voxel index (may be fractional)."""
        steps = np.array([x, y, z]) * self.spacing[::-1]
        return np.array(self.origin) + np.array(self.direction).reshape(3, 3) @ steps

    def image(self, array: np.ndarray) -> sitk.Image:
        """The array (z, y, x) as an image in its place."""
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(self.spacing[::-1])
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image


class StoredPlanes(Protocol):
    """Axial planes of a CT at the resolution they are available in."""

    grid: Grid

    def planes(self, first: int, last: int) -> np.ndarray:
        """Planes first to last - 1: float32 (n, y, x) in HU."""

    def coarse(self, step: tuple[int, int, int]) -> np.ndarray:
        """Every step-th voxel in z, y and x."""


def _hu(array: np.ndarray) -> np.ndarray:
    """Float32 HU where nothing is below air and NaN is air: padding must not weigh in when pixels are averaged."""
    return (
        np.fmax(array, AIR_HU, dtype=np.float32) if array.dtype.kind == "f" else np.maximum(array, AIR_HU, dtype="f4")
    )


def aligned_axes(image: sitk.Image) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]] | None:
    """How a stored volume lies along the patient: for each of x, y, z (LPS) the stored axis and its sense.

    The sense is True where the stored axis runs backwards. None if the axes differ from the patient's by more than
    `ALIGNED_WITHIN` degrees.
    """
    direction = np.array(image.GetDirection()).reshape(3, 3)
    stored = tuple(int(axis) for axis in np.argmax(np.abs(direction), axis=1))
    if sorted(stored) != [0, 1, 2]:
        return None
    along = np.array([direction[patient, axis] for patient, axis in enumerate(stored)])
    if np.any(np.abs(along) < np.cos(np.radians(ALIGNED_WITHIN))):
        return None
    return stored, tuple(bool(value < 0) for value in along)


def patient_view(array: np.ndarray, axes: tuple[tuple[int, ...], tuple[bool, ...]]) -> np.ndarray:
    """View (no copy) of a stored array (k, j, i) as z, y, x running to the head, back and left; see `aligned_axes`."""
    stored, backwards = axes
    view = array.transpose(2 - stored[2], 2 - stored[1], 2 - stored[0])
    return view[tuple(slice(None, None, -1) if flip else slice(None) for flip in reversed(backwards))]


class AlignedPlanes:
    """Axial planes of a CT stored along the patient's axes: its own voxels."""

    def __init__(self, image: sitk.Image, axes: tuple[tuple[int, ...], tuple[bool, ...]]) -> None:
        self._image = image  # owns the memory the view looks at
        self._view = patient_view(sitk.GetArrayViewFromImage(image), axes)
        stored, backwards = axes
        size = image.GetSize()
        corner = [0, 0, 0]
        for axis, flip in zip(stored, backwards, strict=True):
            corner[axis] = size[axis] - 1 if flip else 0
        columns = np.array(image.GetDirection()).reshape(3, 3)[:, list(stored)] * np.where(backwards, -1.0, 1.0)
        self.grid = Grid(
            shape=self._view.shape,
            spacing=tuple(float(image.GetSpacing()[axis]) for axis in reversed(stored)),
            origin=image.TransformIndexToPhysicalPoint(corner),
            direction=tuple(columns.ravel()),
        )

    def planes(self, first: int, last: int) -> np.ndarray:
        return np.ascontiguousarray(_hu(self._view[first:last]))

    def coarse(self, step: tuple[int, int, int]) -> np.ndarray:
        return _hu(self._view[:: step[0], :: step[1], :: step[2]])


class ObliquePlanes:
    """Axial planes of a CT stored obliquely: resampled linearly along the patient's axes, air outside."""

    def __init__(self, image: sitk.Image, in_plane: float | None) -> None:
        self._image = image
        direction = np.array(image.GetDirection()).reshape(3, 3)
        stored = np.array(image.GetSpacing())
        # mm between samples along each patient axis: the length that crosses one voxel
        along = 1 / np.sqrt(((direction / stored) ** 2).sum(axis=1))
        # finer than the working pixels by a whole number, so that the mean of what they cover follows
        pixel = float(min(along[:2])) if in_plane is None else in_plane / max(1, round(in_plane / min(along[:2])))
        spacing = np.array([pixel, pixel, max(float(along[2]), THINNEST_STEP)])
        outer = outer_corners(image)
        low, high = np.min(outer, axis=0), np.max(outer, axis=0)
        count = np.maximum(1, np.ceil((high - low) / spacing - 1e-6)).astype(int)
        origin = (low + high) / 2 - (count - 1) / 2 * spacing
        self.grid = Grid(tuple(count[::-1].tolist()), tuple(spacing[::-1].tolist()), tuple(origin.tolist()))

    def _resample(self, first: int, last: int, step: tuple[int, int, int]) -> np.ndarray:
        shape = [-(-n // s) for n, s in zip((last - first, *self.grid.shape[1:]), step, strict=True)]
        spacing = [n * s for n, s in zip(self.grid.spacing, step, strict=True)]
        resampled = sitk.Resample(
            self._image,
            shape[::-1],
            sitk.Transform(),
            sitk.sitkLinear,
            self.grid.point(first, 0, 0).tolist(),
            spacing[::-1],
            self.grid.direction,
            AIR_HU,
            sitk.sitkFloat32,
        )
        return _hu(sitk.GetArrayFromImage(resampled))

    def planes(self, first: int, last: int) -> np.ndarray:
        return self._resample(first, last, (1, 1, 1))

    def coarse(self, step: tuple[int, int, int]) -> np.ndarray:
        return self._resample(0, self.grid.shape[0], step)


class AxialSlices:
    """Axial slices of a CT as a model wants them, made as they are asked for.

    `grid` is the working grid: z ascends to the head; pixels have the model's spacing (None: the stored pixels where
    they are square, else square pixels of the smaller side); slices are the CT's own where they are at least
    `THINNEST_STEP` mm apart, groups of thinner ones are averaged to the multiple nearest to it. `region` holds the
    slices (z, y, x) of the working grid around the body; `batch` gives only those rows and columns.
    """

    def __init__(self, image: sitk.Image, preprocessing: Preprocessing, whole: bool = False) -> None:
        """`image`: CT in HU. `whole`: take the whole field of view instead of the region around the body."""
        axes = aligned_axes(image)
        self._preprocessing = preprocessing
        self._source: StoredPlanes = (
            ObliquePlanes(image, preprocessing.spacing) if axes is None else AlignedPlanes(image, axes)
        )
        stored = self._source.grid
        (nz, ny, nx), (dz, dy, dx) = stored.shape, stored.spacing
        pixel = preprocessing.spacing or min(dy, dx)
        if preprocessing.spacing is None and abs(dy - dx) < 1e-3 * pixel:
            shape, spacing = (ny, nx), (dy, dx)
        else:
            shape = tuple(max(1, round(n * d / pixel)) for n, d in ((ny, dy), (nx, dx)))
            spacing = (pixel, pixel)
        group = max(1, round(THINNEST_STEP / dz)) if dz < THINNEST_STEP else 1
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
        self._rows = axis_weights(ny, dy, shape[0], spacing[0])[self.region[1]]
        self._columns = axis_weights(nx, dx, shape[1], spacing[1])[self.region[2]]
        self._channels = [axis_weights(nz, dz, count, dz * group, mm) for mm in preprocessing.context]
        self._ready: dict[int, np.ndarray] = {}  # stored slice -> its plane in working pixels

    def position(self, index: int) -> float:
        """Place of a slice along the patient's axis in mm (LPS z of its centre)."""
        _, ny, nx = self.grid.shape
        return float(self.grid.point(index, (ny - 1) / 2, (nx - 1) / 2)[2])

    def batch(self, first: int, last: int) -> np.ndarray:
        """Slices first to last - 1 of the working grid: normalised float32 (n, channels, y, x) of `region`.

        Cheapest in ascending order: stored slices shared with the slices before are kept.
        """
        picked = [weights[first:last] for weights in self._channels]
        needed = np.unique(np.concatenate([weights.indices for weights in picked]))
        self._prepare(needed)
        rows, columns = self._rows.shape[0], self._columns.shape[0]
        out = np.empty((last - first, len(picked), rows, columns), dtype=np.float32)
        for channel, weights in enumerate(picked):
            for n in range(last - first):
                entries = slice(weights.indptr[n], weights.indptr[n + 1])
                plane = sum(
                    w * self._ready[z] for z, w in zip(weights.indices[entries], weights.data[entries], strict=True)
                )
                out[n, channel] = self._preprocessing.normalise(plane)
        return out

    def _prepare(self, needed: np.ndarray) -> None:
        """Have the stored slices `needed` (ascending) ready in working pixels, and let go of those below them."""
        for z in [z for z in self._ready if z < needed[0]]:
            del self._ready[z]
        missing = [int(z) for z in needed if z not in self._ready]
        while missing:
            first = missing[0]
            last = min(first + READ_AHEAD, self._source.grid.shape[0])
            for z, plane in enumerate(self._source.planes(first, last), start=first):
                if z not in self._ready:
                    self._ready[z] = resample_plane(plane, self._rows, self._columns)
            missing = [z for z in missing if z >= last]

    def _body(self) -> tuple[slice, slice, slice]:
        """The working voxels around the body: the box of all that is denser than fat and thicker than a table."""
        stored = self._source.grid
        step = tuple(max(1, round(BODY_SAMPLING / spacing)) for spacing in stored.spacing)
        dense = sitk.GetImageFromArray((self._source.coarse(step) > BODY_HU).astype(np.uint8))
        opened = sitk.BinaryMorphologicalOpening(dense, [1, 1, 0])
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
