"""The spine of one patient: where each vertebra lies and its bones, discs, canal and ligaments.

Patient coordinates are LPS mm with the origin in the middle of the sacral endplate: x left, y posterior, z up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicSpline

from SpineSegLib.engine.synthetic.canvas import Canvas, union
from SpineSegLib.engine.synthetic.implicit import WORLD, Frame, Limb, Patch
from SpineSegLib.engine.synthetic.tissues import Tissue
from SpineSegLib.engine.synthetic.vertebra import (
    NUMBERS,
    SACRUM,
    TYPICAL,
    Body,
    Dimensions,
    Joint,
    JointSpace,
    build,
    canal_centre,
)

# Masks drawn on CT reach to the half intensity of the blurred shell, a little outside the dry bone that was measured.
MASK_EDGE = 0.5  # mm
GAP = 1.2  # mm, the least distance between two vertebrae


@dataclass(frozen=True)
class SpineTraits:
    """What makes one spine differ from another.

    `size`: 1 for the average adult. `lordosis` L1-S1, `kyphosis` T1-T12 and `sacral_slope` in degrees, lying (Vialle et
    al., J Bone Joint Surg Am 2005;87:260-267, standing, less about 10 degrees). `cobb`: scoliosis in degrees, signed, 0
    for none; `apex`: level of its apex counted from S1. `lumbar`: number of lumbar vertebrae, 4 to 6.
    `disc_height`, `facet_gap`: factors, below 1 in degeneration. `spurs`: osteophytes in mm. `concavity`: hollow of the
    endplates in mm. `fractures`: name of a vertebra and the share of anterior height it lost. `seed` draws the small
    differences between vertebrae.
    """

    size: float = 1.0
    lordosis: float = 50.0
    kyphosis: float = 34.0
    sacral_slope: float = 36.0
    cobb: float = 0.0
    apex: float = 8.0
    lumbar: int = 5
    disc_height: float = 1.0
    facet_gap: float = 1.0
    spurs: float = 0.0
    concavity: float = 1.6
    fractures: tuple[tuple[str, float], ...] = ()
    seed: int = 0

    @classmethod
    def random(cls, rng: np.random.Generator, porotic: bool = False, **fixed: object) -> SpineTraits:
        """Draw a spine; `porotic` bones are often crushed and hollow; `fixed` sets fields that should not be drawn."""
        lordosis = float(np.clip(rng.normal(48, 10), 25, 70))
        curved = rng.random() < 0.3
        cobb = float(rng.choice([-1, 1]) * rng.uniform(8, 32)) if curved else float(rng.normal(0, 2.5))
        lumbar = int(rng.choice([4, 5, 6], p=[0.04, 0.92, 0.04]))
        worn = float(rng.beta(1.3, 2.0))
        names = [f"T{i}" for i in range(5, 13)] + [f"L{i}" for i in range(1, lumbar + 1)]
        count = int(rng.integers(1, 4)) if rng.random() < (0.5 if porotic else 0.06) else 0
        broken = rng.choice(len(names), count, replace=False)
        drawn: dict[str, object] = {
            "size": float(np.clip(rng.normal(1.0, 0.06), 0.86, 1.14)),
            "lordosis": lordosis,
            "kyphosis": float(np.clip(rng.normal(34, 8), 15, 55)),
            "sacral_slope": float(np.clip(0.5 * lordosis + 12 + rng.normal(0, 4), 20, 52)),
            "cobb": cobb,
            "apex": float(rng.uniform(3, 13)),
            "lumbar": lumbar,
            "disc_height": 1.1 - 0.4 * worn,
            "facet_gap": 1.15 - 0.55 * worn,
            "spurs": float(max(0.0, 5.5 * worn - 1.5) * rng.uniform(0.4, 1.0)),
            "concavity": float(rng.uniform(1.0, 2.2) + (1.2 if porotic else 0.0)),
            "fractures": tuple((names[i], float(rng.uniform(0.15, 0.5))) for i in sorted(broken)),
            "seed": int(rng.integers(2**31)),
        }
        return cls(**{**drawn, **fixed})


@dataclass(frozen=True)
class Level:
    """One vertebra in place."""

    name: str
    size: Dimensions
    frame: Frame

    @property
    def number(self) -> int:
        return NUMBERS[self.name]


class Spine:
    """Levels from S1 up to C3 with their joints, discs and the course of the canal.

    `levels` run upwards, L5 first. `sacrum` are the frames and sizes (width, depth, height) of S1 to S5.
    `canal`: (n, 3) centres of the canal from its lower end upwards, mm; `canal_radii`: (n, 2) half width and depth.
    """

    def __init__(self, traits: SpineTraits) -> None:
        self.traits = traits
        rng = np.random.default_rng([traits.seed, 11])
        names = [f"L{i}" for i in range(traits.lumbar, 0, -1)]
        names += [f"T{i}" for i in range(12, 0, -1)] + [f"C{i}" for i in range(7, 2, -1)]
        sizes = {name: self._dimensions(name, rng) for name in names}
        self.s1 = TYPICAL["S1"].scaled(traits.size)
        frames = self._place(names, sizes)
        self.levels = [Level(name, sizes[name], frame) for name, frame in zip(names, frames, strict=True)]
        self.sacrum = self._place_sacrum()
        self._joints = self._place_joints()
        self._place_canal()

    def _dimensions(self, name: str, rng: np.random.Generator) -> Dimensions:
        t = self.traits
        typical = TYPICAL[name]
        if name.startswith("L") and t.lumbar != 5:
            # Four or six lumbar vertebrae: the last one still looks like an L5, the first like an L1.
            typical = TYPICAL[f"L{round(1 + (int(name[1]) - 1) * 4 / (t.lumbar - 1))}"]
        vary = {
            f: getattr(typical, f) * float(np.exp(rng.normal(0, 0.035)))
            for f in ("height", "pedicle_width", "pedicle_height")
        }
        vary |= {
            f: getattr(typical, f) * float(np.exp(rng.normal(0, 0.08)))
            for f in ("span", "spinous_length", "spinous_height")
        }
        vary["spinous_fall"] = typical.spinous_fall * float(rng.uniform(0.8, 1.25))
        vary["disc"] = typical.disc * t.disc_height * float(np.exp(rng.normal(0, 0.1)))
        vary["facet_angle"] = typical.facet_angle + float(rng.normal(0, 3))
        lumbar = name[0] == "L"
        crush = dict(t.fractures).get(name, 0.0)
        return replace(
            typical.scaled(t.size),
            **{k: v * t.size if k not in ("facet_angle",) else v for k, v in vary.items()},
            concavity=t.concavity * (1.25 if lumbar else 0.8),
            spurs=t.spurs * float(rng.uniform(0.2, 1.0)) * (1.0 if lumbar else 0.6),
            crush=crush,
        )

    def tilt(self, place: np.ndarray | float) -> np.ndarray:
        """Forward tilt in degrees at `place`, the number of vertebrae above S1 (0 is the sacral endplate)."""
        t = self.traits
        n = t.lumbar
        back = t.lordosis - t.sacral_slope
        top = t.kyphosis - back
        at = [0, 1, 2, 0.62 * n, n, n + 1.5, n + 5, n + 9, n + 12, n + 13, n + 17]
        share = t.sacral_slope + back
        values = [
            t.sacral_slope, t.sacral_slope - 0.30 * share, t.sacral_slope - 0.58 * share, -0.1 * back, -0.9 * back,
            -back,
            -0.25 * back + 0.1 * top, 0.62 * top, top, 0.92 * top, 0.1 * top,
        ]  # fmt: skip
        return np.interp(place, at, values)

    def _bend(self, place: float) -> tuple[float, float]:
        """Sideways tilt and axial rotation in degrees of a vertebra (scoliosis with a compensating curve)."""
        t = self.traits
        s = (place - t.apex) / 3.2
        main = np.exp(-(s**2))
        # The tilt is the slope of the lateral shift; it is largest where the curve ends.
        side = -1.166 * t.cobb * s * main
        # The body turns to the convex side, about half the Cobb angle (Nash and Moe 1969).
        return float(side), float(0.45 * t.cobb * main)

    def _rotation(self, place: float) -> np.ndarray:
        side, turn = self._bend(place)
        return _turn(2, -turn) @ _turn(1, side) @ _turn(0, float(self.tilt(place)))

    def _place(self, names: list[str], sizes: dict[str, Dimensions]) -> list[Frame]:
        frames = []
        position = np.zeros(3)
        turn = self._rotation(0.0)
        for index, name in enumerate(names):
            size = sizes[name]
            below = size.disc
            here = self._rotation(index + 0.9)
            up = turn[:, 2] + here[:, 2]
            position = position + up / np.linalg.norm(up) * below
            # The body's middle is lower in front where the vertebra is crushed; the spine above leans forward a little.
            frames.append(Frame(position + here[:, 2] * size.height / 2, here))
            position = position + here[:, 2] * size.height
            turn = here
        return frames

    def _place_sacrum(self) -> list[tuple[Frame, np.ndarray]]:
        t = self.traits
        heights = np.array([29.0, 24.0, 20.0, 17.0, 15.0]) * t.size
        widths = np.array([48.0, 34.0, 28.0, 24.0, 21.0]) * t.size
        depths = np.array([31.0, 21.0, 15.0, 12.0, 10.0]) * t.size
        tilts = t.sacral_slope + np.array([4.0, 8.0, 2.0, -14.0, -34.0])
        parts = []
        position = np.zeros(3)
        base = self._rotation(0.0)
        for tilt, width, depth, height in zip(tilts, widths, depths, heights, strict=True):
            rotation = base @ _turn(0, float(tilt - t.sacral_slope))
            frame = Frame(position - rotation[:, 2] * height / 2, rotation)
            parts.append((frame, np.array([width, depth, height])))
            # The ventral faces are flush enough; keep the bodies in line at their backs.
            position = position - rotation[:, 2] * height
            if len(parts) == 1:
                position = position + rotation[:, 1] * 2.5 * t.size
        return parts

    def _frame_at(self, index: int) -> tuple[Frame, Dimensions]:
        """Frame and size of level `index`, -1 for S1."""
        if index < 0:
            frame, _ = self.sacrum[0]
            centre = -frame.rotation[:, 2] * self.s1.height / 2
            return Frame(centre, frame.rotation), self.s1
        level = self.levels[index]
        return level.frame, level.size

    def _place_joints(self) -> list[list[tuple[np.ndarray, np.ndarray, float]]]:
        """Left and right facet joint below each level: point and normal in patient space, reach in mm."""
        joints = []
        for index, level in enumerate(self.levels):
            lower, size = self._frame_at(index - 1)
            region = level.name[0]
            pair = []
            a, tilt = np.radians(size.facet_angle), np.radians(size.facet_tilt)
            depth = {"C": 0.42, "T": 0.86, "L": 0.9}[region]
            rise = {"C": 0.15 * level.size.disc, "T": 1.5, "L": 0.62 * level.size.disc}[region]
            for side in (1, -1):
                local = np.array(
                    [
                        side * size.facet_offset,
                        size.depth / 2 + depth * size.canal_depth,
                        size.height / 2 + rise,
                    ]
                )
                normal = np.array([-side * np.cos(a), np.sin(a) * np.cos(tilt), np.sin(tilt)])
                reach = {"C": 8.0, "T": 9.5, "L": 12.5}[region] * self.traits.size
                pair.append((lower.to_patient(local), lower.rotation @ normal, reach))
            joints.append(pair)
        return joints

    def joints(self, index: int, frame: Frame) -> list[Joint]:
        """Left and right joint below level `index` (0 is the lowest vertebra), in the coordinates of `frame`."""
        region = self.levels[min(index, len(self.levels) - 1)].name[0]
        gap = {"C": 0.6, "T": 0.6, "L": 0.95}[region] * self.traits.facet_gap
        if index >= len(self.levels):
            # Above the highest vertebra: as if another one followed.
            top = self.levels[-1]
            shift = top.frame.rotation[:, 2] * (top.size.height + top.size.disc)
            pair = [(p + shift, n, r) for p, n, r in self._joints[-1]]
        else:
            pair = self._joints[index]
        return [Joint(frame.from_patient(p), frame.rotation.T @ n, gap, r) for p, n, r in pair]

    def _place_canal(self) -> None:
        points, radii = [], []
        for (frame, size), share in zip(self.sacrum[::-1], (0.2, 0.32, 0.5, 0.72), strict=False):
            back = size[1] / 2 + 0.5 * share * self.s1.canal_depth * 0.9
            points.append(frame.to_patient((0, back, 0)))
            radii.append((0.5 * share * self.s1.canal_width * 0.9, 0.45 * share * self.s1.canal_depth))
        # The last pair belongs to S2; S1 follows, then the vertebrae.
        frame, size = self._frame_at(-1)
        points.append(frame.to_patient(canal_centre(size)))
        radii.append((size.canal_width / 2, size.canal_depth / 2))
        for level in self.levels:
            points.append(level.frame.to_patient(canal_centre(level.size)))
            radii.append((level.size.canal_width / 2, level.size.canal_depth / 2))
        top = self.levels[-1]
        points.append(points[-1] + top.frame.rotation[:, 2] * (top.size.height + top.size.disc) * 3)
        radii.append(radii[-1])
        points, radii = np.array(points), np.array(radii)
        fine = np.linspace(0, len(points) - 1, 4 * len(points))
        steps = np.arange(len(points))
        self.canal = CubicSpline(steps, points)(fine)
        self.canal_radii = np.stack([np.interp(fine, steps, r) for r in radii.T], -1)

    def canal_shapes(self, scale: float = 1.0, shift: float = 0.0) -> list[Limb]:
        """The canal as limbs; `scale` of its radii, `shift` mm to the back."""
        shapes = []
        for a, b, r in zip(self.canal[:-1], self.canal[1:], self.canal_radii[:-1] * scale, strict=True):
            shapes.append(
                Limb(a + np.array([0, shift, 0]), b + np.array([0, shift, 0]), (r[0], r[1]), across=(1, 0, 0))
            )
        return shapes

    def level(self, name: str) -> Level:
        """The level called `name` (KeyError where this spine has none)."""
        for level in self.levels:
            if level.name == name:
                return level
        raise KeyError(name)

    def middle(self, z: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """x and y of the line through the vertebral bodies at heights z."""
        points = [self.sacrum[4][0].centre, self.sacrum[2][0].centre, self.sacrum[0][0].centre]
        points = np.array(points + [level.frame.centre for level in self.levels])
        return np.interp(z, points[:, 2], points[:, 0]), np.interp(z, points[:, 2], points[:, 1])

    def draw_soft(self, canvas: Canvas) -> None:
        """Discs, canal with thecal sac and cord, interspinous ligaments. To be drawn before the bones."""
        grid = canvas.grid
        for index, level in enumerate(self.levels):
            lower, low_size = self._frame_at(index - 1)
            self._disc(canvas, lower, low_size, level)
            if level.name[0] != "C":
                low = lower.to_patient((0, low_size.depth / 2 + low_size.canal_depth + 12, 0))
                high = level.frame.to_patient((0, level.size.depth / 2 + level.size.canal_depth + 12, -4))
                canvas.shapes([Limb(low, high, (1.6, 8.0), across=(1, 0, 0))], Tissue.LIGAMENT)
        for shapes, tissue in (
            (self.canal_shapes(1.0), Tissue.FAT),
            (self.canal_shapes(0.88, -0.4), Tissue.CANAL),
        ):
            for shape in shapes:
                canvas.soft(union(grid, [shape]), tissue)
        cord_end = self.level("L1").frame.centre[2]
        for a, b, r in zip(self.canal[:-1], self.canal[1:], self.canal_radii[:-1], strict=True):
            if a[2] > cord_end and b[2] > a[2]:
                half = (
                    min(0.42 * r[0], 6.5 if a[2] > self.level("T2").frame.centre[2] else 4.6),
                    min(0.42 * r[1], 4.0),
                )
                canvas.shapes([Limb(a, b, half, across=(1, 0, 0))], Tissue.CORD)

    def _disc(self, canvas: Canvas, lower: Frame, low_size: Dimensions, level: Level) -> None:
        bottom = lower.to_patient((0, 0, low_size.height / 2))
        top = level.frame.to_patient((0, 0, -level.size.height / 2))
        rotation = _orthonormal(lower.rotation + level.frame.rotation)
        middle = 0.5 * (bottom + top)
        width = 0.5 * (low_size.width + level.size.width)
        depth = 0.5 * (low_size.depth + level.size.depth)
        height = float(np.linalg.norm(top - bottom))
        disc = replace(
            level.size,
            width=width,
            depth=depth,
            height=height + 9,
            wedge=0.0,
            crush=0.0,
            concavity=0.0,
            spurs=0.0,
            waist=-0.02,
        )
        canvas.shapes([Body(disc)], Tissue.DISC, Frame(middle, rotation))

    def draw_bones(self, canvas: Canvas) -> None:
        """Sacrum with coccyx and all vertebrae, each at least a voxel away from its neighbour."""
        rng = np.random.default_rng([self.traits.seed, 12])
        canal = self.canal_shapes()
        previous = self._sacrum_patch(canvas, canal, rng)
        canvas.bone(previous, Tissue.SACRUM, SACRUM)
        for index, level in enumerate(self.levels):
            s = level.size
            half = s.span / 2 + 6
            rear = s.depth / 2 + s.canal_depth + s.spinous_length + 10
            deep = s.height / 2 + max(s.spinous_fall + s.spinous_height / 2 + 4, s.disc + 16)
            low, high = (-half, -s.depth / 2 - s.spurs - 5, -deep), (half, rear, s.height / 2 + s.disc + 18)
            patch = Patch(canvas.grid, level.frame, low, high)
            patch.roughen(rng, 0.7)
            if patch.empty:
                previous = patch
                continue
            above, below = self.joints(index + 1, level.frame), self.joints(index, level.frame)
            build(patch, level.name, s, above, below)
            patch.distance -= np.float32(MASK_EDGE)
            for joint in above:
                patch.cut(JointSpace(joint, 1))
            for joint in below:
                patch.cut(JointSpace(joint, -1))
            patch.keep_away(union(canvas.grid, _near(canal, patch)), 0.0)
            patch.keep_away(previous, GAP)
            canvas.bone(patch, Tissue.VERTEBRA, level.number)
            previous = patch

    def _sacrum_patch(self, canvas: Canvas, canal: list[Limb], rng: np.random.Generator) -> Patch:
        t = self.traits
        k = t.size
        tail = self.sacrum[4][0].to_patient((0, 0, -self.sacrum[4][1][2] / 2 - 45 * k))
        low = np.array([-66 * k, min(-25 * k, tail[1] - 10), tail[2] - 10])
        patch = Patch(canvas.grid, WORLD, low, (66 * k, 110 * k, 45 * k))
        patch.roughen(rng, 0.8)
        if patch.empty:
            return patch
        crest = []
        for index, (frame, (width, depth, height)) in enumerate(self.sacrum):
            place = frame.to_patient
            half = np.array([width, depth, height]) / 2
            body = replace(
                self.s1,
                width=width,
                depth=depth,
                height=height + (1.0 if index == 0 else 3.0),
                wedge=0,
                concavity=1.0,
                waist=0.08,
            )
            if index == 0:
                body = replace(body, height=height)
            self._add_in(patch, frame, Body(body))
            wing = (50, 43, 34, 26, 20)[index] * k
            thick = (16, 13, 9, 6, 5)[index] * k
            tall = (0.58 if index == 0 else 0.66) * height
            rear = half[1] + (4, 4, 3, 2, 0)[index] * k
            for side in (1, -1):
                start, end = place((side * half[0] * 0.7, 2, 0)), place((side * (wing - thick * 0.8), rear * 0.55, 0))
                patch.add(
                    Limb(start, end, (tall, thick * 0.8), across=frame.rotation[:, 2], end_radii=(tall, thick)), 4.0
                )
            deep = half[1] + self.s1.canal_depth * (0.9, 0.72, 0.5, 0.32, 0.2)[index] + (5, 4.5, 4, 3, 2)[index] * k
            crest.append((place((0, deep, 0)), wing, half[1]))
            if index < 4:
                # Posterior wall between the lateral masses.
                for side in (1, -1):
                    outer = place((side * wing * 0.62, deep - (5, 4, 3, 2)[index] * k, 0))
                    patch.add(Limb(crest[-1][0], outer, (0.62 * height, 3.4 * k), across=frame.rotation[:, 2]), 3.0)
        for (a, *_), (b, *_), half in zip(crest[:3], crest[1:4], (9.0, 7.0, 4.0), strict=True):
            patch.add(
                Limb(
                    a + np.array([0, 3.5 * k, 0]),
                    b + np.array([0, 2.5 * k, 0]),
                    (3.0 * k, half * 0.8 * k),
                    across=(1, 0, 0),
                ),
                3.0,
            )
        self._lateral_masses(patch)
        self._coccyx(patch)
        frame, _ = self._frame_at(-1)
        above = self.joints(0, frame)
        for joint, side in zip(above, (1, -1), strict=True):
            seat = frame.to_patient(joint.point - joint.normal * 4.6)
            up = frame.rotation[:, 2]
            foot = frame.to_patient((side * 22 * k, self.s1.depth / 2 + 6, 0))
            across = frame.rotation @ np.cross(joint.normal, [0, 0, 1.0])
            patch.add(
                Limb(foot, seat + up * 4 * k, (7.0 * k, 5.0 * k), across=across, end_radii=(6.0 * k, 4.2 * k)), 2.5
            )
            world = Joint(frame.to_patient(joint.point), frame.rotation @ joint.normal, joint.half_gap, joint.reach)
            patch.cut(JointSpace(world, 1))
        for index in range(4):
            upper, (width, _, height) = self.sacrum[index]
            _, (low_width, *_) = self.sacrum[index + 1]
            for side in (1, -1):
                mid = 0.25 * (width + low_width) + 3.0 * k
                front = upper.to_patient((side * (mid + 1), -28 * k, -height / 2))
                behind = upper.to_patient((side * mid, 45 * k, -height / 2))
                r = (5.6, 5.2, 4.4, 3.4)[index] * k
                patch.cut(Limb(front, behind, (r, r * 0.95), across=(1, 0, 0)), 2.0)
        hollow = union(patch.grid, _near(canal[: 4 * 6 + 4], patch))
        patch.keep_away(hollow, 0.0)
        return patch

    def _lateral_masses(self, patch: Patch) -> None:
        """The fused transverse elements, which bear the auricular surfaces above and taper below."""
        k = self.traits.size
        wings = ((43, 13.0, 14.0), (37, 11.5, 12.0), (29, 8.5, 9.0), (22, 5.5, 7.0), (16, 4.0, 5.0))
        for side in (1, -1):
            for index in range(4):
                (a, size_a), (b, size_b) = self.sacrum[index], self.sacrum[index + 1]
                x, thick, wide = np.array(wings[index]) * k
                x2, thick2, wide2 = np.array(wings[index + 1]) * k
                start = a.to_patient((side * x, 0.28 * size_a[1], 0))
                end = b.to_patient((side * x2, 0.28 * size_b[1], 0))
                patch.add(Limb(start, end, (wide, thick), across=(1, 0, 0), end_radii=(wide2, thick2)), 3.0)

    def _coccyx(self, patch: Patch) -> None:
        k = self.traits.size
        frame, (_, _, height) = self.sacrum[4]
        position = frame.to_patient((0, 0, -height / 2))
        for tilt, length, width in ((-15.0, 12.0, 9.0), (-28.0, 10.0, 6.5), (-40.0, 9.0, 4.5)):
            rotation = frame.rotation @ _turn(0, tilt)
            end = position - rotation[:, 2] * length * k
            patch.add(
                Limb(
                    position - rotation[:, 2] * 2,
                    end,
                    (width * k, 4.5 * k),
                    across=(1, 0, 0),
                    end_radii=(width * 0.8 * k, 3.5 * k),
                ),
                1.0,
            )
            position = end - rotation[:, 2] * 1.0

    @staticmethod
    def _add_in(patch: Patch, frame: Frame, shape: Body) -> None:
        """Add a shape given in another frame than the patch's."""
        own = union(patch.grid, [shape], frame)
        if own.empty:
            return
        mine, theirs = patch.overlap(own)
        if mine is not None:
            patch.distance[mine] = np.minimum(patch.distance[mine], own.distance[theirs])


def _near(shapes: list[Limb], patch: Patch) -> list[Limb]:
    """The shapes whose boxes touch the patch's part of the grid."""
    origin, spacing = np.array(patch.grid.origin), patch.grid.spacing
    low = origin + np.array([patch.where[i].start * spacing for i in (2, 1, 0)])
    high = origin + np.array([patch.where[i].stop * spacing for i in (2, 1, 0)])
    chosen = [s for s in shapes if np.all(s.bounds()[0] < high) and np.all(s.bounds()[1] > low)]
    return chosen or shapes[:1]


def _turn(axis: int, degrees: float) -> np.ndarray:
    """Rotation matrix about x (0), y (1) or z (2); about x a positive angle tilts the top forwards."""
    a = np.radians(degrees)
    c, s = np.cos(a), np.sin(a)
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    matrix = np.eye(3)
    matrix[[i, j], [i, j]] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def _orthonormal(matrix: np.ndarray) -> np.ndarray:
    u, _, v = np.linalg.svd(matrix)
    return u @ v
