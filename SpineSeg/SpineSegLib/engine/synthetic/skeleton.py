"""The bones around the spine: ribs, sternum, shoulder girdle, hip bones and femora.

Positions follow the spine, so that they share its curves; sizes are those of an average adult times the patient's size
(Gray's Anatomy; the hip axis from the pelvic parameters of Legaye et al., Eur Spine J 1998;7:99-103).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.interpolate import CubicSpline, RBFInterpolator

from SpineSegLib.engine.synthetic.canvas import Canvas, union
from SpineSegLib.engine.synthetic.implicit import WORLD, Ellipsoid, Limb, Patch, tube
from SpineSegLib.engine.synthetic.spine import Spine
from SpineSegLib.engine.synthetic.tissues import Tissue
from SpineSegLib.engine.synthetic.vertebra import transverse_tip

JOINT_GAP = 1.6  # mm between ribs and vertebrae, ilium and sacrum


class Cage:
    """Oval of the rib cage's middle by height: half width, back and front, in mm, as the spine bends."""

    def __init__(self, spine: Spine, width: float, depth: float) -> None:
        self.spine = spine
        k = spine.traits.size
        top, bottom = spine.level("T1").frame.centre[2], spine.level("T12").frame.centre[2]
        length = top - bottom
        self.top, self.bottom = top, bottom
        share = np.array([-0.25, 0.0, 0.12, 0.3, 0.6, 0.85, 1.05, 1.5])
        self._z = (top - share * length)[::-1]
        self._half_width = (np.array([50, 58, 86, 112, 130, 136, 132, 124]) * k * width)[::-1]
        self._front = (np.array([50, 58, 80, 105, 132, 138, 130, 118]) * k * depth)[::-1]
        self._back = (np.array([34, 36, 42, 48, 50, 46, 40, 34]) * k)[::-1]

    def at(self, z: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Centre x, half width, y of the back and y of the front at heights z."""
        x, y = self.spine.middle(z)
        half = np.interp(z, self._z, self._half_width)
        return x, half, y + np.interp(z, self._z, self._back), y - np.interp(z, self._z, self._front)

    def point(self, angle: float, z: float, side: int) -> np.ndarray:
        """Point at `angle` (degrees from the back over the side to the front) at height z."""
        x, half, back, front = self.at(z)
        a = np.radians(angle)
        return np.array(
            [x + side * half * np.sin(a) ** 0.8, 0.5 * (back + front) + 0.5 * (back - front) * np.cos(a), z]
        )


# Angle at which each bony rib ends, and how far in mm its end lies below its head.
_RIB_END = (148, 152, 153, 152, 150, 147, 142, 134, 126, 118, 85, 55)
_RIB_FALL = (38, 58, 74, 88, 98, 108, 116, 120, 116, 106, 72, 46)


def draw_ribs(canvas: Canvas, spine: Spine, cage: Cage, rng: np.random.Generator) -> None:
    """Twelve pairs of ribs with costovertebral and costotransverse joint gaps, costal cartilages and the sternum."""
    k = spine.traits.size
    for number in range(1, 13):
        level = spine.level(f"T{number}")
        s = level.size
        droop = float(rng.normal(0, 3))
        for side in (1, -1):
            rise = 0.46 * s.height if 2 <= number <= 10 else 0.05 * s.height
            head = level.frame.to_patient((side * (s.width / 2 + 3.2), s.depth / 2 - 4.5, rise))
            tip = transverse_tip(level.name, s, side)
            neck = level.frame.to_patient(tip + np.array([side * -3.0, -11.5, 2.0]))
            tubercle = level.frame.to_patient(tip + np.array([side * 3.5, -6.5, 0.0]))
            end, fall = _RIB_END[number - 1], (_RIB_FALL[number - 1] + droop) * k
            points = [head, neck, tubercle]
            start = 26 if number < 11 else 30
            for angle in np.linspace(start, end, 9 if number < 11 else 4):
                z = tubercle[2] - fall * ((angle - 10) / (end - 10)) ** 1.15
                points.append(cage.point(angle, z, side))
            path = np.array(points)
            steps = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
            spread = np.linspace(0, steps[-1], max(12, int(steps[-1] / 7)))
            fine = CubicSpline(steps, path)(spread)
            _rib(canvas, spine, fine, k * (0.8 if number in (1, 12) else 1.0))
            if number <= 10:
                _cartilage(canvas, cage, fine[-1], number, side, k)
    top, bottom = _sternum_ends(spine)
    heights = np.linspace(top, bottom, 6)
    shapes = []
    for a, b, wide, next_wide in zip(heights[:-1], heights[1:], (27, 20, 15, 17, 15), (20, 15, 17, 15, 6), strict=True):
        (xa, _, _, ya), (xb, _, _, yb) = cage.at(a), cage.at(b)
        start, end = np.array([xa, ya - 1, a]), np.array([xb, yb - 1, b + 1.0])
        shapes.append(Limb(start, end, (wide * k, 5.5 * k), across=(1, 0, 0), end_radii=(next_wide * k, 5.0 * k)))
    canvas.bone(union(canvas.grid, shapes, WORLD, 2.0), Tissue.STERNUM)


def _sternum_ends(spine: Spine) -> tuple[float, float]:
    return spine.level("T2").frame.centre[2] - 8, spine.level("T9").frame.centre[2]


def _rib(canvas: Canvas, spine: Spine, path: np.ndarray, k: float) -> None:
    shapes = []
    for index in range(len(path) - 1):
        a, b = path[index], path[index + 1]
        outward = (
            (a + b) / 2
            - np.array([*np.array(spine.middle((a[2] + b[2]) / 2)), (a[2] + b[2]) / 2])
            - np.array([0, -20, 0])
        )
        tall, thick = (6.2, 3.6) if index > 5 else (5.2, 3.8)
        shapes.append(Limb(a, b, (thick * k, tall * k), across=outward))
    patch = union(canvas.grid, shapes, WORLD, 1.5)
    if patch.empty:
        return
    # Synovial gap to the vertebrae, which are drawn already.
    near = -canvas.spine_depth[patch.where].astype(np.float32)
    patch.distance = np.maximum(patch.distance, np.float32(JOINT_GAP) - near)
    canvas.bone(patch, Tissue.RIB)


def _cartilage(canvas: Canvas, cage: Cage, start: np.ndarray, number: int, side: int, k: float) -> None:
    top, bottom = _sternum_ends(cage.spine)
    z = top - (top - bottom) * min(0.08 + 0.15 * (number - 1), 0.97)
    x, _, _, front = cage.at(z)
    end = np.array([x + side * (22 if number < 3 else 15) * k, front, z])
    if number > 7:  # joins the cartilage above
        end = 0.35 * start + 0.65 * end
    bend = 0.5 * (start + end) + np.array([0, -6 * k, -10 * k if number > 4 else 0])
    canvas.shapes(tube(np.array([start, bend, end]), 5.5 * k), Tissue.CARTILAGE)


def draw_shoulders(canvas: Canvas, spine: Spine, cage: Cage, arms_down: bool) -> None:
    """Scapulae, clavicles and, with the arms at the sides, humeri."""
    k = spine.traits.size
    z2, z7 = spine.level("T2").frame.centre[2], spine.level("T7").frame.centre[2]
    top, _ = _sternum_ends(spine)
    for side in (1, -1):
        x, _, back, front = (float(v) for v in cage.at(z2 - 20))
        outer = np.array([x + side * 158 * k, 0.5 * (front + back) + 12, z2 + 6])
        clavicle = [
            [x + side * 24 * k, front - 4, top + 6],
            [x + side * 75 * k, front + 2, top + 24],
            outer + np.array([0, -14, 22]),
        ]
        canvas.bone(union(canvas.grid, tube(np.array(clavicle), 6.0 * k), WORLD, 2.0), Tissue.LIMB_BONE)
        low = cage.point(32, z7, side) + np.array([side * 6, 16, 0])
        inner = cage.point(28, z2 - 12, side) + np.array([0, 18, 0])
        glenoid = outer + np.array([-side * 22 * k, 8, -16])
        across = np.array([side * 0.75, 0.0, 0.2])
        blade = [
            Limb(low, inner, (11, 2.6), across=across),
            Limb(low, glenoid, (9, 3.0), across=across, end_radii=(9, 6)),
            Limb(0.5 * (low + inner), 0.5 * (low + glenoid), (22, 1.9), across=(0, 0.2, 1)),
            Limb(inner, glenoid, (13, 2.2), across=(0, 0.2, 1), end_radii=(15, 7)),
            Limb(inner + np.array([0, 6, -6]), outer + np.array([0, 18, 12]), (6, 4.5), across=(0, 0.2, 1)),
        ]
        canvas.bone(union(canvas.grid, blade, WORLD, 3.0), Tissue.LIMB_BONE)
        if arms_down:
            head = outer + np.array([side * 6, -2, -18])
            elbow = head + np.array([side * 42 * k, 10, -290 * k])
            arm = [
                Ellipsoid(head, (23 * k, 23 * k, 23 * k)),
                Limb(head + np.array([side * 6, 0, 0]), elbow, (12 * k, 12 * k)),
            ]
            forearm = tube(
                np.array([elbow - np.array([0, 0, 26]), elbow + np.array([-side * 10, -30, -260 * k])]), 9.0 * k
            )
            for shapes in (arm, forearm):
                canvas.bone(union(canvas.grid, shapes, WORLD, 6.0), Tissue.LIMB_BONE)


# Lateral view of the ilium: y, z (mm, from the sacral endplate), and there its x and half its thickness.
_ILIUM = np.array([
    # y, z, x, half thickness
    (74, -22, 41, 7.5), (58, 8, 53, 8.0), (30, 27, 77, 6.5), (-5, 37, 113, 6.0), (-38, 24, 130, 7.0),
    (-64, -10, 130, 5.5),
    (-78, -42, 122, 6.0), (-70, -62, 112, 6.5), (-66, -76, 106, 8.5), (-48, -96, 92, 10.0), (-18, -118, 84, 9.0),
    (12, -104, 80, 10.0), (22, -78, 74, 8.5), (38, -62, 60, 7.0), (58, -52, 47, 7.0), (28, -22, 57, 8.5),
    (0, -45, 80, 5.5),
    (-30, -20, 108, 2.6), (-10, 5, 102, 2.6), (-40, -60, 100, 6.0), (-15, -80, 84, 9.5),
])  # fmt: skip
_OUTLINE = 15  # the first rows of _ILIUM run around its edge


def hip_centre(spine: Spine, side: int) -> np.ndarray:
    """Centre of the femoral head: as far from the sacral endplate as pelvic thickness and a tilt of 12 degrees say."""
    return np.array([side * 88.0, -24.0, -104.0]) * spine.traits.size


def draw_pelvis(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Hip bones with sacroiliac gap, acetabula, obturator foramina and symphysis; femora with a joint gap."""
    k = spine.traits.size
    flare = float(rng.uniform(0.94, 1.06))
    for side in (1, -1):
        hip = hip_centre(spine, side)

        def at(x: float, y: float, z: float, side: int = side) -> np.ndarray:
            return np.array([side * x, y, z]) * k

        low, high = at(2, -92, -190), at(150, 95, 50)
        patch = Patch(canvas.grid, WORLD, np.minimum(low, high), np.maximum(low, high))
        if patch.empty:
            continue
        _ilium(patch, side, k, flare)
        patch.roughen(np.random.default_rng([spine.traits.seed, 13, side + 1]), 0.8)
        patch.add(Ellipsoid(hip + at(-4, 0, 3), (32 * k,) * 3), 6.0)
        ramus = hip + at(-24, -20, -6)
        patch.add(Limb(ramus, at(14, -68, -130), (9 * k, 8 * k), across=(0, 0, 1), end_radii=(9 * k, 7 * k)), 5.0)
        patch.add(Ellipsoid(at(12, -66, -138), (8.5 * k, 8 * k, 19 * k)), 4.0)
        patch.add(
            Limb(
                hip + at(-12, 26, -16), at(60, 26, -164), (13 * k, 15 * k), across=(1, 0, 0), end_radii=(12 * k, 15 * k)
            ),
            6.0,
        )
        patch.add(Limb(at(60, 14, -172), at(14, -58, -148), (5.5 * k, 9 * k), across=(1, 0.4, 0)), 4.0)
        open_to = np.array([side * 0.80, -0.22, -0.56])
        patch.cut(Limb(hip, hip + open_to * 60 * k, (26.5 * k, 26.5 * k)), 1.5)
        near = -canvas.spine_depth[patch.where].astype(np.float32)
        patch.distance = np.maximum(patch.distance, np.float32(JOINT_GAP) - near)
        patch.distance = np.maximum(patch.distance, np.float32(2.0) - side * patch.u)  # symphysis
        canvas.bone(patch, Tissue.PELVIS)
        shaft = hip + at(46, 6, -46)
        femur = [
            Ellipsoid(hip, (23.5 * k,) * 3),
            Limb(hip, hip + at(44, 8, -32), (15 * k, 13 * k), across=(0, 0, 1), end_radii=(20 * k, 15 * k)),
            Ellipsoid(hip + at(54, 13, -22), (14 * k, 18 * k, 26 * k)),
            Limb(shaft, hip + at(36, 0, -260), (16 * k, 15 * k), across=(1, 0, 0), end_radii=(14 * k, 14 * k)),
            Ellipsoid(hip + at(30, 18, -58), (9 * k, 10 * k, 13 * k)),
        ]
        bone = union(canvas.grid, femur, WORLD, 6.0)
        if not bone.empty:
            gap = -canvas.bone_depth[bone.where].astype(np.float32)
            bone.distance = np.maximum(bone.distance, np.float32(1.8) - gap)
            canvas.bone(bone, Tissue.FEMUR)


def _ilium(patch: Patch, side: int, k: float, flare: float) -> None:
    """The wing as a plate: thin in the middle, thick at its edge, the sacroiliac joint and above the acetabulum."""
    y = patch.v[0, :, 0].astype(float) / k
    z = patch.w[:, 0, 0].astype(float) / k
    grid = np.stack(np.meshgrid(y, z, indexing="ij"), -1).reshape(-1, 2)
    places = _ILIUM[:, :2]
    surface = RBFInterpolator(places, _ILIUM[:, 2:], kernel="thin_plate_spline", smoothing=4.0)(grid)
    shape = (len(y), len(z))
    x = surface[:, 0].reshape(shape).T * k * flare
    half = np.clip(surface[:, 1], 2.2, 12).reshape(shape).T * k
    slope = np.sqrt(1 + sum(g**2 for g in np.gradient(x, patch.grid.spacing)))
    edge = _polygon_distance(grid, _ILIUM[:_OUTLINE, :2]).reshape(shape).T * k
    plate = np.abs(side * patch.u - x[:, :, None].astype(np.float32)) / slope[:, :, None].astype(np.float32)
    # A rounded rim: thickness shrinks towards the outline.
    inner = edge[:, :, None].astype(np.float32) + half[:, :, None].astype(np.float32)
    rim = np.hypot(np.maximum(inner, 0), plate) - half[:, :, None].astype(np.float32)
    patch.distance = np.minimum(patch.distance, rim.astype(np.float32))


def _polygon_distance(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Signed distance of points (n, 2) to a closed curve through `corners` (m, 2), negative inside."""
    closed = np.concatenate([corners, corners[:1]])
    smooth = CubicSpline(np.arange(len(closed)), closed, bc_type="periodic")(
        np.linspace(0, len(corners), 8 * len(corners) + 1)
    )
    best = np.full(len(points), np.inf)
    inside = np.zeros(len(points), bool)
    for a, b in pairwise(smooth):
        edge = b - a
        t = np.clip((points - a) @ edge / max(edge @ edge, 1e-12), 0, 1)
        best = np.minimum(best, np.linalg.norm(points - a - t[:, None] * edge, axis=1))
        if a[1] != b[1]:
            crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
            inside ^= crosses & (points[:, 0] < a[0] + (points[:, 1] - a[1]) / (b[1] - a[1]) * edge[0])
    return np.where(inside, -best, best)
