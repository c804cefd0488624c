"""Soft tissue around the skeleton: skin, fat, muscles, lungs, organs, vessels, bowel, arms and the table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from SpineSegLib.engine.synthetic.canvas import Canvas, union
from SpineSegLib.engine.synthetic.implicit import WORLD, Ellipsoid, Frame, Grid, Limb, Shape, tube
from SpineSegLib.engine.synthetic.skeleton import Cage, hip_centre
from SpineSegLib.engine.synthetic.spine import Spine
from SpineSegLib.engine.synthetic.tissues import Tissue

SKIN_MM = 2.0


@dataclass(frozen=True)
class TrunkTraits:
    """`fat`: subcutaneous fat in mm; `visceral`: extra depth of the belly in mm; `muscle`: size of the back muscles and
    psoas, 1 on average; `atrophy`: 0 to 1, fat within the back muscles; `bowel_gas`: 0 to 1; `arms_down`: at the sides;
    `table`: "flat", "curved" or "none"."""

    fat: float = 18.0
    visceral: float = 0.0
    muscle: float = 1.0
    atrophy: float = 0.3
    bowel_gas: float = 0.4
    arms_down: bool = False
    table: str = "curved"
    seed: int = 0

    @classmethod
    def random(cls, rng: np.random.Generator, **fixed: object) -> TrunkTraits:
        """Draw a trunk; `fixed` sets fields that should not be drawn."""
        stout = float(rng.beta(1.6, 2.2))
        drawn: dict[str, object] = {
            "fat": 6 + 40 * stout * float(rng.uniform(0.6, 1.2)),
            "visceral": 55 * stout * float(rng.uniform(0.2, 1.2)),
            "muscle": float(rng.uniform(0.82, 1.15)),
            "atrophy": float(rng.beta(1.2, 2.0)),
            "bowel_gas": float(rng.beta(1.5, 2.0)),
            "arms_down": bool(rng.random() < 0.15),
            "table": str(rng.choice(["curved", "flat", "none"], p=[0.65, 0.25, 0.1])),
            "seed": int(rng.integers(2**31)),
        }
        return cls(**{**drawn, **fixed})


@dataclass(frozen=True)
class Outline:
    """Oval by height: arrays over the z axis of a grid in mm; `power` 2 is an ellipse, more is squarer."""

    x: np.ndarray
    half: np.ndarray
    back: np.ndarray
    front: np.ndarray
    power: float = 2.5

    def grown(self, sides: np.ndarray | float, back: np.ndarray | float, front: np.ndarray | float) -> Outline:
        """Larger by so many mm at the sides, at the back and in front (smaller where negative)."""
        return Outline(self.x, self.half + sides, self.back + back, self.front - front, self.power)

    def mask(self, grid: Grid) -> np.ndarray:
        """Boolean array (z, y, x) of its inside."""
        y, x = grid.axis(1), grid.axis(2).astype(np.float32)
        deep = np.maximum(0.5 * (self.back - self.front), 1e-3)[:, None]
        t = np.abs((y[None, :] - 0.5 * (self.back + self.front)[:, None]) / deep)
        valid = (self.half > 0) & (self.back > self.front)
        span = np.clip(1 - t**self.power, 0, None) ** (1 / self.power) * np.maximum(self.half, 0)[:, None]
        span = np.where((t < 1) & valid[:, None], span, -1).astype(np.float32)
        left, right = self.x[:, None] + span, self.x[:, None] - span
        return (x < left[:, :, None].astype(np.float32)) & (x > right[:, :, None].astype(np.float32))


class Trunk:
    """Draws one patient's soft tissue on a canvas: `draw_under` before the bones, `draw_outside` at the end."""

    def __init__(self, traits: TrunkTraits, spine: Spine, cage: Cage) -> None:
        self.traits, self.spine, self.cage = traits, spine, cage
        self.k = spine.traits.size
        self.rng = np.random.default_rng([traits.seed, 21])
        # Fixed heights, so that the body is the same whatever part of it is in the field of view.
        self._heights = np.arange(-280.0, spine.levels[-1].frame.centre[2] + 80, 4.0)
        self._profile = self._muscle_profile(self._heights)
        self.lowest = self._table_height()
        self.dome = spine.level("T10").frame.centre[2] + float(self.rng.uniform(-15, 12))

    def muscle_outline(self, z: np.ndarray) -> Outline:
        """The surface of the muscles, under the subcutaneous fat, at heights z in mm."""
        x, half, back, front = (np.interp(z, self._heights, values) for values in self._profile)
        return Outline(x, half, back, front)

    def _muscle_profile(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Centre x, half width, back and front of the muscles' surface at evenly spaced heights z of the body."""
        k, belly = self.k, self.traits.visceral
        x, y = self.spine.middle(z)
        _, rib_half, _, rib_front = self.cage.at(z)
        s = self.spine.level
        t12, t8, t4, t1, c6 = (s(n).frame.centre[2] for n in ("T12", "T8", "T4", "T1", "C6"))
        at = [-260, -175, -115, -60, 10, 80, t12 - 10, t8, t4, t1 + 5, c6 + 10, c6 + 60]
        shoulder = 176 * k
        half = np.interp(
            z,
            at,
            [152 * k, 160 * k, 166 * k, 152 * k, 142 * k, 132 * k, 140 * k, 150 * k, 158 * k, shoulder, 62 * k, 56 * k],
        )
        # The muscles of the back just cover the spinous processes; below the sacrum the seat follows the hips.
        tips = np.array(
            [
                lv.frame.to_patient(
                    (0, lv.size.depth / 2 + lv.size.canal_depth + lv.size.spinous_length, -lv.size.spinous_fall)
                )
                for lv in self.spine.levels
            ]
        )
        order = np.argsort(tips[:, 2])
        spinous = (
            ndimage.gaussian_filter1d(
                np.interp(z, tips[order, 2], tips[order, 1]), 18 / abs(z[1] - z[0]), mode="nearest"
            )
            + 7
        )
        seat = np.interp(z, [-260, -175, -115, -60, -20, 15], [66 * k, 80 * k, 88 * k, 86 * k, 82 * k, 70 * k])
        upper = np.clip((z + 10) / 50, 0, 1)
        back = (1 - upper) * seat + upper * spinous
        belly_z = [-260, -150, -90, -30, 40, t12 - 60, t12 - 10]
        rib = float(self.cage.at(t12)[3])
        belly_y = [
            -96 * k,
            -88 * k,
            -92 * k,
            -96 * k - 0.5 * belly,
            -104 * k - belly,
            rib - 8 - 0.8 * belly,
            rib - 10 - 0.3 * belly,
        ]
        share = np.clip((z - (t12 - 60)) / 60, 0, 1)
        front = (1 - share) * np.interp(z, belly_z, belly_y) + share * (
            rib_front - 10 - 0.3 * belly * np.clip((t8 - z) / 60, 0, 1)
        )
        front = ndimage.gaussian_filter1d(front, 12 / abs(z[1] - z[0]), mode="nearest")
        neck = np.interp(z, [t1, c6, c6 + 60], [0, 1, 1])
        front = (1 - neck) * front + neck * (y - 50 * k)
        half = np.where(z > t12 - 10, np.maximum(half, rib_half + 10), half)
        return x * np.clip(z / 60, 0, 1), half, back, front

    def cavity_outline(self, z: np.ndarray, muscle: Outline) -> Outline:
        """The inside of the abdominal wall, the rib cage and the pelvis."""
        k = self.k
        t12, t1 = self.spine.level("T12").frame.centre[2], self.spine.level("T1").frame.centre[2]
        x, half, back, front = self.cage.at(z)
        _, y = self.spine.middle(z)
        chest = np.clip((z - (t12 - 45)) / 40, 0, 1)
        apex = np.clip((t1 + 14 - z) / 30, 0, 1) ** 0.5
        wall = np.interp(z, [-150, -110, -50, 0, 30, 80], [135 * k, 104 * k, 84 * k, 46 * k, 26 * k, 17 * k])
        side = chest * (half - 5) * apex + (1 - chest) * (muscle.half - wall)
        low_back = np.interp(z, [-150, -110, -60, -20, 20, 60], [-8 * k, 44 * k, 55 * k, 14 * k, 0, 0])
        rear = chest * (back - 6 - 25 * (1 - apex)) + (1 - chest) * np.where(z < 20, low_back, y + 16 * k)
        ahead = chest * (front + 6 + 30 * (1 - apex)) + (1 - chest) * (muscle.front + np.where(z > -100, 13, 20))
        keep = (z > -148 * k) & (z < t1 + 12)
        return Outline(chest * x + (1 - chest) * muscle.x, np.where(keep, side, -1), rear, ahead, 2.3)

    def draw_under(self, canvas: Canvas) -> None:
        """Everything that bones are drawn into."""
        grid = canvas.grid
        z = grid.axis(0)
        muscle = self.muscle_outline(z)
        t = self.traits
        skin = self._skin_outline(z)
        # Lying flattens the back.
        self.skin = Outline(skin.x, skin.half, np.minimum(skin.back, self.lowest), skin.front, skin.power)
        tissue = canvas.tissue
        whole = self._legs(grid, self.skin.mask(grid), 0.0)
        tissue[whole] = Tissue.SKIN
        tissue[self._legs(grid, self.skin.grown(-SKIN_MM, -SKIN_MM, -SKIN_MM).mask(grid), SKIN_MM)] = Tissue.FAT
        squeezed = Outline(
            muscle.x, muscle.half, np.minimum(muscle.back, self.lowest - SKIN_MM - 5), muscle.front, muscle.power
        )
        tissue[self._legs(grid, squeezed.mask(grid), SKIN_MM + 0.8 * t.fat)] = Tissue.MUSCLE
        self._fat_planes(canvas)
        cavity = self.cavity_outline(z, muscle)
        self.inside = cavity.mask(grid)
        tissue[self.inside] = Tissue.FAT
        self._back_muscles(canvas)
        self._chest(canvas)
        self._abdomen(canvas)
        self._pelvic_organs(canvas)
        self._vessels(canvas)
        self._neck(canvas)

    def _skin_outline(self, z: np.ndarray) -> Outline:
        fat = self.traits.fat
        back = fat * np.interp(z, [-120, 0, 60, 300], [1.3, 1.5, 1.1, 0.7])
        sides = fat * np.interp(z, [-120, 0, 100, 200, 400], [1.5, 1.3, 1.1, 0.7, 0.5])
        front = fat * np.interp(z, [-120, 60, 200, 400], [1.2, 1.2, 0.6, 0.4])
        return self.muscle_outline(z).grown(sides + SKIN_MM, back + SKIN_MM, front + SKIN_MM)

    def extent(self, z: np.ndarray) -> tuple[float, float, float]:
        """Half width about x = 0, y of the front and y of the back of the body with its arms at heights z, mm."""
        skin = self._skin_outline(z)
        half = float(np.max(np.abs(skin.x) + skin.half))
        if self.traits.arms_down:
            half = max(half, float(np.max(np.abs(self.arm_axis(1)[:, 0]), initial=0)) + 60 * self.k)
        return half, float(np.min(skin.front)), self.lowest

    def _table_height(self) -> float:
        """y of the table under a patient who lies on the seat and the upper back; independent of the field of view."""
        z = np.arange(-150.0, self.spine.level("T2").frame.centre[2], 5.0)
        skin, muscle = self._skin_outline(z).back, self.muscle_outline(z).back
        # The seat's fat is squeezed more than the chest's.
        chest = z > self.spine.level("L1").frame.centre[2]
        return float(max(np.max(skin[chest]), np.max((0.6 * skin + 0.4 * muscle)[~chest])))

    def _legs(self, grid: Grid, mask: np.ndarray, inset: float) -> np.ndarray:
        """Part the thighs below the perineum."""
        z, y, x = grid.axis(0), grid.axis(1), grid.axis(2)
        low = np.flatnonzero(z < -168 * self.k)
        if low.size:
            width = np.clip((-168 * self.k - z[low]) / 12, 0, 1)[:, None, None] * 6 + inset
            mask[low] &= (np.abs(x)[None, None, :] > width) | (np.abs(y)[None, :, None] > 1e4)
        return mask

    def _fat_planes(self, canvas: Canvas) -> None:
        """Thin sheets of fat between the muscles of the trunk's wall."""
        grid = canvas.grid
        z, y, x = (grid.axis(d).astype(np.float32) for d in range(3))
        phase = self.rng.uniform(0, 6.28, 3).astype(np.float32)
        bow = 1.4 * np.sin(z[:, None] / 38 + phase[0]) + 1.1 * np.sin(y[None, :] / 27 + phase[1]) + y[None, :] / 17
        sheet = np.abs(np.sin(0.5 * (bow[:, :, None] + (np.abs(x) / 15 + phase[2])))) < 0.035
        canvas.tissue[sheet & (canvas.tissue == Tissue.MUSCLE)] = Tissue.FAT

    def _clip(
        self,
        canvas: Canvas,
        shapes: Iterable[Shape],
        tissue: Tissue,
        frame: Frame = WORLD,
        bend: float = 0.0,
    ) -> None:
        """Draw an organ, no further than the cavity's wall."""
        patch = union(canvas.grid, list(shapes), frame, bend=(self.rng, bend))
        if not patch.empty:
            canvas.fill(patch.where, (patch.distance < 0) & self.inside[patch.where], tissue)

    def _back_muscles(self, canvas: Canvas) -> None:
        """Erector spinae and multifidus on both sides of the processes, quadratus lumborum, psoas and iliacus."""
        k, m = self.k, self.traits.muscle
        spine = self.spine
        levels = [level for level in spine.levels if level.name[0] != "C"]
        rear = np.array([lv.frame.to_patient((0, lv.size.depth / 2 + lv.size.canal_depth + 14, -6)) for lv in levels])
        lumbar = np.array([lv.name[0] == "L" for lv in levels])
        for a, b, low in zip(rear[:-1], rear[1:], lumbar[:-1], strict=True):
            wide = (62, 27) if low else (46, 22)
            canvas.shapes(
                [Limb(a, b, (wide[0] * k, wide[1] * k), across=(1, 0, 0))],
                Tissue.FAT,
                within=(Tissue.FAT, Tissue.MUSCLE),
            )
        deep = spine.sacrum[2][0].to_patient((0, 24 * k, 0))
        for side in (1, -1):
            chain = [deep + np.array([side * 16 * k, 2, 0]), *(rear + np.array([side * 33 * k, 1, 0]))]
            inner = [deep + np.array([side * 9 * k, 0, 0]), *(rear + np.array([side * 14 * k, -2, 0]))]
            sizes = [10.0] + [26.0 if low else 19.0 for low in lumbar]
            self._strand(canvas, chain, [(s * k * m, 0.74 * s * k * m) for s in sizes])
            self._strand(canvas, inner, [(0.45 * s * k * m, 0.62 * s * k * m) for s in sizes])
            if self.traits.atrophy > 0:
                self._fatty_streaks(canvas, chain[1:7], side)
        for lv in levels:  # muscle between the ribs and beside the bodies reaches up to the spine
            if lv.name[0] == "T":
                around = lv.frame.to_patient((0, lv.size.depth / 2 + 10, 0))
                canvas.shapes([Ellipsoid(around, (36 * k, 24 * k, 22 * k))], Tissue.MUSCLE, within=(Tissue.FAT,))
        top = spine.level("T12").frame
        l3, l5 = spine.level("L3"), spine.level("L" + str(spine.traits.lumbar))
        for side in (1, -1):
            hip = hip_centre(spine, side)
            path = np.array([
                top.to_patient((side * 20 * k, 4, -14)), spine.level("L2").frame.to_patient((side * 33 * k, 4, 0)),
                l3.frame.to_patient((side * 40 * k, 6, -6)), l5.frame.to_patient((side * 50 * k, 0, -4)),
                hip + np.array([side * -26 * k, -6 * k, 52 * k]),
                hip + np.array([side * -8 * k, -34 * k, 8 * k]),
                hip + np.array([side * 18 * k, 6 * k, -60 * k]),
            ])  # fmt: skip
            radii = np.array([7, 13, 18, 20, 18, 14, 9]) * k * m
            self._strand(canvas, path, [(r, 1.12 * r) for r in radii])
            crest = np.array([side * 88.0, 18, 34]) * k
            ql = [top.to_patient((side * 42 * k, 22, -10)), l3.frame.to_patient((side * 62 * k, 26 * k, 0)), crest]
            self._strand(canvas, ql, [(14 * k, 7 * k), (18 * k * m, 8 * k * m), (17 * k, 8 * k)])
            iliacus = [
                np.array([side * 100.0, -8, 12]) * k,
                np.array([side * 98.0, -48, -40]) * k,
                hip + np.array([0, -36 * k, 6 * k]),
            ]
            self._strand(canvas, iliacus, [(13 * k, 16 * k), (15 * k, 18 * k), (14 * k, 12 * k)])

    def _strand(self, canvas: Canvas, path: Iterable[np.ndarray], radii: list[tuple[float, float]]) -> None:
        path = list(path)
        shapes = [
            Limb(a, b, r, across=(1, 0, 0), end_radii=q)
            for a, b, r, q in zip(path[:-1], path[1:], radii[:-1], radii[1:], strict=True)
        ]
        canvas.shapes(shapes, Tissue.MUSCLE, blend=2.0)

    def _fatty_streaks(self, canvas: Canvas, chain: list[np.ndarray], side: int) -> None:
        for _ in range(int(40 * self.traits.atrophy)):
            a = (
                chain[int(self.rng.integers(len(chain) - 1))]
                + self.rng.normal(0, [11, 6, 12])
                - np.array([side * 8, 4, 0])
            )
            r = float(self.rng.uniform(0.9, 2.8))
            b = a + self.rng.normal(0, [5, 3, 16])
            canvas.shapes([Limb(a, b, (r, r))], Tissue.FAT, within=(Tissue.MUSCLE,))

    def _chest(self, canvas: Canvas) -> None:
        """Lungs above the domes of the diaphragm, mediastinum, heart and airways."""
        k, grid, spine = self.k, canvas.grid, self.spine
        z, y, x = (grid.axis(d).astype(np.float32) for d in range(3))
        _, y0 = spine.middle(self.dome)
        middle_y = float(y0) - 45 * k
        bow = np.zeros((len(y), len(x)), np.float32)
        for centre, high in ((-68 * k, 52 * k), (68 * k, 42 * k)):
            r2 = ((x[None, :] - centre) / (72 * k)) ** 2 + ((y[:, None] - middle_y) / (105 * k)) ** 2
            bow = np.maximum(bow, high * np.clip(1 - r2, -1.5, 1))
        # Behind and at the sides the lung reaches lower.
        ring = ((x[None, :]) / (140 * k)) ** 2 + ((y[:, None] - middle_y) / (100 * k)) ** 2
        floor = self.dome - 8 + bow - 55 * k * np.clip(ring - 0.72, 0, 0.8)
        start = int(np.searchsorted(z, self.dome - 110 * k))
        part = slice(start, len(z))
        if start < len(z):
            lung = self.inside[part] & (z[part, None, None] > floor[None])
            canvas.fill((part, slice(None), slice(None)), lung, Tissue.LUNG, within=(Tissue.FAT,))
        names = [f"T{i}" for i in range(11, 0, -1)]
        line = np.array(
            [spine.level(n).frame.to_patient((0, -spine.level(n).size.depth / 2 - 14 * k, 0)) for n in names]
        )
        for a, b in pairwise(line):
            canvas.shapes([Limb(a, b, (25 * k, 20 * k), across=(1, 0, 0))], Tissue.FAT, within=(Tissue.LUNG,))
            core = [
                Limb(a + np.array([0, 30 * k, 0]), b + np.array([0, 30 * k, 0]), (20 * k, 26 * k), across=(1, 0, 0))
            ]
            canvas.shapes(core, Tissue.FAT, within=(Tissue.LUNG,))
        t4, t6, t9 = (spine.level(n).frame.centre for n in ("T4", "T6", "T9"))
        front = self.cage.at(t6[2])[3]
        anterior = np.array(
            [
                [0, 0.5 * (t4[1] + self.cage.at(t4[2])[3]), t4[2] + 10],
                [4, front + 25, t6[2]],
                [8, self.cage.at(t9[2])[3] + 30, t9[2]],
            ]
        )
        canvas.shapes(
            [Limb(a, b, (30 * k, 36 * k), across=(1, 0, 0)) for a, b in pairwise(anterior)],
            Tissue.FAT,
            within=(Tissue.LUNG,),
        )
        heart = np.array([20 * k, t9[1] - 70 * k, self.dome + 52 * k])
        tilt = _rotation_z(-28.0) @ _rotation_y(30.0)
        canvas.shapes(
            [Ellipsoid((0, 0, 0), (60 * k, 44 * k, 46 * k))],
            Tissue.HEART,
            Frame(heart, tilt),
            bend=(self.rng, 4.0),
            within=(Tissue.LUNG, Tissue.FAT),
        )
        for _ in range(70):
            side = 1 if self.rng.random() < 0.5 else -1
            a = np.array([side * 30 * k, t6[1] - 30 * k, t6[2]])
            b = a + np.array(
                [side * self.rng.uniform(20, 75) * k, self.rng.normal(0, 40) * k, self.rng.normal(-10, 50) * k]
            )
            r = float(self.rng.uniform(1.0, 3.0))
            canvas.shapes([Limb(a, b, (r * 1.6, 1), end_radii=(r * 0.4, 1))], Tissue.VEIN, within=(Tissue.LUNG,))
        t1 = spine.level("C6").frame.centre
        airway = np.array(
            [t1 + np.array([0, -26 * k, 0]), t4 + np.array([2, -32 * k, 20]), t4 + np.array([0, -30 * k, -18 * k])]
        )
        canvas.shapes(tube(airway, 10.5 * k), Tissue.MUSCLE)
        canvas.shapes(tube(airway, 8.5 * k), Tissue.GAS)
        for side in (1, -1):
            canvas.shapes(
                tube(np.array([airway[-1], airway[-1] + np.array([side * 34 * k, 2, -30 * k])]), 6.5 * k), Tissue.GAS
            )
        gullet = np.array([t1 + np.array([4, -17 * k, 0]), *(line[::-1][1:9] + np.array([6 * k, 2 * k, 0]))])
        canvas.shapes(tube(gullet, 7.0 * k), Tissue.OESOPHAGUS)
        if self.rng.random() < 0.4:
            canvas.shapes(tube(gullet[2:5], 2.5), Tissue.GAS)

    def _abdomen(self, canvas: Canvas) -> None:
        """Liver, stomach, spleen, kidneys, pancreas, colon and small bowel."""
        k, spine, rng = self.k, self.spine, self.rng
        t12, l1, l2 = (spine.level(n).frame.centre for n in ("T12", "L1", "L2"))
        under = self.dome

        def organ(
            centre: np.ndarray,
            radii: tuple[float, float, float],
            tissue: Tissue,
            bend: float,
            turn: float = 0.0,
            lean: float = 0.0,
        ) -> None:
            frame = Frame(np.asarray(centre, float), _rotation_z(turn) @ _rotation_y(lean))
            patch = union(canvas.grid, [Ellipsoid((0, 0, 0), np.array(radii) * k)], frame, 0.0, (rng, bend))
            if not patch.empty:
                target = canvas.tissue[patch.where]
                free = self.inside[patch.where] & (target != Tissue.LUNG) & (target != Tissue.HEART)
                canvas.fill(patch.where, (patch.distance < 0) & free, tissue)

        belly = self.traits.visceral
        organ((-76 * k, l1[1] - 52 * k, under - 28 * k), (68, 84, 82), Tissue.LIVER, 7.0, 0.0, 12.0)
        organ((-8 * k, l1[1] - 88 * k - 0.5 * belly, under - 6 * k), (70, 36, 40), Tissue.LIVER, 6.0)
        organ((92 * k, t12[1] + 4 * k, under - 14 * k), (28, 44, 52), Tissue.SPLEEN, 4.0, -20.0, -14.0)
        organ((58 * k, l1[1] - 66 * k, under - 18 * k), (46, 36, 56), Tissue.STOMACH, 6.0, 0.0, -20.0)
        organ((56 * k, l1[1] - 84 * k, under), (28, 14, 30), Tissue.GAS, 3.0)
        organ((12 * k, l1[1] - 50 * k, l1[2]), (62, 13, 16), Tissue.GLAND, 5.0, 12.0, -12.0)
        for side, drop in ((1, 0.0), (-1, -14.0)):
            centre = np.array([side * 66 * k, l2[1] + 16 * k, l1[2] - 10 + drop])
            frame = Frame(centre, _rotation_z(side * 25.0) @ _rotation_y(side * -12.0))
            self._clip(canvas, [Ellipsoid((0, 0, 0), (36 * k, 36 * k, 64 * k))], Tissue.FAT, frame)
            organ(centre, (26, 29, 54), Tissue.KIDNEY, 3.0, side * 25.0, side * -12.0)
            organ(centre + np.array([side * -17 * k, -9 * k, 0]), (14, 11, 22), Tissue.FAT, 3.0)
        self._bowel(canvas)

    def _bowel(self, canvas: Canvas) -> None:
        k, rng, spine = self.k, self.rng, self.spine
        l1, l3 = spine.level("L1").frame.centre, spine.level("L3").frame.centre
        belly = self.traits.visceral
        ahead = l3[1] - 72 * k - 0.8 * belly
        for _ in range(46):
            centre = np.array(
                [rng.uniform(-70, 70) * k, rng.uniform(ahead, l3[1] - 30 * k), rng.uniform(-55, l1[2] - 25)]
            )
            radii = rng.uniform(9, 17, 3) * k * [1.4, 1, 1]
            self._clip(canvas, [Ellipsoid(centre, radii)], Tissue.BOWEL, bend=3.0)
            if rng.random() < 0.4 * self.traits.bowel_gas:
                self._clip(
                    canvas, [Ellipsoid(centre - np.array([0, 0.25 * radii[1], 0]), radii * 0.62)], Tissue.GAS, bend=2.0
                )
        right, left = -96 * k, 98 * k
        back = l3[1] + 2 * k
        colon = [
            [right + 8, back - 20 * k, -45 * k], [right, back - 14 * k, 20], [right, back - 16 * k, l1[2] - 45],
            [right + 22, ahead + 20, l1[2] - 28],
            [0, ahead, l1[2] - 50], [left - 26, ahead + 22, l1[2] - 10], [left, back - 14 * k, l1[2] - 8],
            [left, back - 12 * k, 40],
            [left - 8, back - 16 * k, -30], [40, 8, -66 * k], [-10, 12, -58 * k],
            [0, 40 * k, -84 * k], [0, 42 * k, -120 * k],
        ]  # fmt: skip
        path = np.array(colon, float)
        for a, b in pairwise(path):
            steps = max(2, int(np.linalg.norm(b - a) / (20 * k)))
            for t in np.linspace(0, 1, steps, endpoint=False):
                centre = a + t * (b - a) + rng.normal(0, 3, 3)
                radius = rng.uniform(14, 23) * k * (0.75 if centre[2] < -50 else 1)
                self._clip(canvas, [Ellipsoid(centre, (radius, radius, 0.8 * radius))], Tissue.BOWEL, bend=2.0)
                if rng.random() < 0.4 + 0.6 * self.traits.bowel_gas:
                    low = radius * rng.uniform(0.1, 0.5)
                    self._clip(
                        canvas,
                        [Ellipsoid(centre - np.array([0, low, 0]), (radius * 0.78, 0.55 * radius, 0.7 * radius))],
                        Tissue.GAS,
                        bend=1.5,
                    )

    def _pelvic_organs(self, canvas: Canvas) -> None:
        k, rng = self.k, self.rng
        full = float(rng.uniform(0.7, 1.25))
        centre = np.array([0, -42 * k, -105 * k + 12 * full])
        self._clip(canvas, [Ellipsoid(centre, np.array([40, 30, 32]) * k * full)], Tissue.BLADDER, bend=3.0)
        self._clip(canvas, [Ellipsoid((0, 2 * k, -100 * k), np.array([28, 20, 30]) * k)], Tissue.GLAND, bend=3.0)
        for side in (1, -1):
            hip = hip_centre(self.spine, side)
            inner = [
                hip + np.array([side * -22 * k, 22 * k, 10]),
                hip + np.array([side * -26 * k, 0, -22]),
                hip + np.array([side * -34 * k, -20 * k, -30]),
            ]
            self._strand(canvas, inner, [(8 * k, 10 * k)] * 3)
            rear = [np.array([side * 44 * k, 62 * k, -64 * k]), hip + np.array([side * 30 * k, 40 * k, 10])]
            self._strand(canvas, rear, [(10 * k, 7 * k), (8 * k, 6 * k)])

    def _vessels(self, canvas: Canvas) -> None:
        """Aorta with arch and iliac arteries to the left, vena cava to the right, femoral vessels."""
        k, spine = self.k, self.spine
        wide = float(self.rng.uniform(0.85, 1.25))
        last = spine.levels[spine.traits.lumbar - 4]  # the aorta divides in front of L4
        fork = last.frame.to_patient((5 * k, -last.size.depth / 2 - 12 * k, -8))
        names = [
            lv
            for lv in spine.levels
            if lv.frame.centre[2] > fork[2] + 12 and lv.name[0] != "C" and lv.name not in ("T1", "T2", "T3", "T4")
        ]
        aorta, cava = [fork], [fork + np.array([-18 * k, 6 * k, -10])]
        for lv in names:
            thoracic = lv.name[0] == "T"
            left = np.interp(lv.frame.centre[2] - fork[2], [0, 120, 230], [7, 9, 22]) * k
            gap = 12 * k if not thoracic else np.interp(left, [9, 22], [12, 2])
            aorta.append(lv.frame.to_patient((left, -lv.size.depth / 2 - gap, 0)))
            if lv.frame.centre[2] < self.dome - 5:
                cava.append(lv.frame.to_patient((-19 * k, -lv.size.depth / 2 - 9 * k, 0)))
        t4 = spine.level("T4").frame.centre
        heart = np.array([20 * k, spine.level("T9").frame.centre[1] - 70 * k, self.dome + 52 * k])
        arch = [
            t4 + np.array([20 * k, -22 * k, 4]),
            t4 + np.array([4 * k, -50 * k, 14 * k]),
            t4 + np.array([-14 * k, -66 * k, -10 * k]),
            heart + np.array([-24 * k, 0, 34 * k]),
        ]
        path = np.array(aorta + arch)
        canvas.shapes(tube(path, np.interp(path[:, 2], [0, 300], [8.5, 13.0]) * k * wide), Tissue.ARTERY)
        cava.append(np.array([-26 * k, cava[-1][1] - 24 * k, self.dome + 30 * k]))
        canvas.shapes(tube(np.array(cava), 10.5 * k), Tissue.VEIN)
        canvas.shapes(
            tube(
                np.array([heart + np.array([-42 * k, 16 * k, 20 * k]), t4 + np.array([-20 * k, -52 * k, 30 * k])]),
                9 * k,
            ),
            Tissue.VEIN,
        )
        for side in (1, -1):
            hip = hip_centre(spine, side)
            groin = hip + np.array([side * -14 * k, -52 * k, 14 * k])
            way = [[side * 36 * k, 4, -16 * k], [side * 58 * k, -14 * k, -62 * k]]
            leg = groin + np.array([side * 4, 4, -110 * k])
            canvas.shapes(
                tube(np.array([fork, *way, groin, leg]), np.array([7, 6, 5.5, 5, 4.5]) * k * wide), Tissue.ARTERY
            )
            beside = [np.array(w) + np.array([side * -5 * k, 13 * k, 0]) for w in way]
            vein = [
                cava[0],
                *beside,
                groin + np.array([side * -13 * k, 3 * k, 0]),
                leg + np.array([side * -10 * k, 10, 0]),
            ]
            canvas.shapes(tube(np.array(vein), np.array([9, 7.5, 7, 6.5, 6]) * k), Tissue.VEIN)
            inner = [
                np.array(way[0]) + np.array([0, 4, 0]),
                np.array([side * 48 * k, 32 * k, -52 * k]),
                np.array([side * 42 * k, 40 * k, -95 * k]),
            ]
            canvas.shapes(tube(np.array(inner), np.array([5, 4, 3]) * k), Tissue.ARTERY)
            up = t4 + np.array([side * 22 * k, -44 * k, 40 * k])
            neck = spine.level("C5").frame.centre + np.array([side * 28 * k, -10 * k, 0])
            canvas.shapes(
                tube(np.array([t4 + np.array([side * 8 * k, -52 * k, 14 * k]), up, neck]), 4.0 * k), Tissue.ARTERY
            )
            canvas.shapes(
                tube(np.array([up + np.array([side * 6, -6, -20]), neck + np.array([side * 7, -6 * k, 0])]), 6.0 * k),
                Tissue.VEIN,
            )

    def _neck(self, canvas: Canvas) -> None:
        k = self.k
        c7 = self.spine.level("C7").frame.centre
        for side in (1, -1):
            lobe = Ellipsoid(c7 + np.array([side * 17 * k, -30 * k, -4]), (9 * k, 10 * k, 20 * k))
            canvas.shapes([lobe], Tissue.GLAND, within=(Tissue.MUSCLE, Tissue.FAT))

    def draw_outside(self, canvas: Canvas) -> None:
        """Arms at the sides and the table under the patient. To be drawn after the bones."""
        if self.traits.arms_down:
            self._arms(canvas)
        if self.traits.table != "none":
            self._table(canvas)

    def arm_axis(self, side: int) -> np.ndarray:
        """Shoulder, elbow and wrist of an arm lying at the side (3, 3) in mm."""
        k = self.k
        z2 = self.spine.level("T2").frame.centre[2]
        x, _, back, front = (float(v) for v in self.cage.at(z2 - 20))
        shoulder = np.array([x + side * 164 * k, 0.5 * (front + back) + 10, z2 - 12])
        elbow = shoulder + np.array([side * 42 * k, 10, -290 * k])
        return np.array([shoulder, elbow, elbow + np.array([-side * 10, -30, -286 * k])])

    def _arms(self, canvas: Canvas) -> None:
        for side in (1, -1):
            axis = self.arm_axis(side)
            for grow, tissue in (
                (9 + 0.4 * self.traits.fat, Tissue.SKIN),
                (7 + 0.4 * self.traits.fat, Tissue.FAT),
                (0, Tissue.MUSCLE),
            ):
                radii = np.array([44.0, 34.0, 24.0]) * self.k + grow
                within = (
                    (Tissue.AIR,)
                    if tissue == Tissue.SKIN
                    else (Tissue.SKIN, Tissue.FAT)
                    if tissue == Tissue.MUSCLE
                    else (Tissue.SKIN,)
                )
                canvas.shapes(tube(axis, radii), tissue, within=within)

    def _table(self, canvas: Canvas) -> None:
        """Mattress and a table top with a thin shell around foam, below the back."""
        grid = canvas.grid
        y, x = grid.axis(1)[:, None], grid.axis(2)[None, :]
        curve = 0.00085 if self.traits.table == "curved" else 0.0
        top = self.lowest + 1.0 - curve * x**2
        depth, wide = y - top, np.abs(x)
        for part, tissue in (
            ((depth > 0) & (depth < 14) & (wide < 205), Tissue.FOAM),
            ((depth > 15) & (depth < 42) & (wide < 220), Tissue.TABLE),
            ((depth > 18) & (depth < 39) & (wide < 217), Tissue.FOAM),
        ):
            allowed = (canvas.tissue == Tissue.AIR) | (canvas.tissue == Tissue.TABLE)
            canvas.tissue[allowed & part[None]] = tissue


def _rotation_z(degrees: float) -> np.ndarray:
    a = np.radians(degrees)
    return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1.0]])


def _rotation_y(degrees: float) -> np.ndarray:
    a = np.radians(degrees)
    return np.array([[np.cos(a), 0, np.sin(a)], [0, 1.0, 0], [-np.sin(a), 0, np.cos(a)]])
