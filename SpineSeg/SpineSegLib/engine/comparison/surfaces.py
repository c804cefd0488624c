"""Distances between the surfaces of two masks, right for any voxel size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk


def surface_metrics(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], tolerance_mm: float
) -> dict[str, float | None]:
    """Distances in mm between the surfaces of two masks (bool, k, j, i) with `spacing` mm in the same order.

    A surface is the set of corners between eight voxels of which some are marked and some are not, as in Nikolov et
    al., Deep learning to achieve clinically applicable segmentation of head and neck anatomy (2018); each corner stands
    for a piece of surface, whose area is the voxel's volume times the length of the mask's gradient there (the total
    variation of the mask is its surface). Beyond the array nothing is marked.
    With d the distance of a corner to the nearest one of the other surface, either way round:
    hausdorff_mm = the largest d; hausdorff_95_mm = the larger one of the two 95th percentiles of d by area;
    assd_mm = mean of d over both surfaces by area (average symmetric surface distance, Heimann et al. 2009);
    surface_dice = share of both surfaces' area where d <= tolerance_mm (Nikolov et al. 2018).
    Where a mask is empty distances are None, and surface_dice is 0, or None where both are.
    """
    surfaces = [_corners(mask, spacing) for mask in (prediction, reference)]
    filled = [len(areas) > 0 for _, areas in surfaces]
    if not all(filled):
        none = dict.fromkeys(("hausdorff_mm", "hausdorff_95_mm", "assd_mm"))
        return none | {"surface_dice": 0.0 if any(filled) else None}
    shape = tuple(n + 1 for n in prediction.shape)
    (one, one_areas), (other, other_areas) = surfaces
    distances = [_distances(one, other, shape, spacing), _distances(other, one, shape, spacing)]
    areas = [one_areas, other_areas]
    total = sum(float(a.sum()) for a in areas)
    near = sum(float(a[d <= tolerance_mm].sum()) for d, a in zip(distances, areas, strict=True))
    return {
        "hausdorff_mm": max(float(d.max()) for d in distances),
        "hausdorff_95_mm": max(_percentile(d, a, 95) for d, a in zip(distances, areas, strict=True)),
        "assd_mm": sum(float(d @ a) for d, a in zip(distances, areas, strict=True)) / total,
        "surface_dice": near / total,
    }


def _corners(mask: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of the surface's corners in an array one larger than `mask` along each axis, and their areas."""
    padded = np.pad(mask.astype(np.uint8), 1)
    marked = padded
    for axis in range(3):
        low = [slice(None)] * 3
        high = [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        marked = marked[tuple(low)] + marked[tuple(high)]
    at = np.flatnonzero((marked > 0) & (marked < 8))
    k, j, i = np.unravel_index(at, marked.shape)
    gradient = np.zeros((3, len(at)), dtype=np.float32)
    for offset in np.ndindex(2, 2, 2):
        value = padded[k + offset[0], j + offset[1], i + offset[2]].astype(np.float32)
        for axis in range(3):
            gradient[axis] += value if offset[axis] else -value
    gradient /= 4 * np.array(spacing, dtype=np.float32)[:, None]
    return at, np.linalg.norm(gradient, axis=0).astype(np.float64) * float(np.prod(spacing))


def _distances(of: np.ndarray, to: np.ndarray, shape: tuple[int, ...], spacing: Sequence[float]) -> np.ndarray:
    """Distance in mm of each corner in `of` to the nearest one in `to`."""
    there = np.zeros(shape, dtype=np.uint8)
    there.ravel()[to] = 1
    if there.ravel()[of].all():
        return np.zeros(len(of))
    image = sitk.GetImageFromArray(there)
    image.SetSpacing([float(s) for s in reversed(spacing)])
    field = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    # inside a thick set of corners the distance map is negative
    return np.clip(sitk.GetArrayViewFromImage(field).ravel()[of], 0, None).astype(np.float64)


def _percentile(values: np.ndarray, weights: np.ndarray, percent: float) -> float:
    """The smallest value up to which `percent` of the weight lies."""
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    place = np.searchsorted(share, percent / 100 * share[-1])
    return float(values[order][min(place, len(order) - 1)])
