"""How well a segmentation agrees with a reference drawn by hand: counts of voxels and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.comparison.grids import on_grid_of

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
    dice = ratio(2 * tp, 2 * tp + fp + fn)
    return {
        "dice": dice,
        "sensitivity": ratio(tp, tp + fn),
        "precision": ratio(tp, tp + fp),
        "f1": dice,
        "jaccard": ratio(tp, tp + fp + fn),
        "specificity": ratio(tn, tn + fp),
    }


def mask_metrics(tp: int, fp: int, fn: int, tn: int, voxel_ml: float) -> dict[str, float | int | None]:
    """`overlap_metrics`, volumes in ml, and the counts themselves.

    accuracy = (tp + tn) / all voxels; volume_difference_ml = prediction - reference; volume_difference_percent is that
    in percent of the reference, None where the reference is empty.
    """
    return overlap_metrics(tp, fp, fn, tn) | {
        "accuracy": ratio(tp + tn, tp + fp + fn + tn),
        "volume_ml": (tp + fp) * voxel_ml,
        "reference_volume_ml": (tp + fn) * voxel_ml,
        "volume_difference_ml": (fp - fn) * voxel_ml,
        "volume_difference_percent": ratio(100 * (fp - fn), tp + fn),
        "true_positives": tp,
        "false_positives": fp,
        "false_negatives": fn,
        "true_negatives": tn,
    }


def ratio(part: float, whole: float) -> float | None:
    """`part` / `whole`; None where `whole` is 0."""
    return part / whole if whole else None


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
    of true and false positives and negatives. `pair.compare_pair` measures more.
    Raises InputError if the two don't show the same place.
    """
    reference, notes = on_grid_of(prediction, reference)
    counts = _counts(prediction, reference)
    compared = dict(labels)
    if "sacrum" in labels and len(labels) > 1 and drawn_without(*counts[labels["sacrum"]]):
        del compared["sacrum"]
        notes += (without_sacrum(compared),)
    fp, tp = (int(n) for n in counts[list(compared.values())].sum(axis=0))
    tn, fn = (int(n) for n in counts.sum(axis=0) - (fp, tp))
    metrics = mask_metrics(tp, fp, fn, tn, voxel_ml(prediction))
    for key in ("accuracy", "volume_difference_ml", "volume_difference_percent"):
        del metrics[key]
    return Comparison(metrics, tuple(compared), notes)


def drawn_without(outside: int, inside: int) -> bool:
    """Whether a reference was drawn without a structure, of whose predicted voxels these lie out- and inside it."""
    return bool(inside + outside) and inside < LEAST_SACRUM * (inside + outside)


def without_sacrum(compared: Mapping[str, int] | tuple[str, ...]) -> str:
    """The note that says so."""
    return f"the reference does not contain the sacrum: only {' and '.join(compared)} were compared"


def _counts(prediction: sitk.Image, reference: sitk.Image) -> np.ndarray:
    """Voxels (256, 2) by label of the prediction and whether the reference marks them, slice by slice."""
    counts = np.zeros(512, dtype=np.int64)
    predicted, marked = sitk.GetArrayViewFromImage(prediction), sitk.GetArrayViewFromImage(reference)
    for labels, marks in zip(predicted, marked, strict=True):
        counts += np.bincount((labels.astype(np.int64) * 2 + (marks > 0)).ravel(), minlength=512)
    return counts.reshape(256, 2)
