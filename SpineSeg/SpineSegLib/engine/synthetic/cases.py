"""Made-up patients for training: a random field of view of a deformed anatomy, painted, operated on and scanned."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.synthetic.anatomy import Anatomy, Deformation, roughen, spine_kinds, warp
from SpineSegLib.engine.synthetic.aorta import with_close_aorta
from SpineSegLib.engine.synthetic.labelmaps import level_centres
from SpineSegLib.engine.synthetic.ribs import with_new_ribs
from SpineSegLib.engine.synthetic.scanner import ScanSettings, acquire, truth_on_grid
from SpineSegLib.engine.synthetic.tissues import Tissue, TissueStyle, paint
from SpineSegLib.engine.synthetic.vertebra import NUMBERS

View = Literal["wide", "long", "short"]
_HEIGHTS: dict[View, tuple[float, float]] = {"wide": (110, 200), "long": (70, 210), "short": (24, 80)}  # mm
_JUNCTION = [NUMBERS[name] for name in ("T10", "T11", "T12", "L1")]


@dataclass(frozen=True)
class SyntheticCase:
    """A CT (int16, HU) and its mask (uint8: 1 vertebrae, 2 sacrum) on the same grid."""

    image: sitk.Image
    mask: sitk.Image


def render_case(anatomy: Anatomy, rng: np.random.Generator, view: View | None = None) -> SyntheticCase:
    """Render one scan of `anatomy`, which may get ribs and an aorta of its own.

    `view`, drawn where None: "wide" shows the whole body, "long" a good part of the spine, "short" a few cm of it,
    mostly where the ribs end.
    """
    if view is None:
        view = ("wide", "long", "short")[int(np.searchsorted((0.3, 0.7), rng.random()))]
    wide = view == "wide"
    if not wide and rng.random() < 0.65:
        anatomy = with_new_ribs(anatomy, rng)
    if rng.random() < 0.4:
        anatomy = with_close_aorta(anatomy, rng)
    spine = anatomy.vertebrae > 0
    # A wide scan may go on beyond the spine's ends, where there are thighs or a neck.
    levels = np.flatnonzero((anatomy.tissue != Tissue.AIR if wide else spine).any(axis=(1, 2)))
    height = min(int(rng.uniform(*_HEIGHTS[view])), len(levels))
    if view == "short" and rng.random() < 0.6:
        junction = np.flatnonzero(np.isin(anatomy.vertebrae, _JUNCTION).any(axis=(1, 2)))
        levels = junction if len(junction) > height else levels
    lowest = int(levels[0]) + height // 2
    middle = int(rng.integers(lowest, max(lowest, int(levels[-1]) - height // 2) + 1))
    heights = np.flatnonzero(spine.any(axis=(1, 2)))
    nearest = int(heights[np.argmin(np.abs(heights - middle))])
    near = np.argwhere(spine[max(0, nearest - 20) : nearest + 20])
    centre = np.array([middle, near[:, 1].mean(), near[:, 2].mean()]) * anatomy.spacing
    if wide:
        across = (int(rng.uniform(230, 330)), int(rng.uniform(300, 420)))
        centre[1] -= rng.uniform(30, 70)
    else:
        across = (int(rng.uniform(130, 210)), int(rng.uniform(130, 220)))
        centre[1:] += rng.uniform(-25, 25, 2)
    body = warp(anatomy, (height, *across), centre, Deformation.random(rng), rng)
    spurs = 0.0 if rng.random() < 0.55 else rng.uniform(0.8, 3.0)
    body = roughen(body, rng.uniform(0.0, 0.5), spurs, rng.uniform(-0.8, 0.8), rng)
    tissue = body.tissue.copy()
    if wide:
        _add_table(tissue, rng)
    if rng.random() < 0.08:
        _add_screws(tissue, body, rng)
    if rng.random() < 0.04:
        _add_cement(tissue, body, rng)
    style, scan = TissueStyle.random(rng), ScanSettings.random(rng)
    painted = paint(tissue, anatomy.spacing, style, rng, body.spine_depth, body.bone_depth)
    patient = sitk.GetImageFromArray(painted.hu)
    patient.SetSpacing([anatomy.spacing] * 3)
    ct = acquire(patient, scan, rng)
    return SyntheticCase(ct, truth_on_grid(painted, spine_kinds(body), patient, ct, scan, style.edge_hu))


def _add_table(tissue: np.ndarray, rng: np.random.Generator) -> None:
    """A curved table top with a mattress behind the patient."""
    air = tissue == Tissue.AIR
    y, x = np.mgrid[: tissue.shape[1], : tissue.shape[2]]
    body = np.argwhere((~air).any(axis=0))
    if not len(body):
        return
    back = body[:, 0].max() + int(rng.integers(-6, 12))
    surface = back - rng.uniform(0.0, 0.0012) * (x - tissue.shape[2] / 2) ** 2
    tissue[:, (y > surface) & (y < surface + 6)] = np.where(
        air[:, (y > surface) & (y < surface + 6)], Tissue.FOAM, tissue[:, (y > surface) & (y < surface + 6)]
    )
    shell = (y > surface + 6) & (y < surface + 9)
    tissue[:, shell] = np.where(air[:, shell], Tissue.TABLE, tissue[:, shell])


def _capsule(tissue: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float, code: Tissue) -> None:
    """Draw a rod with round ends between two points (voxels z, y, x)."""
    low = np.maximum(np.floor(np.minimum(start, end) - radius - 1), 0).astype(int)
    high = np.minimum(np.ceil(np.maximum(start, end) + radius + 2), tissue.shape).astype(int)
    if (high <= low).any():
        return
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    points = np.stack(np.mgrid[box], axis=-1) - start
    axis = end - start
    along = np.clip(points @ axis / max(axis @ axis, 1e-6), 0, 1)
    tissue[box][np.linalg.norm(points - along[..., None] * axis, axis=-1) < radius] = code


def _add_screws(tissue: np.ndarray, body: Anatomy, rng: np.random.Generator) -> None:
    """Pedicle screws in two to four neighbouring vertebrae, joined by rods."""
    centres = sorted((np.array(c) for c in level_centres(body.vertebrae).values()), key=lambda c: c[0])
    count = min(len(centres), int(rng.integers(2, 5)))
    if count < 2:
        return
    first = int(rng.integers(0, len(centres) - count + 1))
    mm = body.spacing
    for side in (-1, 1):
        heads = []
        for centre in centres[first : first + count]:
            head = centre + np.array([2.0, rng.uniform(20, 28), side * rng.uniform(16, 22)]) / mm
            tip = centre + np.array([0.0, -rng.uniform(10, 22), side * rng.uniform(3, 9)]) / mm
            _capsule(tissue, head, tip, rng.uniform(2.0, 3.2) / mm, Tissue.METAL)
            heads.append(head + np.array([0, 4.0, 0]) / mm)
        for low, high in pairwise(heads):
            _capsule(tissue, low, high, 2.8 / mm, Tissue.METAL)


def _add_cement(tissue: np.ndarray, body: Anatomy, rng: np.random.Generator) -> None:
    """A blob of bone cement in one vertebral body."""
    centres = [np.array(c) for c in level_centres(body.vertebrae).values()]
    if centres:
        centre = centres[int(rng.integers(len(centres)))] - np.array([0, rng.uniform(6, 12), 0]) / body.spacing
        end = centre + rng.normal(0, 5, 3) / body.spacing
        _capsule(tissue, centre, end, rng.uniform(4, 8) / body.spacing, Tissue.CEMENT)
