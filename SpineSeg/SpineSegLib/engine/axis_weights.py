"""Resampling along one axis as sparse matrices: means where pixels get larger, interpolation where they get smaller.

scipy is imported when it is needed, as it would take a part of the time in which the panel opens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse


def linear_weights(count: int, positions: np.ndarray) -> sparse.csr_matrix:
    """Linear interpolation between sample centres.

    `positions` (n,) are in units of samples, 0 being the centre of the first one; positions beyond the first and last
    centre take the value there. Returns float32 (n, count), each row summing to 1.
    """
    from scipy import sparse

    positions = np.clip(np.asarray(positions, dtype=float), 0, count - 1)
    # positions that differ from a sample only by rounding must not mix in a neighbour
    nearest = np.round(positions)
    positions = np.where(np.abs(positions - nearest) < 1e-6, nearest, positions)
    low = np.minimum(np.floor(positions).astype(int), max(count - 2, 0))
    share = positions - low
    rows = np.arange(len(positions))
    entries = np.concatenate([1 - share, share])
    columns = np.concatenate([low, np.minimum(low + 1, count - 1)])
    weights = sparse.csr_matrix(
        (entries.astype(np.float32), (np.tile(rows, 2), columns)), shape=(len(positions), count), dtype=np.float32
    )
    weights.eliminate_zeros()
    return weights


def average_weights(count: int, starts: np.ndarray, length: float) -> sparse.csr_matrix:
    """Mean of the samples covered by intervals, each sample counting with the length covered (partial volume).

    `starts` (n,) and `length` (>= 1) are in units of samples, 0 being the first sample's outer edge; intervals that
    reach beyond the samples are moved inside. Returns float32 (n, count), each row summing to 1.
    """
    from scipy import sparse

    length = min(length, float(count))
    starts = np.clip(np.asarray(starts, dtype=float), 0.0, count - length)
    first = np.floor(starts + 1e-6).astype(int)
    reach = int(np.ceil(length)) + 1
    columns = first[:, None] + np.arange(reach)
    covered = np.minimum(columns + 1, (starts + length)[:, None]) - np.maximum(columns, starts[:, None])
    covered[(covered < 1e-6) | (columns >= count)] = 0
    covered /= covered.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(len(starts)), reach)
    weights = sparse.csr_matrix(
        (covered.ravel().astype(np.float32), (rows, np.minimum(columns, count - 1).ravel())),
        shape=(len(starts), count),
        dtype=np.float32,
    )
    weights.eliminate_zeros()
    return weights


def axis_weights(
    count: int, spacing: float, target_count: int, target_spacing: float, offset: float = 0.0
) -> sparse.csr_matrix:
    """Weights (target_count, count) that bring samples of `spacing` mm to `target_spacing` mm on the same axis.

    Both rows of samples have the same centre, the target's moved by `offset` mm. Larger target pixels take the mean of
    what they cover, which keeps noise and thin structures from aliasing; equal or smaller ones interpolate linearly.
    """
    centre = (count - 1) / 2 + offset / spacing
    positions = centre + (np.arange(target_count) - (target_count - 1) / 2) * target_spacing / spacing
    ratio = target_spacing / spacing
    if ratio > 1 + 1e-6:
        return average_weights(count, positions + 0.5 - ratio / 2, ratio)
    return linear_weights(count, positions)


def narrowed(weights: sparse.csr_matrix, rows: slice) -> tuple[sparse.csr_matrix, slice]:
    """Some rows of weights as weights of nothing but the samples they use, and which samples these are."""
    from scipy import sparse

    picked = weights[rows]
    samples = slice(int(picked.indices.min()), int(picked.indices.max()) + 1)
    shape = (picked.shape[0], samples.stop - samples.start)
    return sparse.csr_matrix((picked.data, picked.indices - samples.start, picked.indptr), shape), samples


def resample_plane(plane: np.ndarray, rows: sparse.csr_matrix, columns: sparse.csr_matrix) -> np.ndarray:
    """Apply weights to the rows (y) and columns (x) of a float32 plane (y, x)."""
    across = np.ascontiguousarray((rows @ plane).T)
    return np.ascontiguousarray((columns @ across).T)
