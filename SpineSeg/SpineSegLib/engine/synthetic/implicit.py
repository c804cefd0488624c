"""Signed distances of simple solids, evaluated only where a structure lies in the voxel grid.

Distances are in mm, negative inside. Points are given as three arrays (u, v, w): left, posterior and up, either of the
patient (LPS) or of a structure's own frame. Distances are exact for spheres and round capsules, and of first order near
the surface for the rest (f / |grad f|; I. Quilez, "Ellipsoid - distance", iquilezles.org/articles/ellipsoids).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

FAR = np.float32(1e3)
Slices = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid:
    """Isotropic voxel grid with axes z, y, x: z ascending to the head, y to the back, x to the left (LPS, identity).

    `shape` is (z, y, x), `spacing` in mm, `origin` the centre of voxel (0, 0, 0) as (x, y, z) in mm.
    """

    shape: tuple[int, int, int]
    spacing: float
    origin: tuple[float, float, float]

    def axis(self, dimension: int, part: slice = slice(None)) -> np.ndarray:
        """Coordinates in mm (float64) along array dimension 0 (z), 1 (y) or 2 (x)."""
        return (np.arange(self.shape[dimension]) * self.spacing + self.origin[2 - dimension])[part]

    def region(self, low: Sequence[float], high: Sequence[float]) -> Slices | None:
        """Voxels within the box from `low` to `high` ((x, y, z), mm), or None where that is outside the grid."""
        parts = []
        for dimension in range(3):
            first = (low[2 - dimension] - self.origin[2 - dimension]) / self.spacing
            last = (high[2 - dimension] - self.origin[2 - dimension]) / self.spacing
            part = slice(max(0, int(np.ceil(first))), min(self.shape[dimension], int(np.floor(last)) + 1))
            if part.start >= part.stop:
                return None
            parts.append(part)
        return parts[0], parts[1], parts[2]


@dataclass(frozen=True)
class Frame:
    """A structure's own axes: `centre` (x, y, z) in mm, columns of `rotation` are its left, posterior and up."""

    centre: np.ndarray
    rotation: np.ndarray

    def to_patient(self, points: np.ndarray | Sequence[float]) -> np.ndarray:
        """Points (..., 3) of the frame (u, v, w) as LPS coordinates."""
        return self.centre + np.asarray(points, float) @ self.rotation.T

    def from_patient(self, points: np.ndarray | Sequence[float]) -> np.ndarray:
        """LPS points (..., 3) as (u, v, w) of this frame."""
        return (np.asarray(points, float) - self.centre) @ self.rotation


WORLD = Frame(np.zeros(3), np.eye(3))


