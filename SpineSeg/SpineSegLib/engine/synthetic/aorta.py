"""An aorta against the spine, with the iliac arteries it splits into.

Calcified and filled with contrast medium, they are as dense as bone and touch it.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from SpineSegLib.engine.synthetic.anatomy import Anatomy
from SpineSegLib.engine.synthetic.bodies import find_bodies
from SpineSegLib.engine.synthetic.canvas import Canvas, union
from SpineSegLib.engine.synthetic.implicit import tube
from SpineSegLib.engine.synthetic.tissues import BONES, Tissue
from SpineSegLib.engine.synthetic.vertebra import NUMBERS

_SPLITS = NUMBERS["L4"]  # at whose lower end the aorta splits
_YIELDING = [t for t in Tissue if t not in (*BONES, Tissue.AIR, Tissue.DISC, Tissue.CANAL, Tissue.CORD)]


def with_close_aorta(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """The same patient with the aorta, from T5 down, touching the spine or a few mm in front of it."""
    bodies = find_bodies(anatomy.vertebrae, anatomy.spacing, "T5", "L5")
    if len(bodies) < 2:
        return anatomy
    canvas = Canvas.on(anatomy)
    mm = anatomy.spacing
    radius = float(rng.uniform(7, 15))
    left, wave, gap = rng.uniform(-4, 20), rng.uniform(0, 7), rng.uniform(-0.5, 4)
    points = []
    for number, body in bodies.items():
        for z in (body.low, 0.5 * (body.low + body.high)):
            x = mm * body.middle + left + wave * np.sin(number + z / 40)
            # Beside the midline the wall of a body curves back.
            behind = 0.012 * (x - mm * body.middle) ** 2
            y = mm * body.front - radius - gap - rng.uniform(0, 3) + behind
            points.append((x, y, mm * z))
    points = np.array(sorted(points, key=lambda p: p[2]))
    _remove(canvas, points)
    heights = np.arange(points[0, 2], points[-1, 2], 6.0)
    course = np.stack([np.interp(heights, points[:, 2], points[:, axis]) for axis in range(2)] + [heights], axis=-1)
    course[:, :2] = ndimage.gaussian_filter1d(course[:, :2], 1.5, axis=0, mode="nearest")
    split = mm * bodies[_SPLITS].low if _SPLITS in bodies else -np.inf
    trunk, below = course[heights >= split], course[heights < split + 6]
    shapes = tube(trunk, radius * rng.uniform(0.85, 1.2, len(trunk)))
    apart = rng.uniform(0.3, 0.7) * np.maximum(split - below[:, 2], 0)
    for side in (1, -1):
        moved = np.stack([side * apart, np.full(len(below), 0.4 * radius), np.zeros(len(below))], axis=-1)
        shapes += tube(below + moved, 0.55 * radius)
    if shapes:
        canvas.soft(union(canvas.grid, shapes, blend=2.0), Tissue.ARTERY, within=_YIELDING)
    return canvas.anatomy(anatomy.name)


def _remove(canvas: Canvas, points: np.ndarray) -> None:
    """Turn the arteries along `points` (n, 3; x, y, z in mm) into fat."""
    low = points.min(axis=0) - np.array([45, 45, 0])
    high = points.max(axis=0) + np.array([45, 30, 0])
    where = canvas.grid.region(low, high)
    if where is not None:
        view = canvas.tissue[where]
        view[view == Tissue.ARTERY] = Tissue.FAT
