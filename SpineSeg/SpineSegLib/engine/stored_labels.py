"""The way back: probabilities on the working grid become a labelmap on the CT's own grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.axial import Grid, aligned_axes, patient_view
from SpineSegLib.engine.axis_weights import axis_weights, resample_plane

SLAB = 16  # stored slices done at once where the CT is oblique


def foreground(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Where the sum over the labels of uint8 probabilities (labels, ...), 255 being 1, reaches the threshold."""
    return probabilities.sum(axis=0, dtype=np.uint16) >= threshold * 255


def decide(probabilities: np.ndarray, threshold: float, values: Sequence[int]) -> np.ndarray:
    """Labels from probabilities (labels, ...): uint8 (...).

    A voxel is foreground where the sum over the labels reaches `threshold`; it then gets the value of the most
    probable. `threshold` is in the units of `probabilities`.
    """
    if len(values) == 1:
        return np.where(probabilities[0] >= threshold, np.uint8(values[0]), np.uint8(0))
    best = np.asarray(values, dtype=np.uint8)[np.argmax(probabilities, axis=0)]
    return np.where(probabilities.sum(axis=0, dtype=np.float32) >= threshold, best, np.uint8(0))


def labels_on_stored_grid(
    probabilities: np.ndarray, grid: Grid, image: sitk.Image, threshold: float, values: Sequence[int]
) -> sitk.Image:
    """Bring probabilities back to the grid of `image` (the CT as stored), then decide.

    `probabilities`: uint8 (labels, z, y, x) on `grid`, 255 being 1. Finer stored voxels interpolate linearly, coarser
    ones take the mean of what they cover. `values`: the label value of each. Returns uint8 on the grid of `image`.
    """
    axes = aligned_axes(image)
    reach = 1 if axes is None else max(1, int(np.ceil(max(image.GetSpacing()) / min(grid.spacing))))
    box = foreground_box(probabilities, threshold, reach)
    labels = np.zeros(image.GetSize()[::-1], dtype=np.uint8)
    if box is not None:
        if axes is None:
            _fill_oblique(labels, probabilities, grid, box, image, threshold, values)
        else:
            _fill_aligned(patient_view(labels, axes), probabilities, grid, box, image, axes, threshold, values)
    result = sitk.GetImageFromArray(labels)
    result.CopyInformation(image)
    return result


def foreground_box(probabilities: np.ndarray, threshold: float, margin: int = 1) -> tuple[slice, slice, slice] | None:
    """The z, y, x slices that hold all foreground of uint8 probabilities (labels, z, y, x), and `margin` voxels around.

    None where there is no foreground.
    """
    shape = probabilities.shape[1:]
    lines = [np.zeros(n, dtype=bool) for n in shape]
    for z in range(shape[0]):
        inside = foreground(probabilities[:, z], threshold)
        if inside.any():
            lines[0][z] = True
            lines[1] |= inside.any(axis=1)
            lines[2] |= inside.any(axis=0)
    if not lines[0].any():
        return None
    found = [np.flatnonzero(line) for line in lines]
    return tuple(slice(max(0, f[0] - margin), min(n, f[-1] + margin + 1)) for f, n in zip(found, shape, strict=True))


def _fill_aligned(labels, probabilities, grid, box, image, axes, threshold, values) -> None:
    """Fill the view `labels` (z, y, x along the patient) slice by slice."""
    spacing = [image.GetSpacing()[axis] for axis in reversed(axes[0])]
    weights, targets = [], []
    for axis in range(3):
        along = axis_weights(grid.shape[axis], grid.spacing[axis], labels.shape[axis], spacing[axis])
        part = along[:, box[axis]]
        touched = np.flatnonzero(np.diff(part.indptr))
        targets.append(slice(touched[0], touched[-1] + 1))
        weights.append(part[targets[-1]])
    across, rows, columns = weights
    inner = probabilities[:, box[0], box[1], box[2]]
    filled = labels[targets[0], targets[1], targets[2]]
    for z in range(across.shape[0]):
        entries = slice(across.indptr[z], across.indptr[z + 1])
        used, shares = across.indices[entries], across.data[entries]
        planes = np.tensordot(inner[:, used].astype(np.float32), shares, axes=(1, 0))
        if planes.sum(axis=0).max() < threshold * 255:
            continue
        filled[z] = decide(np.stack([resample_plane(p, rows, columns) for p in planes]), threshold * 255, values)


def _fill_oblique(labels, probabilities, grid, box, image, threshold, values) -> None:
    """Fill `labels` (k, j, i as stored) slab by slab around the foreground."""
    inner = grid.point(*(part.start for part in box))
    moving = Grid(tuple(part.stop - part.start for part in box), grid.spacing, tuple(inner.tolist()), grid.direction)
    moving_images = [moving.image(np.ascontiguousarray(p[box])) for p in probabilities]
    corners = np.array(
        [
            image.TransformPhysicalPointToContinuousIndex(
                moving.point(*(n * end for n, end in zip(moving.shape, ends, strict=True))).tolist()
            )
            for ends in np.ndindex(2, 2, 2)
        ]
    )
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2, image.GetSize())
    for first in range(int(low[2]), int(high[2]), SLAB):
        last = min(first + SLAB, int(high[2]))
        start = [int(low[0]), int(low[1]), first]
        size = [int(high[0] - low[0]), int(high[1] - low[1]), last - first]
        resampled = [
            sitk.GetArrayFromImage(
                sitk.Resample(
                    moving_image,
                    size,
                    sitk.Transform(),
                    sitk.sitkLinear,
                    image.TransformIndexToPhysicalPoint(start),
                    image.GetSpacing(),
                    image.GetDirection(),
                    0.0,
                    sitk.sitkFloat32,
                )
            )
            for moving_image in moving_images
        ]
        labels[first:last, low[1] : high[1], low[0] : high[0]] = decide(np.stack(resampled), threshold * 255, values)
