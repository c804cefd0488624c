"""One vertebra as a signed distance in its own frame: body, pedicles, laminae and processes.

Frame of a vertebra: origin in the middle of the body, u left, v posterior, w up (mm).

Typical dimensions by level are rounded from, or interpolated between, the cadaver series of Panjabi et al.: cervical
(Spine 1991;16:861-869), thoracic (Spine 1991;16:888-901), lumbar (Spine 1992;17:299-306), with process sizes as in
Kunkel et al. (J Anat 2010;216:320-328). Orientation of the facets: Masharawi et al. (Spine 2004;29:1755-1763), White
and Panjabi (Clinical Biomechanics of the Spine, 2nd ed. 1990).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from SpineSegLib.engine.synthetic.implicit import Ellipsoid, Limb, Patch

SACRUM = 26
NUMBERS = (
    {f"C{i}": i for i in range(1, 8)} | {f"T{i}": 7 + i for i in range(1, 13)} | {f"L{i}": 19 + i for i in range(1, 7)}
)

# Columns: end-plate width and depth (mean of upper and lower), posterior height of the body, wedge (degrees, positive:
# taller in front), disc below; canal width and depth; pedicle width and height; span of the transverse processes;
# spinous process length behind the canal, fall (mm its tip lies lower than its root), height; facets: distance
# of the joint from the midline, angle to the sagittal plane, tilt of the normal upwards (degrees) of the joint above.
_TABLE = """
C3 15.8 15.6 11.6 -1  4.5  22.9 14.9  5.6  7.4  50  15  5  9  18 85 45
C4 16.8 15.7 11.4 -1  4.5  24.2 14.6  5.4  7.4  50  15  5  9  18 85 45
C5 17.3 15.9 11.4 -1  4.5  24.7 14.7  5.6  7.0  52  16  6 10  19 85 44
C6 18.8 16.5 11.2 -1  4.8  25.2 14.6  6.0  7.3  54  21  8 11  19 85 42
C7 21.5 16.8 12.8 -1  5.0  24.5 15.2  6.6  7.5  63  30 13 12  19 85 38
T1 25.5 17.5 14.1 -3 4.0 21.8 16.4 8.5 9.6 74 32 16 13 17 84 34
T2 26.0 19.0 15.6 -3 3.8 19.5 15.6 8.2 11.4 69 29 18 13 14 83 28
T3 26.0 21.5 15.7 -4 3.8 18.4 15.7 6.8 11.9 62 27 22 13 13 82 24
T4 26.5 23.0 16.2 -4 3.8 17.4 16.1 6.2 12.1 60 26 26 13 12 82 22
T5 27.0 24.4 16.2 -4 3.9 17.0 16.2 6.0 11.9 60 26 30 13 12 82 20
T6 27.8 25.8 17.4 -4 4.0 17.3 16.3 6.0 12.2 60 27 33 13 12 82 20
T7 29.0 27.2 18.2 -5 4.2 17.5 16.2 6.0 12.1 59 28 33 13 12 82 20
T8 30.0 28.0 18.7 -4 4.5 17.7 15.9 6.5 12.5 59 28 31 14 12 82 19
T9 31.2 29.0 19.3 -3 4.8 17.9 15.7 7.2 13.9 58 28 27 15 12 81 18
T10 33.2 30.5 20.2 -3 5.2 18.2 15.7 8.0 14.7 55 27 20 17 12 80 16
T11 36.6 31.8 21.3 -3 5.8 19.4 16.1 9.0 16.0 51 25 14 19 12 76 13
T12 40.2 32.8 22.7 -3 6.6 22.0 18.0 9.0 16.7 47 26 10 21 13 68 10
L1 42.2 34.3 23.8 -1  7.8 23.5 18.6  8.6 15.9  71  30  8 22  13.5 25 0
L2 43.9 34.7 24.3  0  9.0 23.8 18.0  8.4 15.2  77  31  8 23  14 28 0
L3 46.0 35.0 23.8  2 10.2 24.3 17.6 10.0 14.8  86  32  8 23  15.5 34 0
L4 47.8 34.7 24.1  4 11.0 25.2 18.4 13.6 15.4  82  29  7 21  17.5 41 0
L5 48.3 34.0 22.9  9 10.5 26.8 19.4 17.5 18.0  90  23  7 17  20.5 48 0
S1 49.5 33.0 27.0  6  3.0 29.5 19.0 22.0 20.0 100  15 10 20  24 55 0
"""
_COLUMNS = [
    "width",
    "depth",
    "height",
    "wedge",
    "disc",
    "canal_width",
    "canal_depth",
    "pedicle_width",
    "pedicle_height",
    "span",
    "spinous_length",
    "spinous_fall",
    "spinous_height",
    "facet_offset",
    "facet_angle",
    "facet_tilt",
]


@dataclass(frozen=True)
class Dimensions:
    """Sizes of one vertebra in mm and degrees; see the table for their meaning.

    `crush`: share of the anterior height lost by a fracture; `concavity`: depth of the endplates' hollow; `waist`:
    share by which the middle of the body is narrower; `spurs`: radial size of osteophytes.
    """

    width: float
    depth: float
    height: float
    wedge: float
    disc: float
    canal_width: float
    canal_depth: float
    pedicle_width: float
    pedicle_height: float
    span: float
    spinous_length: float
    spinous_fall: float
    spinous_height: float
    facet_offset: float
    facet_angle: float
    facet_tilt: float
    crush: float = 0.0
    concavity: float = 1.6
    waist: float = 0.11
    spurs: float = 0.0

    def scaled(self, size: float) -> Dimensions:
        """The same vertebra in a patient `size` times as large (the canal grows less)."""
        angles = ("wedge", "facet_angle", "facet_tilt", "crush", "waist")
        canal = ("canal_width", "canal_depth")
        changed = {}
        for name in self.__dataclass_fields__:
            if name not in angles:
                changed[name] = getattr(self, name) * (size**0.5 if name in canal else size)
        return replace(self, **changed)


def _read_table() -> dict[str, Dimensions]:
    rows = (line.split() for line in _TABLE.strip().splitlines())
    return {row[0]: Dimensions(**dict(zip(_COLUMNS, map(float, row[1:]), strict=True))) for row in rows}


TYPICAL = _read_table()
TYPICAL["L6"] = TYPICAL["L5"]


@dataclass(frozen=True)
class Body:
    """Vertebral body: oval section with a hollow posterior wall, a waist, hollow endplates and rounded rims."""

    size: Dimensions

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        s = self.size
        half = np.array([s.width / 2 + s.spurs, s.depth / 2 + s.spurs, s.height / 2 + 4])
        return -half, half

    def distance(self, u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        s = self.size
        top, bottom = self._plates(v)
        level = (2 * w - (top + bottom)) / (top - bottom)  # -1 at the lower, 1 at the upper endplate
        rim = np.clip(level * level, 0, 1.2)
        spur = np.float32(s.spurs) * np.clip((rim - 0.55) / 0.45, 0, 1) ** 2
        narrow = 1 - np.float32(s.waist) * (1 - rim)
        a = s.width / 2 * narrow + spur
        # Behind: a flat wall with the hollow that lodges the canal, deepest where the basivertebral veins leave.
        back = s.depth / 2 * (1 - np.float32(0.35 * s.waist) * (1 - rim))
        hollow = 0.07 * s.depth * np.exp(-((u / np.float32(0.3 * s.width)) ** 2))
        notch = (
            0.10 * s.depth * np.exp(-((u / np.float32(0.10 * s.width)) ** 2) - (w / np.float32(0.16 * s.height)) ** 2)
        )
        b = np.where(v > 0, back - hollow - notch, s.depth / 2 * narrow + spur)
        x, y = np.abs(u) / a, np.abs(v) / b
        # Rounder in front than behind.
        q = np.where(v > 0, (x**3.2 + y**3.2 + 1e-9) ** (1 / 3.2), (x**2.3 + y**2.3 + 1e-9) ** (1 / 2.3))
        r = np.sqrt(u * u + v * v)
        side = (q - 1) * r / np.maximum(q, 0.05)
        dish = np.float32(s.concavity) * np.clip(1 - q * q * q, 0, 1)
        ends = np.maximum(w - top + dish, bottom + dish - w)
        return _smooth_max(side, ends, 2.2)

    def _plates(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Heights of the upper and lower endplate's rim at depth v."""
        s = self.size
        slope = np.float32(np.tan(np.radians(s.wedge)) / 2)
        front = np.clip(0.5 - v / np.float32(s.depth), 0, 1)
        # Wedge fractures break the upper endplate in front.
        lost = np.float32(s.crush * s.height) * front
        return s.height / 2 - slope * v - lost, -s.height / 2 + slope * v + np.float32(0.15) * lost