class Shape(Protocol):
    """A solid with a bounding box and a signed distance."""

    def bounds(self) -> tuple[np.ndarray, np.ndarray]: ...

    def distance(self, u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Ellipsoid:
    """Ellipsoid along the frame's axes; `centre` and `radii` are (u, v, w) in mm."""

    centre: Sequence[float]
    radii: Sequence[float]

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        return np.subtract(self.centre, self.radii), np.add(self.centre, self.radii)

    def distance(self, u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        axes = [(p - np.float32(c)) for p, c in zip((u, v, w), self.centre, strict=True)]
        return _scaled(axes, [np.float32(r) for r in self.radii], min(self.radii), max(self.radii))


@dataclass(frozen=True)
class Limb:
    """Capsule with an elliptic, tapering section from `start` to `end`.

    `radii` and `end_radii` are (half axis along `across`, half axis perpendicular to it) in mm; `across` need not be
    exactly perpendicular to the limb. Without `across` the section is round and only the first half axis counts.
    """

    start: Sequence[float]
    end: Sequence[float]
    radii: tuple[float, float]
    across: Sequence[float] | None = None
    end_radii: tuple[float, float] | None = None

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        reach = max(*self.radii, *(self.end_radii or self.radii))
        ends = np.array([self.start, self.end], float)
        return ends.min(0) - reach, ends.max(0) + reach

    def distance(self, u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        start, end = np.asarray(self.start, float), np.asarray(self.end, float)
        length = float(np.linalg.norm(end - start))
        along = (end - start) / length
        guess = np.asarray(self.across if self.across is not None else (1.0, 0.3, 0.2), float)
        first = guess - along * (guess @ along)
        first /= np.linalg.norm(first)
        second = np.cross(along, first)
        t = _project(u, v, w, along, start)
        inside = np.clip(t, 0, np.float32(length))
        begin, finish = self.radii, self.end_radii or self.radii
        share = inside / np.float32(length)
        if self.across is None:
            radius = begin[0] + share * np.float32(finish[0] - begin[0])
            total = _project(u, v, w, first, start) ** 2 + _project(u, v, w, second, start) ** 2 + (t - inside) ** 2
            return np.sqrt(total) - radius
        radii = [np.float32(a) + share * np.float32(b - a) for a, b in zip(begin, finish, strict=True)]
        axes = [_project(u, v, w, first, start), _project(u, v, w, second, start), t - inside]
        cap = np.minimum(radii[0], radii[1])
        every = (*begin, *finish)
        return _scaled(axes, [*radii, cap], min(every), max(every))


def _project(u: np.ndarray, v: np.ndarray, w: np.ndarray, axis: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Coordinate of the points along `axis` measured from `start`, mm float32."""
    a = axis.astype(np.float32)
    return u * a[0] + v * a[1] + w * a[2] - np.float32(axis @ start)


def _scaled(axes: list, radii: list, smallest: float, largest: float) -> np.ndarray:
    """First-order distance to the ellipsoid with these half axes (which may vary slowly in space)."""
    ratios = [a / r for a, r in zip(axes, radii, strict=True)]
    q = np.sqrt(sum(ratio * ratio for ratio in ratios))
    slope = np.sqrt(sum((ratio / r) ** 2 for ratio, r in zip(ratios, radii, strict=True)))
    return (q - 1) * np.clip(q / np.maximum(slope, np.float32(1e-6)), np.float32(smallest), np.float32(largest))


def smooth_min(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    """Union of two distances with a fillet about `blend` mm wide (quadratic polynomial)."""
    if blend <= 0:
        return np.minimum(a, b)
    h = np.maximum(np.float32(blend) - np.abs(a - b), 0)
    return np.minimum(a, b) - h * h * np.float32(0.25 / blend)


class Patch:
    """Signed distance on the part of `grid` around one structure, filled by adding and cutting shapes.

    `low` and `high` bound the structure in its own frame. `distance` is float32 (z, y, x) on the voxels
    `where` of the grid; u, v, w are the voxels' coordinates in the frame. `empty` is True where the structure lies
    outside the grid.
    """

    def __init__(self, grid: Grid, frame: Frame, low: Sequence[float], high: Sequence[float]) -> None:
        self.grid = grid
        self.frame = frame
        where = grid.region(*self._patient_box(low, high))
        self.empty = where is None
        if where is None:
            return
        self.where = where
        z, y, x = (grid.axis(d, where[d]) - frame.centre[2 - d] for d in range(3))
        r = frame.rotation
        self.u, self.v, self.w = (
            (
                (z * r[2, i]).astype(np.float32)[:, None, None]
                + (y * r[1, i]).astype(np.float32)[None, :, None]
                + (x * r[0, i]).astype(np.float32)[None, None, :]
            )
            for i in range(3)
        )
        self.distance = np.full(self.u.shape, FAR, np.float32)

    def _patient_box(self, low: Sequence[float], high: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), -1).reshape(-1, 3)
        points = self.frame.to_patient(corners)
        return points.min(0), points.max(0)

    def part(self, low: Sequence[float], high: Sequence[float]) -> Slices | None:
        """Voxels of the patch within a box of the frame, or None."""
        if self.empty:
            return None
        region = self.grid.region(*self._patient_box(low, high))
        if region is None:
            return None
        parts = []
        for inner, outer in zip(region, self.where, strict=True):
            part = slice(max(inner.start, outer.start) - outer.start, min(inner.stop, outer.stop) - outer.start)
            if part.start >= part.stop:
                return None
            parts.append(part)
        return parts[0], parts[1], parts[2]

    def _near(self, shape: Shape, margin: float) -> tuple[Slices, np.ndarray] | None:
        low, high = shape.bounds()
        part = self.part(np.subtract(low, margin), np.add(high, margin))
        return None if part is None else (part, shape.distance(self.u[part], self.v[part], self.w[part]))

    def add(self, shape: Shape, blend: float = 0.0) -> None:
        """Unite with `shape`, filleted over `blend` mm."""
        near = self._near(shape, max(3.0, blend))
        if near is not None:
            part, distance = near
            self.distance[part] = smooth_min(self.distance[part], distance, blend)

    def cut(self, shape: Shape, blend: float = 0.0) -> None:
        """Remove `shape`, the edge rounded over `blend` mm."""
        near = self._near(shape, max(3.0, blend))
        if near is not None:
            part, distance = near
            self.distance[part] = -smooth_min(-self.distance[part], distance, blend)

    def overlap(self, other: Patch) -> tuple[Slices, Slices] | tuple[None, None]:
        """The voxels both patches cover, as slices into this one's and into the other's arrays."""
        mine, theirs = [], []
        for a, b in zip(self.where, other.where, strict=True):
            start, stop = max(a.start, b.start), min(a.stop, b.stop)
            if start >= stop:
                return None, None
            mine.append(slice(start - a.start, stop - a.start))
            theirs.append(slice(start - b.start, stop - b.start))
        return (mine[0], mine[1], mine[2]), (theirs[0], theirs[1], theirs[2])

    def keep_away(self, other: Patch, gap: float) -> None:
        """Leave at least `gap` mm between this structure and `other`."""
        if self.empty or other.empty:
            return
        mine, theirs = self.overlap(other)
        if mine is not None:
            self.distance[mine] = np.maximum(self.distance[mine], np.float32(gap) - other.distance[theirs])

    def roughen(self, rng: np.random.Generator, amplitude: float, grain: float = 14.0) -> None:
        """Bend the frame's coordinates by smooth waves (`grain` to 3 `grain` mm long): no two structures look alike."""
        waves = rng.uniform(grain, 3 * grain, (3, 3)), rng.uniform(0, 2 * np.pi, (3, 3))
        if self.empty:
            return
        lengths, phases = (wave.astype(np.float32) for wave in waves)
        points = (self.u, self.v, self.w)
        moved = []
        for i, p in enumerate(points):
            a, b = points[(i + 1) % 3], points[(i + 2) % 3]
            wave = np.sin(a * (2 * np.pi / lengths[i, 0]) + phases[i, 0])
            wave += np.sin(b * (2 * np.pi / lengths[i, 1]) + phases[i, 1])
            moved.append((p + wave * np.float32(amplitude / 2)).astype(np.float32))
        self.u, self.v, self.w = moved


def tube(points: np.ndarray, radii: np.ndarray | float) -> list[Limb]:
    """Round capsules along a polyline: `points` (n, 3) in mm, `radii` (n,) or one radius in mm."""
    r = np.broadcast_to(np.asarray(radii, float), (len(points),))
    return [
        Limb(points[i], points[i + 1], (r[i], r[i]), end_radii=(r[i + 1], r[i + 1]))
        for i in range(len(points) - 1)
        if np.linalg.norm(points[i + 1] - points[i]) > 1e-6
    ]
