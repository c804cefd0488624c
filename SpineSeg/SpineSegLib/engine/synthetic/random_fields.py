"""Smooth random fields: texture, elastic displacement, varying thickness."""

from __future__ import annotations

import numpy as np


def smooth_noise(shape: tuple[int, int, int], grain: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian random field (float32, z, y, x) of unit variance whose grain is `grain` voxels.

    Drawn coarse and enlarged axis by axis with cubic B-splines as matrix products, so that its cost hardly depends on
    the grain; a grain of one voxel or less is white noise.
    """
    if grain <= 1.0:
        return rng.standard_normal(shape, dtype=np.float32)
    coarse = rng.standard_normal([int(np.ceil(n / grain)) + 4 for n in shape], dtype=np.float32)
    weights = [_spline_weights(n, size, grain, rng.uniform(0, 1)) for n, size in zip(shape, coarse.shape, strict=True)]
    field = np.einsum("zc,cyx->zyx", weights[0], coarse, optimize=True)
    field = np.einsum("yc,zcx->zyx", weights[1], field, optimize=True)
    return field @ weights[2].T


def _spline_weights(n: int, size: int, grain: float, offset: float) -> np.ndarray:
    """Cubic B-spline weights (n, size) from `size` coarse values to `n` voxels, each row of unit length."""
    at = np.arange(n) / grain + 1.0 + offset
    distance = np.abs(at[:, None] - np.arange(size)[None, :])
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = np.maximum(2 - distance, 0) ** 3 / 6
    weights = np.where(distance < 1, inner, outer)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)
