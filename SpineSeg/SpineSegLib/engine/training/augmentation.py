"""Changes to training patches that a model should not mind: mirroring, turning, scaling, contrast, noise, blur."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from SpineSegLib.engine.models.preprocessing import AIR_HU


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and ranges. `turn` in degrees, `scale` as a fraction, `bend` in pixels (standard deviation of the
    displacement, which changes over `bend_size` pixels), `shift_hu` and `noise_hu` in HU. `misplaced`: turning by 90,
    180 or 270 degrees, as a patient appears whose file tells the position wrongly."""

    mirror: float = 0.5
    misplaced: float = 0.0
    geometry: float = 0.35
    turn: float = 15.0
    scale: float = 0.2
    bend: float = 0.0
    bend_size: int = 24
    intensity: float = 0.5
    contrast: float = 0.12
    shift_hu: float = 25.0
    noise: float = 0.3
    noise_hu: float = 80.0
    blur: float = 0.15


NONE = Augmentation(mirror=0, geometry=0, intensity=0, noise=0, blur=0)
# For training a network from a data set, where a few patients are to stand for many.
STRONG = Augmentation(misplaced=0.06, geometry=0.6, turn=20.0, scale=0.22, bend=3.0, intensity=0.6, contrast=0.15)


def augment(
    hu: np.ndarray, labels: np.ndarray, settings: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Augmented copy of a patch: HU float32 (channels, y, x) and labels uint8 (y, x)."""
    if rng.random() < settings.mirror:
        hu, labels = hu[:, :, ::-1], labels[:, ::-1]
    if settings.misplaced and rng.random() < settings.misplaced:  # else seeds go on giving what they gave without it
        quarters = int(rng.integers(1, 4))
        hu, labels = np.rot90(hu, quarters, axes=(1, 2)), np.rot90(labels, quarters)
    if rng.random() < settings.geometry:
        hu, labels = _warp(hu, labels, settings, rng)
    if rng.random() < settings.intensity:
        gain = 1 + rng.uniform(-settings.contrast, settings.contrast)
        hu = (hu * gain + rng.uniform(-settings.shift_hu, settings.shift_hu)).astype(np.float32)
    if rng.random() < settings.blur:
        sigma = rng.uniform(0.3, 0.9)
        hu = ndimage.gaussian_filter(hu, (0, sigma, sigma), mode="nearest", truncate=3.0)
    if rng.random() < settings.noise:
        grain = rng.uniform(0.0, 0.8)
        noise = rng.standard_normal(hu.shape, dtype=np.float32)
        if grain > 0.3:
            noise = ndimage.gaussian_filter(noise, (0, grain, grain), mode="wrap", truncate=3.0)
            noise /= noise.std()
        hu = hu + np.float32(rng.uniform(0, settings.noise_hu)) * noise
    return hu, labels


def _warp(
    hu: np.ndarray, labels: np.ndarray, settings: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Turned, scaled and bent; the same for all channels, which are slices of one patient."""
    angle = np.radians(rng.uniform(-settings.turn, settings.turn))
    zoom = np.exp(rng.uniform(-settings.scale, settings.scale, 2))
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    middle = (np.array(labels.shape) - 1) / 2
    from_middle = np.indices(labels.shape) - middle[:, None, None]
    places = (np.tensordot(matrix, from_middle, 1) + middle[:, None, None]).astype(np.float32)
    places += rng.uniform(0, settings.bend) * _smooth_noise(labels.shape, settings.bend_size, rng)
    warped = np.stack([ndimage.map_coordinates(c, places, order=1, mode="constant", cval=AIR_HU) for c in hu])
    return warped, ndimage.map_coordinates(labels, places, order=0, mode="constant", cval=0)


def _smooth_noise(shape: tuple[int, int], size: int, rng: np.random.Generator) -> np.ndarray:
    """Two random fields (2, y, x) of standard deviation 1 that change over `size` pixels."""
    along_y, along_x = (_bumps(extent, size) for extent in shape)
    knots = rng.standard_normal((2, along_y.shape[1], along_x.shape[1]), dtype=np.float32)
    return along_y @ knots @ along_x.T


@lru_cache(maxsize=8)
def _bumps(extent: int, size: int) -> np.ndarray:
    """Gaussians (extent, knots), `size` apart; their squares sum to 1, so that white noise keeps its variance."""
    knots = np.arange(-size, extent + 2 * size, size)
    bumps = np.exp(-0.5 * ((np.arange(extent)[:, None] - knots) / (0.6 * size)) ** 2)
    return (bumps / np.sqrt((bumps**2).sum(axis=1, keepdims=True))).astype(np.float32)
