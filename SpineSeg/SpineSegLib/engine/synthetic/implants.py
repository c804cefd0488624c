"""Pedicle screws with rods, and bone cement."""

from __future__ import annotations

import numpy as np

from SpineSegLib.engine.synthetic.canvas import Canvas
from SpineSegLib.engine.synthetic.implicit import Ellipsoid, Limb, tube
from SpineSegLib.engine.synthetic.spine import Level
from SpineSegLib.engine.synthetic.tissues import Tissue


def draw_screws(canvas: Canvas, levels: list[Level], rng: np.random.Generator) -> None:
    """Screws through both pedicles of each of `levels` (neighbours, upwards), their heads joined by rods."""
    radius = float(rng.uniform(2.3, 3.2))
    for side in (1, -1):
        heads = []
        for level in levels:
            s = level.size
            high = s.height / 2 - s.pedicle_height / 2 - 1.0
            across = s.canal_width / 2 + s.pedicle_width / 2
            entry = np.array([side * (across + 2.5), s.depth / 2 + 0.9 * s.canal_depth + 4.0, high + rng.normal(0, 1)])
            waist = np.array([side * across, s.depth / 2 + 1.0, high])
            tip = waist + (waist - entry) * rng.uniform(1.0, 1.35) + np.array([-side * 3.0, 0, 0])
            place = level.frame.to_patient
            r = min(radius, 0.4 * s.pedicle_width)
            canvas.implant(tube(np.array([place(entry), place(waist), place(tip)]), r), Tissue.METAL)
            head = place(entry + np.array([side * 1.0, 7.0, 0]))
            canvas.implant([Limb(place(entry), head, (5.5, 5.5))], Tissue.METAL)
            heads.append(head + np.array([0, 3.0, 0]))
        if len(heads) > 1:
            canvas.implant(tube(np.array(heads), 2.8), Tissue.METAL)


def draw_cement(canvas: Canvas, level: Level, rng: np.random.Generator) -> None:
    """A lumpy plug of cement in a vertebral body."""
    s = level.size
    for _ in range(6):
        centre = level.frame.to_patient(rng.normal([0, -3, 0], [5, 3, 2.5]))
        canvas.implant([Ellipsoid(centre, rng.uniform(0.14, 0.3, 3) * s.height)], Tissue.CEMENT, inside_spine=True)
