"""One picture of a segmentation: axial, sagittal and coronal slice with outlines."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.volume import outer_corners

WINDOW = (-250.0, 900.0)  # HU shown black and white: soft tissue stays visible beside bone
MARGIN = 60.0  # mm shown around the segmentation
PIXEL = 0.7  # mm
PREDICTION, REFERENCE = "#ff9f1c", "#2ec4ff"
# name, patient axes (LPS) shown to the right and upwards, whether up is backwards along its axis, letters at the edges
VIEWS = (
    ("Axial", 0, 1, True, "RLAP"),
    ("Sagittal", 1, 2, False, "APHF"),
    ("Coronal", 0, 2, False, "RLHF"),
)


def draw_overview(
    file: str | Path | BinaryIO,
    image: sitk.Image,
    prediction: sitk.Image,
    reference: sitk.Image | None = None,
    title: str = "",
) -> None:
    """Draw a PNG of the slices through the middle of a segmentation.

    `image`: CT in HU; `prediction` and `reference`: labelmaps on any grid. Without a segmented voxel the slices run
    through the middle of the CT. The picture shows nothing of the patient but the image itself.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    masks = [(prediction, PREDICTION, "prediction")]
    if reference is not None:
        masks.append((reference, REFERENCE, "reference"))
    centre, low, high = _field(image, [mask for mask, _, _ in masks])
    extent = high - low
    widths = [extent[right] for _, right, _, _, _ in VIEWS]
    height = max(extent[up] for _, _, up, _, _ in VIEWS)
    inches = 14 / sum(widths)
    figure = Figure(figsize=(14.4, min(14.0, max(3.0, height * inches)) + 0.9), facecolor="black", layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=widths)
    for ax, (name, right, up, flipped, letters) in zip(axes, VIEWS, strict=True):
        shown = (0.0, extent[right], extent[up], 0.0) if flipped else (0.0, extent[right], 0.0, extent[up])
        ct = _slice(image, centre, low, high, right, up, sitk.sitkLinear, -1024.0)
        ax.imshow(
            ct, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], extent=shown, origin="upper" if flipped else "lower",
            interpolation="bilinear",
        )  # fmt: skip
        for mask, colour, _ in masks:
            outline = _slice(mask > 0, centre, low, high, right, up, sitk.sitkLinear, 0.0)
            if outline.max() >= 0.5:
                x = (np.arange(outline.shape[1]) + 0.5) / outline.shape[1] * extent[right]
                y = (np.arange(outline.shape[0]) + 0.5) / outline.shape[0] * extent[up]
                ax.contour(x, y, outline, levels=[0.5], colors=colour, linewidths=1.2)
        _decorate(ax, name, letters, extent[right])
    figure.legend(
        handles=[Line2D([], [], color=colour, label=label) for _, colour, label in masks],
        loc="outside lower center", ncols=2, facecolor="black", labelcolor="white", frameon=False, fontsize=12,
    )  # fmt: skip
    if title:
        figure.suptitle(title, color="white", fontsize=13)
    figure.savefig(file, format="png", dpi=110, facecolor="black")


def _field(image: sitk.Image, masks: list[sitk.Image]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre of the segmentation and the box to show around it: LPS mm, (3,) each."""
    outer = outer_corners(image)
    low, high = outer.min(axis=0), outer.max(axis=0)
    centre = (low + high) / 2
    statistics = sitk.LabelShapeStatisticsImageFilter()
    boxes = []
    for mask in reversed(masks):  # the prediction last: its centre counts
        statistics.Execute(mask > 0)
        if statistics.HasLabel(1):
            centre = np.array(statistics.GetCentroid(1))
            start, length = np.split(np.array(statistics.GetBoundingBox(1), dtype=float), 2)
            boxes += [
                mask.TransformContinuousIndexToPhysicalPoint((start - 0.5 + length * far).tolist())
                for far in np.ndindex(2, 2, 2)
            ]
    if boxes:
        low = np.maximum(low, np.min(boxes, axis=0) - MARGIN)
        high = np.minimum(high, np.max(boxes, axis=0) + MARGIN)
    return centre, low, high


def _slice(image, centre, low, high, right: int, up: int, interpolator: int, outside: float) -> np.ndarray:
    """One slice through `centre` along the patient's axes: float32 (up, right), both ascending in LPS."""
    size, origin, spacing = [1, 1, 1], centre.copy(), [1.0, 1.0, 1.0]
    for axis in (right, up):
        size[axis] = max(1, round((high[axis] - low[axis]) / PIXEL))
        spacing[axis] = (high[axis] - low[axis]) / size[axis]
        origin[axis] = low[axis] + spacing[axis] / 2
    resampled = sitk.Resample(
        image, size, sitk.Transform(), interpolator, origin.tolist(), spacing,
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), outside, sitk.sitkFloat32,
    )  # fmt: skip
    # every view drops one axis and shows a lower one to the right, so z, y, x order is already (up, right)
    return np.squeeze(sitk.GetArrayFromImage(resampled), axis=2 - ({0, 1, 2} - {right, up}).pop())


def _decorate(ax, name: str, letters: str, width: float) -> None:
    """Name, sides of the patient and a bar of 50 mm (10 mm in small fields)."""
    ax.set_axis_off()
    ax.set_title(name, color="white", fontsize=12)
    places = ((0.01, 0.5, "left", "center"), (0.99, 0.5, "right", "center"), (0.5, 0.99, "center", "top"),
              (0.5, 0.01, "center", "bottom"))  # fmt: skip
    for letter, (x, y, horizontal, vertical) in zip(letters, places, strict=True):
        ax.text(x, y, letter, transform=ax.transAxes, color="white", ha=horizontal, va=vertical, fontsize=11)
    bar = 50 if width >= 120 else 10
    ax.plot([0.03, 0.03 + bar / width], [0.04, 0.04], transform=ax.transAxes, color="white", linewidth=3)
    ax.text(0.03, 0.055, f"{bar} mm", transform=ax.transAxes, color="white", fontsize=9)
