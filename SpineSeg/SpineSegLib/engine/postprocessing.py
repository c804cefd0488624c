"""Tidying a segmentation of the spine: single slices that differ, islands, holes and patches with the wrong label.

Works on the probabilities of the working grid, so that the way back to the CT's own grid stays the only place where
voxels are decided: what is removed gets probability 0, what is filled 1. Linear interpolation and averaging never
exceed the values they start from, so a removed island can't come back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from SpineSegLib.engine.parts import Parts
from SpineSegLib.engine.stored_labels import Box, foreground, foreground_box

ROWS = 32  # rows smoothed at once


@dataclass(frozen=True)
class Tidying:
    """Sizes in mm³ and mm.

    A part smaller than `island` goes. Parts within `near` of each other form a group, as the vertebrae of a spine do; a
    group apart from the largest one goes if it is smaller than `far_island` or than `far_share` of the largest group
    (femoral heads, ribs, sternum). Holes enclosed on all sides are filled up to `hole`. A patch of one label smaller
    than `patch` within others takes the label around it. `along`: standard deviation in mm of a smoothing along the
    body first: the network judges each slice on its own, so that noise opens holes in single slices; slices of 2 mm and
    more hardly change.
    """

    island: float = 300.0
    far_island: float = 10_000.0
    far_share: float = 0.25
    near: float = 15.0
    hole: float = 500.0
    patch: float = 2_000.0
    along: float = 0.8


def tidy(
    probabilities: np.ndarray,
    spacing: tuple[float, float, float],
    threshold: float,
    settings: Tidying | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Tidy uint8 probabilities (labels, z, y, x; 255 is 1) in place. `spacing`: mm in z, y, x.

    The largest group stays, however small the field of view; where every part is smaller than `island`, nothing does.
    `check` is called between the steps and may raise.
    """
    settings = settings or Tidying()
    box = foreground_box(probabilities, threshold)
    if box is None:
        return
    inner = probabilities[:, box[0], box[1], box[2]]
    if settings.along > 0:
        for label in inner:
            _smooth_along(label, settings.along / spacing[0])
            check()
    voxel = float(np.prod(spacing))
    inside = np.empty(inner.shape[1:], dtype=bool)
    for z, plane in enumerate(inside):
        plane[...] = foreground(inner[:, z], threshold)
    parts = Parts.of(inside, corners=True)
    check()
    islands = parts.voxels_of(~_kept(parts, spacing, settings))
    inner[:, *islands] = 0
    inside[islands] = False
    check()
    if len(inner) > 1:
        _relabel_patches(inner, inside, settings.patch / voxel, check)
    _fill_holes(inner, inside, settings.hole / voxel)


def _smooth_along(label: np.ndarray, sigma: float) -> None:
    """Gaussian smoothing of a label's probabilities (z, y, x) along z by `sigma` slices, in place."""
    for first in range(0, label.shape[1], ROWS):
        rows = label[:, first : first + ROWS]
        y, x = np.nonzero(rows.any(axis=0))  # most columns hold nothing
        smooth = ndimage.gaussian_filter1d(rows[:, y, x].astype(np.float32), sigma, axis=0, mode="nearest")
        rows[:, y, x] = np.round(smooth)


def _kept(parts: Parts, spacing: tuple[float, float, float], settings: Tidying) -> np.ndarray:
    """Which parts (count,) belong to the spine."""
    volume = parts.sizes * float(np.prod(spacing))
    kept = volume >= settings.island
    if np.count_nonzero(kept) > 1:
        candidates = np.flatnonzero(kept)
        group = _groups([parts.voxels(part) for part in candidates], spacing, settings.near)
        total = np.bincount(group, weights=volume[candidates])
        large = total >= max(settings.far_island, settings.far_share * total.max())
        large[total.argmax()] = True
        kept[candidates] = large[group]
    return kept


