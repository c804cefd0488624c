"""Tidying a segmentation of the spine: single slices that differ, islands, holes and patches with the wrong label.

Works on the probabilities of the working grid, so that the way back to the CT's own grid stays the only place where
voxels are decided: what is removed gets probability 0, what is filled 1. Linear interpolation and averaging never
exceed the values they start from, so a removed island can't come back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from SpineSegLib.engine.stored_labels import foreground, foreground_box


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
    probabilities: np.ndarray, spacing: tuple[float, float, float], threshold: float, settings: Tidying | None = None
) -> None:
    """Tidy uint8 probabilities (labels, z, y, x; 255 is 1) in place. `spacing`: mm in z, y, x.

    The largest group stays, however small the field of view; where every part is smaller than `island`, nothing does.
    """
    settings = settings or Tidying()
    box = foreground_box(probabilities, threshold)
    if box is None:
        return
    inner = probabilities[:, box[0], box[1], box[2]]
    if settings.along > 0:
        _smooth_along(inner, settings.along / spacing[0])
    voxel = float(np.prod(spacing))
    inside = foreground(inner, threshold)
    islands = inside & ~_kept(inside, spacing, settings)
    inner[:, islands] = 0
    inside &= ~islands
    if len(inner) > 1:
        _relabel_patches(inner, inside, settings.patch / voxel)
    _fill_holes(inner, inside, settings.hole / voxel)


def _smooth_along(inner: np.ndarray, sigma: float) -> None:
    """Gaussian smoothing along z by `sigma` slices, in place."""
    for label in inner:
        label[...] = np.round(ndimage.gaussian_filter1d(label.astype(np.float32), sigma, axis=0, mode="nearest"))


def _kept(inside: np.ndarray, spacing: tuple[float, float, float], settings: Tidying) -> np.ndarray:
    """The parts of a mask (z, y, x) that belong to the spine."""
    voxel = float(np.prod(spacing))
    parts, count = ndimage.label(inside, structure=np.ones((3, 3, 3)))
    volume = _sizes(parts, count) * voxel
    candidates = volume >= settings.island
    if np.count_nonzero(candidates) <= 1:
        return candidates[parts]
    # parts within `near` of each other meet when each grows by half of it
    image = sitk.GetImageFromArray(candidates[parts].astype(np.uint8))
    image.SetSpacing(spacing[::-1])
    distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    grown, groups = ndimage.label(sitk.GetArrayViewFromImage(distance) <= settings.near / 2)
    group = np.zeros(count + 1, dtype=grown.dtype)
    group[parts[inside]] = grown[inside]
    total = np.bincount(group, weights=np.where(candidates, volume, 0), minlength=groups + 1)
    total[0] = 0
    large = total >= max(settings.far_island, settings.far_share * total.max())
    large[int(total.argmax())] = True
    return (candidates & large[group])[parts]


def _sizes(parts: np.ndarray, count: int) -> np.ndarray:
    """Voxels of each numbered part (z, y, x), 0 for the background."""
    sizes = np.zeros(count + 1, dtype=np.int64)
    for plane in parts:  # bincount needs 8 bytes a voxel
        found = np.bincount(plane.ravel())
        sizes[: len(found)] += found
    sizes[0] = 0
    return sizes


def _relabel_patches(inner: np.ndarray, inside: np.ndarray, smallest: float) -> None:
    """Give parts of a label with fewer than `smallest` voxels, other than its largest, the label they touch most."""
    best = np.where(inside, np.argmax(inner, axis=0) + 1, 0)
    for label in range(1, len(inner) + 1):
        parts, count = ndimage.label(best == label, structure=np.ones((3, 3, 3)))
        sizes = _sizes(parts, count)
        largest = int(sizes.argmax())
        for part, place in enumerate(ndimage.find_objects(parts), start=1):
            if part == largest or sizes[part] >= smallest:
                continue
            near = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in place)
            patch = parts[near] == part
            touched = best[near][ndimage.binary_dilation(patch) & ~patch]
            counts = np.bincount(touched, minlength=len(inner) + 1)
            counts[[0, label]] = 0
            if not counts.any():
                continue
            other = int(counts.argmax())
            _swap(inner[(slice(None), *near)], patch, label - 1, other - 1)
            best[near][patch] = other


def _swap(inner: np.ndarray, where: np.ndarray, one: int, other: int) -> None:
    """Exchange two labels' probabilities where `where` is set."""
    inner[one, where], inner[other, where] = inner[other, where], inner[one, where]


def _fill_holes(inner: np.ndarray, inside: np.ndarray, largest: float) -> None:
    """Fill background of at most `largest` voxels that reaches no face of the box, as what it touches most."""
    holes, count = ndimage.label(~inside)
    fill = _sizes(holes, count) <= largest
    fill[0] = False
    for axis in range(3):
        for face in (0, -1):
            fill[np.unique(holes.take(face, axis=axis))] = False
    for hole, place in enumerate(ndimage.find_objects(holes), start=1):
        if not fill[hole]:
            continue
        near = tuple(slice(s.start - 1, s.stop + 1) for s in place)
        where = holes[near] == hole
        region = inner[(slice(None), *near)]
        around = ndimage.binary_dilation(where) & ~where
        label = int(np.bincount(np.argmax(region[:, around], axis=0)).argmax())
        region[:, where] = 0
        region[label, where] = 255
