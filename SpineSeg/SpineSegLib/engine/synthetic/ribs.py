"""Ribs drawn anew beside a patient's vertebrae: those of a few patients are too few to learn what ribs look like.

Sizes and course follow Gray's Anatomy: head against the body, neck in front of the transverse process, tubercle against
its tip, and a shaft that goes back, out and down and then bends forwards. The last two ribs meet the body of their own
vertebra alone, have no tubercle and are of any length.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline

from SpineSegLib.engine.synthetic.anatomy import Anatomy
from SpineSegLib.engine.synthetic.bodies import FoundBody, find_bodies
from SpineSegLib.engine.synthetic.canvas import OUTSIDE, Canvas, union
from SpineSegLib.engine.synthetic.implicit import FAR, Ellipsoid, Limb
from SpineSegLib.engine.synthetic.tissues import Tissue
from SpineSegLib.engine.synthetic.vertebra import NUMBERS

_FLOATING = (NUMBERS["T11"], NUMBERS["T12"], NUMBERS["L1"])
_LUMBAR_RIB = 0.08  # share of patients with ribs at L1
_MISSING = 0.05  # share of ribs at T12 that are missing


def with_new_ribs(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """The same patient with other ribs: all that were there are gone, and each thoracic vertebra gets a new pair."""
    canvas = Canvas.on(anatomy)
    _remove(canvas)
    last = "L1" if rng.random() < _LUMBAR_RIB else "T12"
    slope, back = rng.uniform(0.25, 0.75), rng.uniform(0.6, 1.4)
    joint = rng.uniform(0.2, 1.8)
    for number, body in find_bodies(anatomy.vertebrae, anatomy.spacing, "T1", last).items():
        for side in (1, -1):
            if number >= NUMBERS["T12"] and rng.random() < _MISSING:
                continue
            own_slope, own_back = slope * rng.uniform(0.8, 1.25), back * rng.uniform(0.8, 1.25)
            floating = number in _FLOATING
            path = (_floating if floating else _whole)(body, side, own_slope, own_back, rng)
            _draw(canvas, path * anatomy.spacing, 0.8 if floating else 1.0, joint * rng.uniform(0.7, 1.3), rng)
    return canvas.anatomy(anatomy.name)


def _remove(canvas: Canvas) -> None:
    """Turn all ribs into muscle."""
    ribs = (canvas.tissue == Tissue.RIB).astype(np.uint8)
    if not ribs.any():
        return
    box = ndimage.find_objects(ribs)[0]
    box = tuple(slice(max(0, s.start - 4), s.stop + 4) for s in box)
    near = ndimage.maximum_filter(ribs[box], 9) > 0
    tissue, depth = canvas.tissue[box], canvas.bone_depth[box]
    tissue[ribs[box] > 0] = Tissue.MUSCLE
    depth[near & (depth < 0)] = OUTSIDE
    depth[ribs[box] > 0] = OUTSIDE


def _whole(body: FoundBody, side: int, slope: float, back: float, rng: np.random.Generator) -> np.ndarray:
    """Course (n, 3) in voxels (z, y, x) of a rib that is tied to its transverse process."""
    mm = 1 / body.spacing
    level = rng.uniform(0.8, 1.05)
    z = body.low + level * (body.high - body.low)
    head = body.wall(z, body.front + rng.uniform(0.72, 0.95) * body.depth, side)
    tip = body.transverse_tip(side)
    neck = tip + np.array([rng.uniform(0, 4), -rng.uniform(9, 12), -side * 3.0]) * mm
    tubercle = tip + np.array([rng.uniform(-1, 3), -rng.uniform(5, 8), side * 3.5]) * mm
    shaft = [(18, 8), (38, 9), (62, 0), (80, -22), (90, -55)]
    points = [tubercle + np.array([-slope * out, back * behind, side * out]) * mm for out, behind in shaft]
    return np.array([head, neck, tubercle, *points])


def _floating(body: FoundBody, side: int, slope: float, back: float, rng: np.random.Generator) -> np.ndarray:
    """Course (n, 3) in voxels (z, y, x) of one of the last ribs."""
    mm = 1 / body.spacing
    z = body.low + rng.uniform(0.4, 0.85) * (body.high - body.low)
    head = body.wall(z, body.front + rng.uniform(0.7, 1.0) * body.depth, side)
    shaft = [(10, 10), (26, 20), (50, 26), (74, 16), (92, -8)]
    points = [head + np.array([-1.3 * slope * out, back * behind, side * out]) * mm for out, behind in shaft]
    length = int(rng.integers(2, 5)) if body.number > NUMBERS["T11"] else len(points)
    return np.array([head, *points[:length]])


def _draw(canvas: Canvas, path: np.ndarray, size: float, joint: float, rng: np.random.Generator) -> None:
    """A rib along `path` (n, 3; z, y, x in mm), clear of the spine by `joint` mm."""
    tall, thick = size * rng.uniform(4.4, 6.4), size * rng.uniform(2.6, 4.0)
    knob = size * rng.uniform(4.2, 6.4)
    path = path[:, ::-1]  # x, y, z from here on
    steps = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    fine = CubicSpline(steps, path)(np.linspace(0, steps[-1], max(5, int(steps[-1] / 8))))
    shapes = [Limb(a, b, (thick, tall), across=np.cross(b - a, (0.0, 0.0, 1.0))) for a, b in pairwise(fine)]
    shapes.append(Ellipsoid(fine[0], (knob, knob, 1.1 * knob)))
    patch = union(canvas.grid, shapes, blend=1.5)
    if patch.empty:
        return
    patch.distance = np.maximum(patch.distance, joint + canvas.spine_depth[patch.where].astype(np.float32))
    outside = np.isin(canvas.tissue[patch.where], (Tissue.AIR, Tissue.SKIN, Tissue.CANAL, Tissue.CORD))
    patch.distance[outside] = FAR
    canvas.bone(patch, Tissue.RIB)
    canvas.fill(patch.where, patch.distance < 3, Tissue.MUSCLE, (Tissue.LUNG,))