def _groups(places: list[tuple[np.ndarray, ...]], spacing: tuple[float, float, float], near: float) -> np.ndarray:
    """The number of the group that each part is in. `places`: the z, y and x of the parts' voxels."""
    group = np.arange(len(places))
    surfaces = [_surface(place) * spacing for place in places]
    below = np.nextafter(near, np.inf)
    low, high = (np.array([end(surface, axis=0) for surface in surfaces]) for end in (np.min, np.max))
    for one, other in combinations(range(len(places)), 2):
        if group[one] != group[other]:
            # only where the other one can be near
            first, second = (
                surfaces[a][np.all((surfaces[a] >= low[b] - near) & (surfaces[a] <= high[b] + near), axis=1)]
                for a, b in ((one, other), (other, one))
            )
            if len(first) and len(second) and KDTree(first).query(second, distance_upper_bound=below)[0].min() < below:
                group[group == group[other]] = group[one]
    return np.unique(group, return_inverse=True)[1]


def _surface(place: tuple[np.ndarray, ...]) -> np.ndarray:
    """Of voxels, given by their z, y and x, the indices (n, 3) of those with a neighbour that isn't one of them."""
    voxels = np.stack(place, axis=1)
    corner = voxels.min(axis=0) - 1
    mask = np.zeros(voxels.max(axis=0) - corner + 2, dtype=bool)
    mask[tuple((voxels - corner).T)] = True
    inner = mask[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for step in (-1, 1):
            inner &= np.roll(mask, step, axis)[1:-1, 1:-1, 1:-1]
    return voxels[~inner[tuple((voxels - corner - 1).T)]]


def _relabel_patches(inner: np.ndarray, inside: np.ndarray, smallest: float, check: Callable[[], None]) -> None:
    """Give parts of a label with fewer than `smallest` voxels, other than its largest, the label they touch most."""
    at = np.nonzero(inside)
    best = np.zeros(inside.shape, dtype=np.uint8)
    best[at] = np.argmax(inner[:, *at], axis=0) + 1
    for label in range(1, len(inner) + 1):
        check()
        here = best[at] == label
        if not here.any():
            continue
        box = tuple(slice(int(n[here].min()), int(n[here].max()) + 1) for n in at)
        parts = Parts.of(best[box] == label, corners=True)
        small = parts.sizes < smallest
        small[parts.sizes.argmax()] = False
        for part in np.flatnonzero(small):
            place = tuple(n + along.start for n, along in zip(parts.voxels(part), box, strict=True))
            near, patch = _cut_out(place, inside.shape)
            touched = best[near][ndimage.binary_dilation(patch) & ~patch]
            counts = np.bincount(touched, minlength=len(inner) + 1)
            counts[[0, label]] = 0
            if counts.any():
                other = int(counts.argmax())
                inner[label - 1, *place], inner[other - 1, *place] = inner[other - 1, *place], inner[label - 1, *place]
                best[place] = other


def _fill_holes(inner: np.ndarray, inside: np.ndarray, largest: float) -> None:
    """Fill background of at most `largest` voxels that reaches no face of the box, as what it touches most."""
    holes = Parts.of(inside, corners=False, value=False)
    for hole in np.flatnonzero((holes.sizes <= largest) & ~holes.at_faces()):
        place = holes.voxels(hole)
        near, where = _cut_out(place, inside.shape)
        around = ndimage.binary_dilation(where) & ~where
        label = int(np.bincount(np.argmax(inner[:, *near][:, around], axis=0)).argmax())
        inner[:, *place] = 0
        inner[label, *place] = 255


def _cut_out(place: tuple[np.ndarray, ...], shape: tuple[int, ...]) -> tuple[Box, np.ndarray]:
    """The box around voxels, given by their z, y and x, with one voxel more on each side, and which in it they are."""
    box = tuple(
        slice(max(0, int(n.min()) - 1), min(size, int(n.max()) + 2)) for n, size in zip(place, shape, strict=True)
    )
    mask = np.zeros([along.stop - along.start for along in box], dtype=bool)
    mask[tuple(n - along.start for n, along in zip(place, box, strict=True))] = True
    return box, mask
