"""What a CT holds where nothing was scanned, and what the network is shown there instead.

Corners that a turned, tilted or sheared CT was filled up with and all beyond a round field of view have one value, as
low as air. Where they cut through the body they look like its surface, and a vertebra that ends there like another
bone. In front of skin some voxels hold a part of air and a part of skin; at padding air and tissue are next to each
other. By this they are told apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from SpineSegLib.engine.models.preprocessing import AIR_HU
from SpineSegLib.engine.probabilities import Box

SAMPLING = 4.0  # mm between the samples by which it is found
AIR_BELOW = -900.0  # HU; padding with other values doesn't look like air
TISSUE_HU = -300.0
DEPTH = 5.0  # mm; tissue this far behind the edge of padding or air belongs to that edge
SHARP = 0.7  # share of the edges around with tissue next to them, from which on it is padding
AROUND = 20.0  # mm; edges this near count, and padding this near to them is replaced
MOST = 50_000  # edges looked at along each axis: of air that noise breaks up there can be millions
WORTH = 4.0  # cm² of such edges; with less of them nothing is cut


class Padding:
    """Padding of an array of voxels that cuts through the body."""

    def __init__(
        self, array: np.ndarray, level: float, near: np.ndarray, beside: np.ndarray, step: tuple[int, ...]
    ) -> None:
        """`array` (k, j, i) in HU. Every `step`-th voxel is a sample: padding is what is not above `level` where the
        samples `near` are set; `beside` (float32 HU) is what was scanned next to each."""
        self._array, self._level, self._near, self._beside = array, level, near, beside
        self._places = [
            np.minimum((np.arange(n) + s // 2) // s, m - 1)
            for n, s, m in zip(array.shape, step, near.shape, strict=True)
        ]

    def filled(self, box: Box) -> np.ndarray:
        """The voxels of a box, padding replaced by what was scanned next to it."""
        part = self._array[box]
        padded = self.within(box)
        return np.where(padded, self._beside[self._sampled(box)], part).astype(part.dtype) if padded.any() else part

    def within(self, box: Box) -> np.ndarray:
        """Which voxels of a box are padding: bool (k, j, i)."""
        return _low(self._array[box], self._level) & self._near[self._sampled(box)]

    def at(self, index: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
        """Which of some voxels, by their k, j and i, are padding: bool of the same shape."""
        sampled = tuple(places[n] for places, n in zip(self._places, index, strict=True))
        return _low(self._array[index], self._level) & self._near[sampled]

    def _sampled(self, box: Box) -> tuple[np.ndarray, ...]:
        """Of each voxel in a box the sample nearest to it, as an index."""
        return np.ix_(*(places[along] for places, along in zip(self._places, box, strict=True)))


def find_padding(array: np.ndarray, spacing: tuple[float, float, float]) -> Padding | None:
    """The padding of an array (k, j, i) in HU with voxels of `spacing` mm, None where none cuts through the body."""
    from scipy import ndimage  # would delay the panel's opening

    # the last digits, which differ with the way that a CT came, must decide nothing
    spacing = tuple(float(f"{mm:.6g}") for mm in spacing)
    step = tuple(max(1, round(SAMPLING / mm)) for mm in spacing)
    samples = array[tuple(slice(None, None, s) for s in step)]
    lowest = samples.min()
    if lowest > AIR_BELOW:  # not so where one is no number, which counts as padding
        return None
    level = max(AIR_HU, float(lowest))
    low = _low(samples, level)
    groups, _ = ndimage.label(low)
    at_border = np.unique(np.concatenate([groups.take((0, -1), axis).ravel() for axis in range(3)]))
    outside = np.isin(groups, at_border[at_border > 0])  # padding, and air that is no higher
    apart = np.multiply(spacing, step)  # mm between samples
    sharp, gradual = np.zeros((2, *outside.shape), np.float32)
    for axis, edges, depths, share in _edges(array, level, outside, step, spacing):
        area = np.prod(np.delete(apart, axis)) / 100 / share
        sharp[tuple(edges[depths == 0].T)] += area
        gradual[tuple(edges[depths > 0].T)] += area
    if sharp.sum() < WORTH:
        return None
    size = 2 * np.round(AROUND / apart).astype(int) + 1
    sharp, gradual = (ndimage.uniform_filter(each, size, mode="constant") * size.prod() for each in (sharp, gradual))
    cutting = outside & (sharp >= WORTH) & (sharp >= SHARP * (sharp + gradual))
    if not cutting.any():
        return None
    # the mean around the nearest sample that was scanned
    scanned = np.where(low, 0, samples).astype(np.float32)
    share = ndimage.uniform_filter((~outside).astype(np.float32), 3)
    means = ndimage.uniform_filter(scanned, 3) / np.maximum(share, 1e-3)
    nearest = ndimage.distance_transform_edt(outside, apart, return_distances=False, return_indices=True)
    return Padding(array, level, ndimage.binary_dilation(cutting, np.ones((3, 3, 3))), means[tuple(nearest)], step)


def _low(values: np.ndarray, level: float) -> np.ndarray:
    """Which values are not above `level`, or no finite number, which counts as air."""
    if values.dtype.kind == "f":
        return ~((values > level) & (values < np.inf))
    return values <= level


def _edges(
    array: np.ndarray, level: float, outside: np.ndarray, step: tuple[int, ...], spacing: tuple[float, ...]
) -> Iterator[tuple[int, np.ndarray, np.ndarray, float]]:
    """The edges of the samples that are `outside` along each axis and in both senses: that axis, the samples (n, 3)
    before an edge, how many voxels behind the edge tissue begins, -1 where it doesn't within `DEPTH`, and the share of
    all such edges that these are."""
    for axis in range(3):
        reach = max(2, round(DEPTH / spacing[axis]))
        for sense in (1, -1):
            edge = outside & ~np.roll(outside, -sense, axis)
            np.moveaxis(edge, axis, 0)[-1 if sense > 0 else 0] = False  # what is rolled there is the other side
            every = np.argwhere(edge)
            edges = every[:: -(-len(every) // MOST) or 1]
            behind = np.full((len(edges), step[axis] + reach), AIR_HU, dtype=np.float32)
            for n in range(behind.shape[1]):
                place = edges * step
                place[:, axis] += sense * (n + 1)
                within = (place[:, axis] >= 0) & (place[:, axis] < array.shape[axis])
                values = array[tuple(place[within].T)]
                behind[within, n] = np.where(_low(values, level), AIR_HU, values)
            begins, tissue = (np.argmax(behind > hu, axis=1) for hu in (level, TISSUE_HU))
            depths = tissue - begins
            depths = np.where((behind > TISSUE_HU).any(axis=1) & (depths < reach), depths, -1)
            yield axis, edges, depths, len(edges) / len(every) if len(every) else 1.0
