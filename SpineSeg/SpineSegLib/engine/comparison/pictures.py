"""Pictures of single slices with the outlines of prediction and reference."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.comparison.pair import PairComparison, SliceComparison
from SpineSegLib.engine.overview import PREDICTION, REFERENCE, WINDOW

FIELD_MM = 120.0  # side of what is shown
SHOWN_SLICES = 4
APART_MM = 8.0  # neighbours look alike
PIXEL_MM = 0.4
MISSED_COLOUR, EXTRA_COLOUR = (0.18, 0.77, 1.0), (1.0, 0.62, 0.11)


def draw_worst_slices(
    image: sitk.Image | None, prediction: sitk.Image, reference: sitk.Image, pair: PairComparison
) -> bytes | None:
    """A JPEG of the worst slices of a comparison that aren't close together; None where nothing differs.

    `image`: CT in HU, None where there are only the masks; these mark where they are above 0, on any grid.
    """
    chosen: list[SliceComparison] = []
    for each in pair.worst_slices():
        if all(abs(each.position_mm - other.position_mm) >= APART_MM for other in chosen):
            chosen.append(each)
    return _draw(image, prediction, reference, chosen[:SHOWN_SLICES]) if chosen else None


def _draw(
    image: sitk.Image | None, prediction: sitk.Image, reference: sitk.Image, slices: Sequence[SliceComparison]
) -> bytes:
    """A JPEG of slices of the prediction's grid side by side, the differing pixels tinted."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(3.3 * len(slices), 4.1), facecolor="black", layout="constrained")
    figure.get_layout_engine().set(h_pad=0.12)
    axes = figure.subplots(1, len(slices), squeeze=False)[0]
    for ax, shown in zip(axes, slices, strict=True):
        plane = _plane(prediction, shown)
        ct = np.zeros(plane.GetSize()[1::-1]) if image is None else _cut(image, plane, sitk.sitkLinear, -1024.0)
        masks = [_cut(mask > 0, plane, sitk.sitkNearestNeighbor, 0.0) > 0 for mask in (prediction, reference)]
        ax.imshow(ct, cmap="gray", vmin=WINDOW[0] if image is not None else 0, vmax=WINDOW[1], interpolation="bilinear")
        ax.imshow(_tint(*masks))
        for mask, colour in zip(masks, (PREDICTION, REFERENCE), strict=True):
            if mask.any() and not mask.all():
                ax.contour(mask.astype(float), levels=[0.5], colors=colour, linewidths=1.1)
        ax.set_axis_off()
        ax.set_title(
            f"slice {shown.index},  z {shown.position_mm:.0f} mm\nDice {shown.dice:.2f},  {shown.wrong} pixels differ",
            color="white", fontsize=10,
        )  # fmt: skip
        for letter, x in (("R", 0.02), ("L", 0.98)):
            ax.text(x, 0.5, letter, transform=ax.transAxes, color="white", fontsize=9, va="center",
                    ha="left" if x < 0.5 else "right")  # fmt: skip
    figure.legend(
        handles=[Line2D([], [], color=PREDICTION, label="prediction (tinted: extra)"),
                 Line2D([], [], color=REFERENCE, label="reference (tinted: missed)")],
        loc="outside lower center", ncols=2, frameon=False, labelcolor="white", fontsize=9.5,
    )  # fmt: skip
    file = io.BytesIO()
    figure.savefig(file, format="jpg", dpi=85, facecolor="black", pil_kwargs={"quality": 88})
    return file.getvalue()


def _plane(grid: sitk.Image, shown: SliceComparison) -> sitk.Image:
    """An empty image of one slice of the grid around what differs there; right is the patient's left, down the back."""
    direction = np.array(grid.GetDirection()).reshape(3, 3)
    axial = int(np.abs(direction[2]).argmax())
    others = [axis for axis in range(3) if axis != axial]
    right = max(others, key=lambda axis: abs(direction[0, axis]))
    down = next(axis for axis in others if axis != right)
    columns = [
        direction[:, right] * np.sign(direction[0, right] or 1),
        direction[:, down] * np.sign(direction[1, down] or 1),
    ]
    count = round(FIELD_MM / PIXEL_MM)
    start = np.array(shown.focus) - (columns[0] + columns[1]) * PIXEL_MM * (count - 1) / 2
    plane = sitk.Image([count, count, 1], sitk.sitkUInt8)
    plane.SetSpacing([PIXEL_MM, PIXEL_MM, 1.0])
    plane.SetOrigin(start.tolist())
    plane.SetDirection(np.stack([*columns, np.cross(*columns)], axis=1).ravel().tolist())
    return plane


def _cut(image: sitk.Image, plane: sitk.Image, interpolator: int, outside: float) -> np.ndarray:
    resampled = sitk.Resample(image, plane, sitk.Transform(), interpolator, outside, sitk.sitkFloat32)
    return sitk.GetArrayFromImage(resampled)[0]


def _tint(prediction: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """RGBA (y, x) that colours what is missed and what is too much."""
    tint = np.zeros((*prediction.shape, 4))
    for where, colour in ((reference & ~prediction, MISSED_COLOUR), (prediction & ~reference, EXTRA_COLOUR)):
        tint[where] = (*colour, 0.4)
    return tint
