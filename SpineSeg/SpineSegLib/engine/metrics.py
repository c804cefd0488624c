"""How well a segmentation agrees with a reference drawn by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.volume import outer_corners

SAME_GRID = 0.01  # voxels that grids may be apart and still count as the same
LEAST_OVERLAP = 0.75  # of the smaller extent; below it the two images show different places
LEAST_SACRUM = 0.05  # of the predicted sacrum; a reference that covers less was drawn without it


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`.

    `metrics`: see `overlap_metrics`, plus the four counts in voxels. `compared`: names of the labels taken into
    account. `notes`: plain sentences on what was done to make the two comparable.
    """

    metrics: dict[str, float | int | None]
    compared: tuple[str, ...]
    notes: tuple[str, ...] = ()


def overlap_metrics(tp: int, fp: int, fn: int, tn: int) -> dict[str, float | None]:
    """Agreement of two masks from counts of voxels; a ratio of nothing to nothing is None.

    Definitions as in A. A. Taha and A. Hanbury, Metrics for evaluating 3D medical image segmentation, BMC Medical
    Imaging 15:29 (2015):
    dice = 2 tp / (2 tp + fp + fn); sensitivity = tp / (tp + fn); precision = tp / (tp + fp);
    f1 = 2 precision sensitivity / (precision + sensitivity), which for masks equals dice;
    jaccard = tp / (tp + fp + fn); specificity = tn / (tn + fp).
    Both masks empty: dice, f1, jaccard, sensitivity and precision are None. One of them empty: dice, f1 and jaccard are
    0.
    """

    def ratio(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    dice = ratio(2 * tp, 2 * tp + fp + fn)
    return {
        "dice": dice,
        "sensitivity": ratio(tp, tp + fn),
        "precision": ratio(tp, tp + fp),
        "f1": dice,
        "jaccard": ratio(tp, tp + fp + fn),
        "specificity": ratio(tn, tn + fp),
    }


def voxel_ml(image: sitk.Image) -> float:
    """Volume of one voxel in ml."""
    return float(np.prod(image.GetSpacing())) / 1000


def volume_ml(labelmap: sitk.Image) -> float:
    """Volume of all labelled voxels in ml."""
    return np.count_nonzero(sitk.GetArrayViewFromImage(labelmap)) * voxel_ml(labelmap)


def compare(prediction: sitk.Image, reference: sitk.Image, labels: Mapping[str, int]) -> Comparison:
    """Compare a labelmap with a reference in which every label above 0 counts as spine.

    `prediction`: uint8 labelmap on the CT's grid; `labels`: its label values by name ("vertebrae", "sacrum" ...).
    `reference`: a labelmap on any grid; on another one it is resampled (nearest neighbour) to the prediction's. Beyond
    its extent nothing is marked, as segmentations are often stored cut to what they mark. Where the reference was drawn
    without the sacrum, only the other labels are compared.
    Metrics are those of `overlap_metrics`, `volume_ml` and `reference_volume_ml` of what was compared, and the counts
    of true and false positives and negatives.
    Raises InputError if the two don't show the same place.
    """
    reference, notes = on_grid_of(prediction, reference)
    counts = _counts(prediction, reference)
    compared = dict(labels)
    sacrum = counts[labels["sacrum"]] if "sacrum" in labels and len(labels) > 1 else np.zeros(2, dtype=int)
    if sacrum.sum() and sacrum[1] < LEAST_SACRUM * sacrum.sum():
        del compared["sacrum"]
        notes += (f"the reference does not contain the sacrum: only {' and '.join(compared)} were compared",)
    fp, tp = (int(n) for n in counts[list(compared.values())].sum(axis=0))
    tn, fn = (int(n) for n in counts.sum(axis=0) - (fp, tp))
    metrics = overlap_metrics(tp, fp, fn, tn) | {
        "volume_ml": (tp + fp) * voxel_ml(prediction),
        "reference_volume_ml": (tp + fn) * voxel_ml(prediction),
        "true_positives": tp,
        "false_positives": fp,
        "false_negatives": fn,
        "true_negatives": tn,
    }
    return Comparison(metrics, tuple(compared), notes)


def on_grid_of(image: sitk.Image, reference: sitk.Image) -> tuple[sitk.Image, tuple[str, ...]]:
    """The reference on the grid of `image`: itself if it is there already, else what it marks (uint8, 0 or 1) and a
    note.

    Raises InputError if the two don't show the same place.
    """
    if same_grid(image, reference):
        return reference, ()
    one, other = outer_corners(image), outer_corners(reference)
    low = np.maximum(one.min(axis=0), other.min(axis=0))
    high = np.minimum(one.max(axis=0), other.max(axis=0))
    extents = [np.prod(corners.max(axis=0) - corners.min(axis=0)) for corners in (one, other)]
    overlap = np.prod(np.clip(high - low, 0, None)) / min(extents)
    if overlap < LEAST_OVERLAP:
        shared = "no place" if overlap == 0 else f"only {overlap:.0%} of their extent"
        raise InputError(
            f"The reference and the CT share {shared} in the patient, so they belong to different scans; "
            "choose the reference of this CT."
        )
    marked = reference > 0
    resampled = sitk.Resample(marked, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    if _any(marked) and not _any(resampled):
        raise InputError(
            "All that is marked in the reference lies outside the CT, so they belong to different scans; "
            "choose the reference of this CT."
        )
    return resampled, ("the reference lies on another grid than the CT and was resampled to it",)


def same_grid(one: sitk.Image, other: sitk.Image) -> bool:
    """Whether voxels with the same index lie in the same place, up to a hundredth of a voxel."""
    if one.GetSize() != other.GetSize():
        return False
    tolerance = SAME_GRID * min(one.GetSpacing())
    return np.allclose(outer_corners(one), outer_corners(other), rtol=0, atol=tolerance)


def _any(mask: sitk.Image) -> bool:
    return bool(sitk.GetArrayViewFromImage(mask).any())


def _counts(prediction: sitk.Image, reference: sitk.Image) -> np.ndarray:
    """Voxels (256, 2) by label of the prediction and whether the reference marks them, slice by slice."""
    counts = np.zeros(512, dtype=np.int64)
    predicted, marked = sitk.GetArrayViewFromImage(prediction), sitk.GetArrayViewFromImage(reference)
    for labels, marks in zip(predicted, marked, strict=True):
        counts += np.bincount((labels.astype(np.int64) * 2 + (marks > 0)).ravel(), minlength=512)
    return counts.reshape(256, 2)