def _smooth_max(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    h = np.maximum(np.float32(blend) - np.abs(a - b), 0)
    return np.maximum(a, b) + h * h * np.float32(0.25 / blend)


@dataclass(frozen=True)
class Joint:
    """A facet joint: `point` and `normal` (u, v, w of some frame); the normal points from the lower
    vertebra's superior process to the upper one's inferior process. `half_gap` in mm, `reach`: radius of
    the joint surface in mm."""

    point: np.ndarray
    normal: np.ndarray
    half_gap: float
    reach: float


@dataclass(frozen=True)
class JointSpace:
    """The side of a joint's plane that a vertebra must leave: `side` 1 cuts its superior, -1 its inferior process."""

    joint: Joint
    side: int

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        reach = self.joint.reach
        return self.joint.point - reach, self.joint.point + reach

    def distance(self, u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        j = self.joint
        du, dv, dw = (p - np.float32(c) for p, c in zip((u, v, w), j.point, strict=True))
        n = j.normal.astype(np.float32)
        along = du * n[0] + dv * n[1] + dw * n[2]
        near = np.sqrt(du * du + dv * dv + dw * dw) - np.float32(j.reach)
        # The superior process is a shallow cup around the inferior one.
        cup = np.float32(0.015) * (du * n[1] - dv * n[0]) ** 2
        return np.maximum(near, -self.side * (along - cup) - np.float32(j.half_gap))


def canal_centre(size: Dimensions) -> np.ndarray:
    """Centre of the vertebral foramen in the vertebra's frame."""
    return np.array([0.0, size.depth / 2 - 0.05 * size.depth + size.canal_depth / 2, 0.0])


def build(patch: Patch, name: str, size: Dimensions, above: list[Joint], below: list[Joint]) -> None:
    """Add a whole vertebra to `patch`; `above` and `below` are the left and right facet joints in its frame."""
    region = name[0]
    back = size.depth / 2
    pedicle_w = size.height / 2 - size.pedicle_height / 2 - (0.5 if region == "T" else 1.5)
    if region == "C":
        pedicle_w = 0.0
    patch.add(Body(size))
    pw, ph = size.pedicle_width / 2, size.pedicle_height / 2
    pu = size.canal_width / 2 + pw
    rear = back + size.canal_depth
    lamina = {"C": 2.4, "T": 3.7, "L": 4.3}[region]
    lamina_half = {"C": 0.5, "T": 0.54, "L": 0.46}[region] * size.height
    for side, upper, lower in zip((1, -1), above, below, strict=True):
        start = np.array([side * min(pu, size.width * 0.40), back - 5.0, pedicle_w])
        pillar = np.array(
            [side * (pu + (1.0 if region == "L" else 0.5)), back + 0.55 * size.canal_depth, pedicle_w - 1]
        )
        patch.add(Limb(start, pillar, (pw, ph), across=(1, 0, 0), end_radii=(pw, 0.92 * ph)), 3.0)
        _articular(patch, pillar, upper, lower, size, region, lamina)
        # Lamina: a plate from the pillar to the root of the spinous process, its lower edge further back.
        outer = np.array([side * (0.82 * pu), back + 0.78 * size.canal_depth + 1.0, pedicle_w - 0.22 * size.height])
        inner = np.array([0.0, rear + lamina + 1.0, pedicle_w - 0.42 * size.height])
        plate = (0.0, -0.28 if region != "C" else -0.4, 1.0)
        patch.add(
            Limb(outer, inner, (lamina_half, lamina), across=plate, end_radii=(1.1 * lamina_half, lamina * 1.1)), 2.0
        )
        patch.add(Limb(pillar, outer, (0.8 * ph, lamina), across=(0, -0.2, 1), end_radii=(lamina_half, lamina)), 2.5)
        _transverse(patch, name, side, pillar, size)
    root = np.array([0.0, rear + lamina, pedicle_w - 0.42 * size.height])
    tip = root + np.array([0.0, size.spinous_length - 4.0, -size.spinous_fall])
    half = size.spinous_height / 2
    thin = {"C": 2.8, "T": 3.2, "L": 3.6}[region]
    tall = half * {"C": 0.8, "T": 0.6, "L": 0.95}[region]
    patch.add(Limb(root, tip, (thin, half), across=(1, 0, 0), end_radii=(thin, tall)), 3.0)
    patch.add(
        Limb(tip - np.array([0, 1, -0.35 * tall]), tip - np.array([0, 1, 0.45 * tall]), (thin + 1.3, thin + 1.3)), 2.5
    )


def _articular(
    patch: Patch, pillar: np.ndarray, upper: Joint, lower: Joint, size: Dimensions, region: str, lamina: float
) -> None:
    """Superior process up to the joint above, pars and inferior process down to the joint below."""
    thick = {"C": 3.9, "T": 3.7, "L": 5.6}[region]
    wide = {"C": 6.4, "T": 6.2, "L": 8.0}[region] * (size.height / 24 if region == "L" else 1)
    long = upper.reach * 0.5
    up = np.cross(upper.normal, np.cross([0.0, 0, 1], upper.normal))
    up /= np.linalg.norm(up)
    across = np.cross(upper.normal, up)
    seat = upper.point - upper.normal * thick
    patch.add(Limb(pillar + np.array([0, 1.5, 0]), seat - up * long * 0.4, (wide * 0.95, thick), across=across), 2.0)
    patch.add(
        Limb(
            seat - up * long * 0.6, seat + up * long, (wide, thick), across=across, end_radii=(wide * 0.75, thick * 0.8)
        ),
        2.0,
    )
    thick_low = {"C": 3.6, "T": 3.6, "L": 5.4}[region]
    long = lower.reach * 0.5
    up = np.cross(lower.normal, np.cross([0.0, 0, 1], lower.normal))
    up /= np.linalg.norm(up)
    across = np.cross(lower.normal, up)
    seat = lower.point + lower.normal * thick_low
    middle = 0.5 * (pillar + seat) + np.array([0, 1.5, 0])
    patch.add(Limb(pillar + np.array([0, 1.5, 0]), middle, (wide * 0.85, lamina * 1.15), across=across), 2.5)
    patch.add(
        Limb(
            middle,
            seat + up * long * 0.4,
            (wide * 0.85, lamina * 1.1),
            across=across,
            end_radii=(wide * 0.9, thick_low),
        ),
        2.0,
    )
    patch.add(
        Limb(
            seat + up * long,
            seat - up * long * 0.7,
            (wide * 0.9, thick_low),
            across=across,
            end_radii=(wide * 0.7, thick_low * 0.75),
        ),
        2.0,
    )


def transverse_tip(name: str, size: Dimensions, side: int) -> np.ndarray:
    """End of the transverse process (u, v, w); `side` 1 left, -1 right."""
    region = name[0]
    level = NUMBERS.get(name, SACRUM)
    if region == "T":
        behind = {1: 4.0, 2: 9.0, 11: 12.0, 12: 10.0}.get(level - 7, 13.0)
        return np.array(
            [side * (size.span / 2 - 4), size.depth / 2 + size.canal_depth * 0.7 + behind, 0.12 * size.height]
        )
    if region == "L":
        return np.array([side * (size.span / 2 - 3), size.depth / 2 + size.canal_depth * 0.6 + 4, 0.18 * size.height])
    return np.array([side * (size.span / 2 - 4), size.depth * 0.35, -0.1 * size.height])


def _transverse(patch: Patch, name: str, side: int, pillar: np.ndarray, size: Dimensions) -> None:
    tip = transverse_tip(name, size, side)
    if name[0] == "C":
        # Front and back bar around the foramen of the vertebral artery.
        front = np.array([side * size.width * 0.45, -size.depth * 0.1, -0.5])
        patch.add(Limb(front, tip, (2.4, 3.2), across=(0, 1, 0)), 1.5)
        patch.add(Limb(pillar - np.array([side * 2, 4, 0]), tip, (2.6, 3.2), across=(0, 1, 0)), 1.5)
        if name != "C7":
            hook = np.array([side * size.width * 0.46, 1.0, size.height * 0.40])
            patch.add(Ellipsoid(hook, (2.2, 0.3 * size.depth, 3.4)), 2.0)  # uncinate process
    elif name[0] == "T":
        small = name in ("T11", "T12")
        bulb = 3.6 if small else 5.2
        patch.add(Limb(pillar, tip, (6.6, 4.8), across=(0, 0, 1), end_radii=(bulb, bulb * 0.85)), 3.0)
        patch.add(Ellipsoid(tip, (bulb * 0.9, bulb, bulb * 1.25)), 2.0)
    else:
        stout = 1.5 if name in ("L5", "L6") else 1.0
        patch.add(
            Limb(pillar + np.array([0, 1, 0]), tip, (5.6 * stout, 3.6 * stout), across=(0, 0, 1), end_radii=(4.4, 2.5)),
            3.0,
        )
