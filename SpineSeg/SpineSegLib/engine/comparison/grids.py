"""Brings two masks of one patient to a common grid, or says why they can't be compared."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.volume import outer_corners

SAME_GRID = 0.01  # voxels that grids may be apart and still count as the same
LEAST_OVERLAP = 0.75  # of the smaller extent; below it the two images show different places


def same_grid(one: sitk.Image, other: sitk.Image) -> bool:
    """Whether voxels with the same index lie in the same place, up to a hundredth of a voxel."""
    if one.GetSize() != other.GetSize():
        return False
    tolerance = SAME_GRID * min(one.GetSpacing())
    return np.allclose(outer_corners(one), outer_corners(other), rtol=0, atol=tolerance)


def on_grid_of(image: sitk.Image, reference: sitk.Image) -> tuple[sitk.Image, tuple[str, ...]]:
    """The reference with its labels on the grid of a CT or a mask that covers it, and notes on what was done.

    Raises InputError if the two don't show the same place.
    """
    if same_grid(image, reference):
        return reference, ()
    _require_geometry(image, reference, "CT")
    share = _shared_extent(image, reference)
    if share < LEAST_OVERLAP:
        shared = "no place" if share == 0 else f"only {share:.0%} of their extent"
        raise InputError(
            f"The reference and the CT share {shared} in the patient, so they belong to different scans; "
            "choose the reference of this CT."
        )
    resampled = _resample(reference, image)
    if _any(reference) and not _any(resampled):
        raise InputError(
            "All that is marked in the reference lies outside the CT, so they belong to different scans; "
            "choose the reference of this CT."
        )
    return resampled, ("the reference lies on another grid than the CT and was resampled to it",)


def common_grid(prediction: sitk.Image, reference: sitk.Image) -> tuple[sitk.Image, sitk.Image, tuple[str, ...]]:
    """Both masks on one grid with the prediction's axes and voxels, and notes on what was done.

    Masks are often stored cut to what they mark, so neither need cover the other: the prediction's grid is extended by
    whole voxels to all that the reference marks. Labels are kept (nearest neighbour).
    Raises InputError if the two don't overlap in space, or one of them has lost its place in the patient.
    """
    if same_grid(prediction, reference):
        return prediction, reference, ()
    _require_geometry(prediction, reference, "prediction")
    if _shared_extent(prediction, reference) == 0:
        raise InputError(
            "The prediction and the reference have no place in the patient in common, so they belong to different "
            "scans; choose two masks of the same CT."
        )
    lower, upper = _beyond(prediction, reference)
    notes: tuple[str, ...] = ()
    # parts of one grid, as Slicer stores segments, are nothing to tell about
    if not _parts_of_one_grid(prediction, reference):
        notes += ("the reference lies on another grid than the prediction and was resampled to it",)
        if lower.any() or upper.any():
            notes += ("the reference reaches beyond the prediction's grid, where the prediction counts as empty",)
    if lower.any() or upper.any():
        prediction = sitk.ConstantPad(prediction, lower.tolist(), upper.tolist(), 0)
    return prediction, _resample(reference, prediction), notes


def marked_box(mask: sitk.Image) -> tuple[np.ndarray, np.ndarray] | None:
    """First and last index (i, j, k) of what a mask marks; None where it is empty."""
    array = sitk.GetArrayViewFromImage(mask)
    planes = [plane.any() for plane in array]
    if not any(planes):
        return None
    first, last = np.flatnonzero(planes)[[0, -1]]
    # one plane at a time: no boolean copy of a large volume
    flat = np.zeros(array.shape[1:], dtype=bool)
    for plane in array[first : last + 1]:
        flat |= plane > 0
    bounds = [np.flatnonzero(flat.any(axis=axis))[[0, -1]] for axis in (0, 1)]
    low, high = zip(*bounds, (first, last), strict=True)
    return np.array(low, dtype=int), np.array(high, dtype=int)


def _beyond(prediction: sitk.Image, reference: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (i, j, k) that must be added before and after the prediction's grid to hold all the reference marks."""
    box = marked_box(reference)
    if box is None:
        return np.zeros(3, dtype=int), np.zeros(3, dtype=int)
    corners = np.array(
        [
            prediction.TransformPhysicalPointToContinuousIndex(
                reference.TransformContinuousIndexToPhysicalPoint(
                    np.where(far, box[1] + 0.5, box[0] - 0.5).astype(float).tolist()
                )
            )
            for far in np.ndindex(2, 2, 2)
        ]
    )
    near = SAME_GRID
    lower = np.ceil(-0.5 - corners.min(axis=0) - near).astype(int)
    upper = np.ceil(corners.max(axis=0) - (np.array(prediction.GetSize()) - 0.5) - near).astype(int)
    return np.clip(lower, 0, None), np.clip(upper, 0, None)


def _parts_of_one_grid(one: sitk.Image, other: sitk.Image) -> bool:
    """Whether the voxels of both lie in the same places as far as both reach, up to a hundredth of a voxel."""
    if not np.allclose(one.GetSpacing(), other.GetSpacing(), rtol=1e-4):
        return False
    if not np.allclose(one.GetDirection(), other.GetDirection(), atol=1e-4):
        return False
    start = np.array(one.TransformPhysicalPointToContinuousIndex(other.GetOrigin()))
    return np.allclose(start, start.round(), rtol=0, atol=SAME_GRID)


def _shared_extent(one: sitk.Image, other: sitk.Image) -> float:
    """Volume that the boxes around two images have in common, as a share of the smaller one's."""
    corners = [outer_corners(image) for image in (one, other)]
    low = np.max([c.min(axis=0) for c in corners], axis=0)
    high = np.min([c.max(axis=0) for c in corners], axis=0)
    extents = [np.prod(np.ptp(c, axis=0)) for c in corners]
    return float(np.prod(np.clip(high - low, 0, None)) / min(extents))


def _require_geometry(image: sitk.Image, reference: sitk.Image, what: str) -> None:
    """Refuse a mask of the same size whose geometry was lost on the way: voxels of 1 mm that start at the origin."""
    if image.GetSize() != reference.GetSize() or np.allclose(image.GetSpacing(), reference.GetSpacing()):
        return
    for lost, kept, name, other in ((reference, image, "reference", what), (image, reference, what, "reference")):
        plain = sitk.Image(lost.GetSize(), sitk.sitkUInt8)
        if same_grid(lost, plain) and not same_grid(kept, plain):
            raise InputError(
                f"The {name} has lost its geometry (voxels of 1 mm from the origin on); save it again with the "
                f"spacing, origin and direction of the {other}."
            )


def _resample(mask: sitk.Image, grid: sitk.Image) -> sitk.Image:
    return sitk.Resample(mask, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)


def _any(mask: sitk.Image) -> bool:
    return bool(sitk.GetArrayViewFromImage(mask).any())
