"""Heads and necks of ribs, which label maps leave out: there, ribs end beside the transverse processes.

In every CT the neck of a rib runs on in front of the transverse process, and its head lies against the vertebral body.
Whoever learns from patients without them takes them for parts of the vertebra.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from SpineSegLib.engine.synthetic.anatomy import Anatomy
from SpineSegLib.engine.synthetic.bodies import FoundBody, find_bodies
from SpineSegLib.engine.synthetic.tissues import BONES, SPINE, Tissue, signed_depth
from SpineSegLib.engine.synthetic.vertebra import NUMBERS

_OWN_BODY = (NUMBERS["T11"], NUMBERS["T12"])  # whose ribs meet the pedicle, not the disc above
_FARTHEST_MM = 62.0  # from a rib's end to its vertebra; what ends farther away was cut off elsewhere
_SMALLEST_MM3 = 300.0


def with_rib_heads(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """The same patient with `add_rib_heads`."""
    tissue = anatomy.tissue.copy()
    add_rib_heads(tissue, anatomy.vertebrae, anatomy.spacing, rng)
    other = np.isin(tissue, BONES) & ~np.isin(tissue, SPINE)
    return replace(anatomy, tissue=tissue, bone_depth=signed_depth(other, anatomy.spacing).astype(np.float16))


def add_rib_heads(tissue: np.ndarray, vertebrae: np.ndarray, spacing: float, rng: np.random.Generator) -> int:
    """Let ribs go on to the bodies of their vertebrae, in place; returns how many do.

    `tissue`: Tissue codes, `vertebrae`: VerSe numbers, both uint8 (z, y, x) with y towards the back, `spacing` in mm.
    A narrow gap is left for the joint. What is bone already stays as it is.
    """
    ribs, count = ndimage.label(tissue == Tissue.RIB, structure=np.ones((3, 3, 3)))
    if not count:
        return 0
    bodies = find_bodies(vertebrae, spacing, "T1", "T12")
    spine = (vertebrae > 0).astype(np.uint8)
    added = 0
    for rib, box in enumerate(ndimage.find_objects(ribs), start=1):
        points = np.argwhere(ribs[box] == rib) + [s.start for s in box]
        if len(points) * spacing**3 < _SMALLEST_MM3:
            continue
        found = _end_and_body(points, bodies, spacing)
        if found is None:
            continue
        end, body = found
        head = _joint(body, int(np.sign(end[2] - body.middle)), rng)
        _draw(tissue, spine, end, head, spacing, rng)
        added += 1
    return added


def _joint(body: FoundBody, side: int, rng: np.random.Generator) -> np.ndarray:
    """Place (z, y, x) on the wall of the body, far back, where the head of the rib on `side` (1 left) lies."""
    level = rng.uniform(0.5, 0.8) if body.number in _OWN_BODY else rng.uniform(0.8, 1.05)
    z = body.low + level * (body.high - body.low)
    return body.wall(z, body.front + rng.uniform(0.72, 0.92) * body.depth, side)


def _end_and_body(
    points: np.ndarray, bodies: dict[int, FoundBody], spacing: float
) -> tuple[np.ndarray, FoundBody] | None:
    """The end of a rib (z, y, x) that is next to a vertebra, and that vertebra; None where it ends elsewhere."""
    best = None
    for body in bodies.values():
        near = points[np.abs(points[:, 0] - (body.low + body.high) / 2) < 30 / spacing]
        if not len(near):
            continue
        middle = np.array([0.35 * body.low + 0.65 * body.high, body.front + body.depth, body.middle])
        distance = np.linalg.norm((near - middle) * [1.6, 1, 1], axis=1) * spacing
        nearest = int(distance.argmin())
        if best is None or distance[nearest] < best[0]:
            best = (distance[nearest], near[nearest].astype(float), body)
    if best is None or best[0] > _FARTHEST_MM:
        return None
    return best[1], best[2]


def _draw(
    tissue: np.ndarray, spine: np.ndarray, end: np.ndarray, head: np.ndarray, spacing: float, rng: np.random.Generator
) -> None:
    """A neck from `end` to a rounded `head` (z, y, x in voxels), clear of the spine by the width of a joint."""
    neck, knob, gap = rng.uniform(3.0, 4.6), rng.uniform(4.2, 6.2), rng.uniform(0.4, 1.8)
    reach = int(np.ceil((knob + gap + 2) / spacing))
    low = np.maximum(np.floor(np.minimum(end, head)).astype(int) - reach, 0)
    high = np.minimum(np.ceil(np.maximum(end, head)).astype(int) + reach + 1, tissue.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    if (high - low).min() < 2:
        return
    # The head's middle lies its radius and the joint beyond the wall.
    outwards = (end - head) * [0.3, 0.6, 1.0]
    head = head + outwards / max(np.linalg.norm(outwards), 1e-6) * 0.7 * knob / spacing
    at = np.stack(np.mgrid[box], axis=-1).astype(np.float32)
    axis = head - end
    along = np.clip((at - end) @ axis / max(axis @ axis, 1e-6), 0, 1)
    # Necks are higher than they are deep.
    away = np.linalg.norm((at - end - along[..., None] * axis) * [0.85, 1.1, 1.0], axis=-1) * spacing
    rib = away < neck + (knob - neck) * np.clip((along - 0.55) / 0.3, 0, 1)
    image = sitk.GetImageFromArray(spine[box])
    if spine[box].any():
        image.SetSpacing([spacing] * 3)
        distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
        rib &= sitk.GetArrayViewFromImage(distance) > gap
    view = tissue[box]
    view[rib & ~np.isin(view, (*BONES, Tissue.CANAL, Tissue.CORD))] = Tissue.RIB
