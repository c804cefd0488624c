"""A model of the scanner: resolution, slice thickness, noise, streaks and the grid of the volume."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from SpineSegLib.engine.synthetic.random_fields import smooth_noise
from SpineSegLib.engine.synthetic.tissues import SOFT_HU, Painted, blur

_FWHM_TO_SIGMA = 1 / 2.355
_FAINTEST_EDGE_HU = 95.0  # nobody outlines what is fainter


@dataclass(frozen=True)
class ScanSettings:
    """One acquisition and reconstruction; axes are those of the patient (x left, y posterior, z head).

    `spacing`: voxel size in mm (x, y, z) of the stored volume.
    `thickness`: extent in mm (x, y, z) over which a voxel averages, at least the resolution of the painted volume.
    `psf_fwhm`: in-plane resolution in mm; `sharpening`: edge enhancement of a bone kernel, 0 for a soft one.
    `noise_hu`: standard deviation in HU; `noise_grain`: its grain in mm.
    `streak_hu`: standard deviation of photon-starvation streaks along x (shoulders, pelvis).
    `cupping_hu`: depth of beam-hardening cupping; `metal_streak_hu`: amplitude of streaks around metal.
    """

    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    thickness: tuple[float, float, float] = (0.0, 0.0, 1.0)
    psf_fwhm: float = 1.2
    sharpening: float = 0.0
    noise_hu: float = 15.0
    noise_grain: float = 1.0
    streak_hu: float = 0.0
    cupping_hu: float = 0.0
    metal_streak_hu: float = 300.0

    @classmethod
    def random(cls, rng: np.random.Generator, **fixed: object) -> ScanSettings:
        """Draw a scan; `fixed` sets fields that should not be drawn."""
        pixel = float(rng.choice([1.0, 1.5, 3.0], p=[0.74, 0.2, 0.06]))
        step = float(rng.choice([1.0, 1.25, 1.6, 2.0, 2.5, 3.0, 5.0], p=[0.25, 0.12, 0.17, 0.15, 0.08, 0.16, 0.07]))
        spacing = [pixel, pixel, max(step, pixel) if pixel > 2 else step]
        thickness = [0.0, 0.0, step * float(rng.choice([0.8, 1.0, 1.3]))]
        stored = rng.random()
        noise = (5.0, 130.0)
        if stored < 0.25:  # a sagittal or coronal reformat: thick in x or y, fine in the other two, and often noisy
            axis = 0 if stored < 0.2 else 1
            noise = (15.0, 150.0)
            spacing, thickness = [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]
            spacing[axis] = thickness[axis] = float(rng.uniform(2.0, 4.0))
        drawn: dict[str, object] = {
            "spacing": tuple(spacing),
            "thickness": tuple(thickness),
            "psf_fwhm": float(rng.uniform(0.7, 1.9)),
            "sharpening": 0.0 if rng.random() < 0.5 else float(rng.uniform(0.2, 1.2)),
            "noise_hu": float(np.exp(rng.uniform(*np.log(noise)))),
            "noise_grain": float(rng.uniform(0.5, 2.2)),
            "streak_hu": 0.0 if rng.random() < 0.7 else float(rng.uniform(5, 45)),
            "cupping_hu": float(rng.uniform(-25, 25)),
            "metal_streak_hu": float(rng.uniform(100, 600)),
        }
        unknown = set(fixed) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"ScanSettings has no {', '.join(sorted(unknown))}")
        return cls(**{**drawn, **fixed})


def acquire(hu: sitk.Image, settings: ScanSettings, rng: np.random.Generator) -> sitk.Image:
    """Scan a painted volume.

    `hu`: float32 image in HU with isotropic spacing and identity direction.
    Returns an int16 image in HU on a grid of `settings.spacing` over the same extent, clipped to [-1024, 3071].
    """
    scale = hu.GetSpacing()[0]
    array = sitk.GetArrayFromImage(hu)
    metal = array > 2900
    array = np.minimum(array, 8000.0)
    sigma = settings.psf_fwhm * _FWHM_TO_SIGMA / scale
    array = blur(array, (0.35 * sigma, sigma, sigma))
    if settings.sharpening > 0:
        soft = blur(array, (0.0, 1.3 * sigma, 1.3 * sigma))
        array += settings.sharpening * (array - soft)
    if metal.any():
        array += _metal_streaks(metal, settings.metal_streak_hu, rng)
    if settings.cupping_hu:
        array += _cupping(array.shape, settings.cupping_hu)
    image = _regrid(_average(array, settings.thickness, scale), hu, settings.spacing)
    # Noise belongs to the acquired voxels, not to the painted ones.
    array = sitk.GetArrayFromImage(image)
    array += _noise(array.shape, image.GetSpacing(), settings, rng)
    result = sitk.GetImageFromArray(np.clip(np.round(array), -1024, 3071).astype(np.int16))
    result.CopyInformation(image)
    return result


def truth_on_grid(
    painted: Painted, numbers: np.ndarray, geometry: sitk.Image, reference: sitk.Image, scan: ScanSettings, edge: float
) -> sitk.Image:
    """The mask an expert would draw into a scan: `numbers` (small integers, z, y, x) on the grid of `reference`.

    An edge is drawn where the noiseless scan of the spine alone falls below `edge` HU, or below half of the contrast
    around where that is less: thin bone blurred by the scanner is still outlined. What is mostly bone is full.
    `geometry` is the painted volume's (identity direction). A voxel gets the number that fills most of it.
    """
    scale = geometry.GetSpacing()[0]
    sigma = scan.psf_fwhm * _FWHM_TO_SIGMA / scale

    def seen(array: np.ndarray) -> np.ndarray:
        averaged = _average(array, scan.thickness, scale)
        return sitk.GetArrayFromImage(_regrid(averaged, geometry, reference.GetSpacing()))

    plain = seen(blur(painted.plain, (0.35 * sigma, sigma, sigma)))
    window = [2 * max(1, round(2.5 / mm)) + 1 for mm in reversed(reference.GetSpacing())]
    half = SOFT_HU + 0.5 * (ndimage.maximum_filter(plain, window) - SOFT_HU)
    spine = (plain >= np.clip(half, _FAINTEST_EDGE_HU, edge)) | (seen(painted.share) >= 0.7)
    # Blurred bone reaches beyond the shape it has its number from.
    wide = ndimage.grey_dilation(numbers, size=(5, 5, 5))
    wide = np.where(numbers > 0, numbers, wide)
    best = np.zeros(spine.shape, dtype=np.float32)
    result = np.zeros(spine.shape, dtype=np.uint8)
    for value in np.unique(wide[wide > 0]):
        share = seen((wide == value).astype(np.float32))
        result[share > best] = value
        np.maximum(best, share, out=best)
    result[~spine] = 0
    image = sitk.GetImageFromArray(result)
    image.CopyInformation(reference)
    return image


def _average(array: np.ndarray, thickness: tuple[float, float, float], scale: float) -> np.ndarray:
    for axis, extent in zip((2, 1, 0), thickness, strict=True):
        if extent > scale:
            array = _box(array, extent / scale, axis)
    return array


def _box(array: np.ndarray, width: float, axis: int) -> np.ndarray:
    """Mean over a window of `width` voxels (at least 1, fractions at both ends)."""
    half = int(np.ceil((width - 1) / 2))
    kernel = np.ones(2 * half + 1)
    kernel[[0, -1]] = (width - (2 * half - 1)) / 2 if half else 1.0
    return ndimage.correlate1d(array, kernel / kernel.sum(), axis=axis, mode="nearest")


def _regrid(array: np.ndarray, geometry: sitk.Image, spacing: tuple[float, float, float]) -> sitk.Image:
    image = sitk.GetImageFromArray(array.astype(np.float32, copy=False))
    image.CopyInformation(geometry)
    if np.allclose(image.GetSpacing(), spacing):
        return image
    old = np.array(image.GetSpacing())
    extent = old * image.GetSize()
    size = np.maximum(2, np.floor(extent / spacing + 1e-6)).astype(int)
    grid = sitk.Image(size.tolist(), sitk.sitkFloat32)
    grid.SetSpacing(list(spacing))
    grid.SetOrigin((np.array(image.GetOrigin()) - old / 2 + np.array(spacing) / 2).tolist())
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear)


def _noise(
    shape: tuple[int, int, int], spacing: tuple[float, ...], settings: ScanSettings, rng: np.random.Generator
) -> np.ndarray:
    noise = rng.standard_normal(shape, dtype=np.float32)
    sigma = [settings.noise_grain * _FWHM_TO_SIGMA / s for s in (spacing[1], spacing[0])]
    noise = ndimage.gaussian_filter(noise, (0.0, *sigma), mode="wrap", truncate=3.0)
    noise *= settings.noise_hu / max(float(noise.std()), 1e-6)
    if settings.streak_hu > 0:
        streaks = rng.standard_normal(shape, dtype=np.float32)
        streaks = ndimage.gaussian_filter(streaks, (0.3, 0.7, 25.0 / spacing[0]), mode="wrap", truncate=2.0)
        gate = 0.5 + 0.5 * np.tanh(smooth_noise(shape, 40.0, rng))
        noise += settings.streak_hu / max(float(streaks.std()), 1e-6) * streaks * gate
    return noise


def _cupping(shape: tuple[int, int, int], depth: float) -> np.ndarray:
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape[1:])
    return np.float32(depth) * (y[:, None] ** 2 + x[None, :] ** 2 - 0.5)[None]


def _metal_streaks(metal: np.ndarray, amplitude: float, rng: np.random.Generator) -> np.ndarray:
    """Star-shaped dark and bright streaks in every slice that holds metal, falling off with distance."""
    streaks = np.zeros(metal.shape, dtype=np.float32)
    y, x = np.mgrid[: metal.shape[1], : metal.shape[2]].astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, 5)
    frequencies = rng.integers(3, 15, 5)
    for k in np.flatnonzero(metal.any(axis=(1, 2))):
        parts, count = ndimage.label(metal[k])
        for cy, cx in ndimage.center_of_mass(metal[k], parts, range(1, min(count, 6) + 1)):
            angle = np.arctan2(y - cy, x - cx)
            radius = np.hypot(y - cy, x - cx)
            star = sum(np.cos(f * angle + p) for f, p in zip(frequencies, phases, strict=True)) / 2
            streaks[k] += amplitude * star * np.exp(-radius / 25.0) * (radius > 2)
    return streaks
