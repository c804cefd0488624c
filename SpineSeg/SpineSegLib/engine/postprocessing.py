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
from SpineSegLib.engine.probabilities import Box, Probabilities, foreground, most_probable

SLICES = 16  # smoothed at once


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
    margin: int = 1,
) -> None:
    """Tidy uint8 probabilities (labels, z, y, x; 255 is 1) in place. `spacing`: mm in z, y, x.

    Only the foreground and `margin` pixels around it are tidied.

    The largest group stays, however small the field of view; where every part is smaller than `island`, nothing does.
    `check` is called between the steps and may raise.
    """
    settings = settings or Tidying()
    found = Probabilities(probabilities, threshold)
    for z in range(probabilities.shape[1]):
        found.look(z, *(slice(0, n) for n in probabilities.shape[2:]))
    box = found.box(slice(0, probabilities.shape[1]), 1)
    if box is None:
        return
    inner = found.part(*box)
    if settings.along > 0:
        _smooth_along(found, box[0], settings.along / spacing[0], margin)
        check()
    voxel = float(np.prod(spacing))
    inside = np.empty(inner.shape[1:], dtype=bool)
    for z, plane in enumerate(inside):
        plane[...] = foreground(inner[:, z], threshold)
    parts = Parts.of(inside, inside.shape, corners=True)
    check()
    kept = _kept(parts, spacing, settings)
    islands = parts.voxels_of(~kept)
    inner[:, *islands] = 0
    inside[islands] = False
    check()
    if len(inner) > 1:
        _relabel_patches(inner, inside, settings.patch / voxel, check)
    _fill_holes(inner, inside, settings.hole / voxel)


def _smooth_along(probabilities: Probabilities, along: slice, sigma: float, margin: int) -> None:
    """Gaussian smoothing of the slices `along` by `sigma` slices, in place, up to `margin` pixels from foreground."""
    reach = int(4 * sigma + 0.5)  # slices further away weigh nothing
    smoothed = []
    for first in range(along.start, along.stop, SLICES):
        last = min(first + SLICES, along.stop)
        near = slice(max(along.start, first - reach), min(along.stop, last + reach))
        box = probabilities.box(near, margin)
        if box is None:
            continue
        these = slice(first - near.start, last - near.start)
        for label in probabilities.part(near, *box[1:]):
            y, x = np.nonzero(label.any(axis=0))  # most columns hold nothing
            columns = label[:, y, x].astype(np.float32)
            smooth = ndimage.gaussian_filter1d(columns, sigma, axis=0, mode="nearest", radius=reach)[these]
            smoothed.append((label[these], y, x, np.round(smooth).astype(np.uint8)))
    for slices, y, x, values in smoothed:  # only now, as their neighbours had to be as they were
        slices[:, y, x] = values


def _kept(parts: Parts, spacing: tuple[float, float, float], settings: Tidying) -> np.ndarray:
    """Which parts (count,) belong to the spine."""
    volume = parts.sizes * float(np.prod(spacing))
    kept = volume >= settings.island
    if np.count_nonzero(kept) > 1:
        candidates = np.flatnonzero(kept)
        group = _groups(parts, candidates, spacing, settings.near)
        total = np.bincount(group, weights=volume[candidates])
        large = total >= max(settings.far_island, settings.far_share * total.max())
        large[total.argmax()] = True
        kept[candidates] = large[group]
    return kept


def _groups(parts: Parts, chosen: np.ndarray, spacing: tuple[float, float, float], near: float) -> np.ndarray:
    """The number of the group that each of the `chosen` parts is in."""
    group = np.arange(len(chosen))
    below = np.nextafter(near, np.inf)
    reach = np.ceil(near / np.array(spacing)).astype(int)  # voxels
    low, high = (end[chosen] for end in parts.bounds())
    for one, other in combinations(range(len(chosen)), 2):
        apart = np.any((low[one] > high[other] + reach) | (low[other] > high[one] + reach))
        if group[one] != group[other] and not apart:
            # only where the other one can be near
            pairs = (one, other), (other, one)
            cuts = (_within(parts, chosen[a], low[b] - reach, high[b] + reach) for a, b in pairs)
            first, second = (_surface(cut) * spacing for cut in cuts)
            if len(first) and len(second) and KDTree(first).query(second, distance_upper_bound=below)[0].min() < below:
                group[group == group[other]] = group[one]
    return np.unique(group, return_inverse=True)[1]


def _within(parts: Parts, part: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Of a part's voxels the indices (n, 3) of those from `low` to `high`."""
    voxels = np.stack(parts.voxels(part, low[0], high[0] + 1), axis=1)
    return voxels[np.all((voxels >= low) & (voxels <= high), axis=1)]


def _surface(voxels: np.ndarray) -> np.ndarray:
    """Of voxels, given by their indices (n, 3), those with a neighbour that isn't one of them."""
    if not len(voxels):
        return voxels
    corner = voxels.min(axis=0) - 1
    mask = np.zeros(voxels.max(axis=0) - corner + 2, dtype=bool)
    mask[tuple((voxels - corner).T)] = True
    enclosed = mask[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for start in (0, 2):
            neighbours = [slice(1, -1)] * 3
            neighbours[axis] = slice(start, start + enclosed.shape[axis])
            enclosed &= mask[tuple(neighbours)]
    return voxels[~enclosed[tuple((voxels - corner - 1).T)]]


def _relabel_patches(inner: np.ndarray, inside: np.ndarray, smallest: float, check: Callable[[], None]) -> None:
    """Give parts of a label with fewer than `smallest` voxels, other than its largest, the label they touch most.

    `inside`: the foreground (z, y, x).
    """
    best = np.empty(inside.shape, np.uint8)
    for z, plane in enumerate(inside):
        np.multiply(most_probable(inner[:, z]) + np.uint8(1), plane, out=best[z])
    for label in range(1, len(inner) + 1):
        check()
        parts = Parts.of((plane == label for plane in best), best.shape, corners=True)
        if not parts.count:
            continue
        small = parts.sizes < smallest
        small[parts.sizes.argmax()] = False
        for part in np.flatnonzero(small):
            place = parts.voxels(part)
            near, patch = _cut_out(place, best.shape)
            touched = best[near][ndimage.binary_dilation(patch) & ~patch]
            counts = np.bincount(touched, minlength=len(inner) + 1)
            counts[[0, label]] = 0
            if counts.any():
                other = int(counts.argmax())
                inner[label - 1, *place], inner[other - 1, *place] = inner[other - 1, *place], inner[label - 1, *place]
                best[place] = other


def _fill_holes(inner: np.ndarray, inside: np.ndarray, largest: float) -> None:
    """Fill background of at most `largest` voxels that reaches no face of the box, as what it touches most."""
    holes = Parts.of(inside, inside.shape, corners=False, value=False)
    for hole in np.flatnonzero((holes.sizes <= largest) & ~holes.at_faces()):
        place = holes.voxels(hole)
        near, where = _cut_out(place, inside.shape)
        around = ndimage.binary_dilation(where) & ~where
        label = int(np.bincount(most_probable(inner[:, *near][:, around])).argmax())
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
