"""Tissues of a synthetic patient and the CT numbers they are painted with."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import IntEnum

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from SpineSegLib.engine.synthetic.random_fields import smooth_noise


class Tissue(IntEnum):
    """Codes of a tissue map (uint8 array, z, y, x)."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    LUNG = 4
    GAS = 5
    BOWEL = 6
    STOMACH = 7
    LIVER = 8
    SPLEEN = 9
    KIDNEY = 10
    GLAND = 11  # pancreas, adrenals, thyroid, prostate
    BLADDER = 12  # urinary and gall bladder
    ARTERY = 13
    VEIN = 14
    HEART = 15
    OESOPHAGUS = 16
    CANAL = 17  # thecal sac: cerebrospinal fluid and epidural fat
    CORD = 18
    DISC = 19
    LIGAMENT = 20
    CARTILAGE = 21
    VERTEBRA = 22
    SACRUM = 23
    RIB = 24
    PELVIS = 25
    FEMUR = 26
    STERNUM = 27
    LIMB_BONE = 28  # scapula, clavicle, humerus, forearm
    SKULL = 29
    BRAIN = 30
    TABLE = 31
    METAL = 32
    CEMENT = 33
    ORAL_CONTRAST = 34
    FOAM = 35  # mattress


BONES = (
    Tissue.VERTEBRA,
    Tissue.SACRUM,
    Tissue.RIB,
    Tissue.PELVIS,
    Tissue.FEMUR,
    Tissue.STERNUM,
    Tissue.LIMB_BONE,
    Tissue.SKULL,
)
SPINE = (Tissue.VERTEBRA, Tissue.SACRUM)
_HARD = (Tissue.METAL, Tissue.CEMENT)

# Typical CT numbers without contrast medium, in HU (Kalender, Computed Tomography, 3rd ed.; Lev and Gonzalez 2002).
_PLAIN_HU: dict[Tissue, float] = {
    Tissue.AIR: -1000, Tissue.SKIN: 15, Tissue.FAT: -100, Tissue.MUSCLE: 55, Tissue.LUNG: -840, Tissue.GAS: -980,
    Tissue.BOWEL: 30, Tissue.STOMACH: 30, Tissue.LIVER: 58, Tissue.SPLEEN: 50, Tissue.KIDNEY: 32, Tissue.GLAND: 42,
    Tissue.BLADDER: 8, Tissue.ARTERY: 42, Tissue.VEIN: 42, Tissue.HEART: 42, Tissue.OESOPHAGUS: 35, Tissue.CANAL: 20,
    Tissue.CORD: 38, Tissue.DISC: 88, Tissue.LIGAMENT: 70, Tissue.CARTILAGE: 95, Tissue.BRAIN: 36, Tissue.TABLE: -150,
    Tissue.METAL: 6000, Tissue.CEMENT: 1500, Tissue.ORAL_CONTRAST: 300, Tissue.FOAM: -850,
}  # fmt: skip

# HU gained at full enhancement; arteries lead in the arterial phase, organs and veins in the venous phase.
_ARTERIAL_GAIN: dict[Tissue, float] = {
    Tissue.ARTERY: 320, Tissue.HEART: 230, Tissue.KIDNEY: 130, Tissue.SPLEEN: 70, Tissue.LIVER: 15, Tissue.VEIN: 40,
    Tissue.GLAND: 50, Tissue.MUSCLE: 5, Tissue.BOWEL: 20,
}  # fmt: skip
_VENOUS_GAIN: dict[Tissue, float] = {
    Tissue.ARTERY: 110, Tissue.HEART: 105, Tissue.KIDNEY: 165, Tissue.SPLEEN: 70, Tissue.LIVER: 52, Tissue.VEIN: 115,
    Tissue.GLAND: 55, Tissue.MUSCLE: 10, Tissue.BOWEL: 30,
}  # fmt: skip

# Standard deviation of the texture inside a tissue, in HU.
_TEXTURE_HU: dict[Tissue, float] = {
    Tissue.FAT: 12, Tissue.MUSCLE: 14, Tissue.LUNG: 60, Tissue.BOWEL: 25, Tissue.STOMACH: 20, Tissue.DISC: 14,
    Tissue.CARTILAGE: 45, Tissue.CANAL: 12, Tissue.SKIN: 20, Tissue.HEART: 10, Tissue.FOAM: 20,
}  # fmt: skip


@dataclass(frozen=True)
class TissueStyle:
    """How one patient's tissues look: HU by tissue, bone quality, contrast phase.

    `trabecular_hu`: mean of spongy bone (about 60 in osteoporosis, 250 in the young; Pickhardt et al. 2013).
    `cortical_mm`, `cortical_hu`: thickness and CT number of the shell of vertebrae and other bones.
    `trabecular_texture_hu`: standard deviation of spongy bone.
    `enhancement`: 0 without contrast medium to 1 at full dose; `venous`: 0 arterial to 1 portal venous phase.
    `edge_hu`: CT number at the mask's edge; expert masks put it near half intensity, not at the anatomical surface.
    `vessel_calcification`: share of the arterial wall that is calcified.
    `oral_contrast`: share of the bowel filled with contrast medium.
    """

    trabecular_hu: float = 160.0
    trabecular_texture_hu: float = 45.0
    cortical_mm: float = 0.7
    cortical_hu: float = 1250.0
    enhancement: float = 0.0
    venous: float = 1.0
    edge_hu: float = 165.0
    vessel_calcification: float = 0.0
    oral_contrast: float = 0.0
    offsets_hu: dict[int, float] = field(default_factory=dict)

    @classmethod
    def random(cls, rng: np.random.Generator, **fixed: object) -> TissueStyle:
        """Draw a patient; `fixed` sets fields that should not be drawn."""
        porotic = rng.random() < 0.35
        trabecular = rng.uniform(5, 120) if porotic else rng.uniform(110, 300)
        drawn: dict[str, object] = {
            "trabecular_hu": trabecular,
            "trabecular_texture_hu": rng.uniform(20, 75),
            "cortical_mm": rng.uniform(0.3, 0.7) if porotic else rng.uniform(0.45, 1.1),
            "cortical_hu": rng.uniform(900, 1500),
            "enhancement": 0.0 if rng.random() < 0.45 else rng.uniform(0.4, 1.1),
            "venous": float(rng.beta(1.0, 0.6)),
            "edge_hu": rng.uniform(130, 200),
            "vessel_calcification": 0.0 if rng.random() < 0.5 else rng.uniform(0.02, 0.25),
            "oral_contrast": 0.0 if rng.random() < 0.75 else rng.uniform(0.1, 0.6),
            "offsets_hu": {int(t): float(rng.normal(0, 8)) for t in _PLAIN_HU if t not in (Tissue.AIR, Tissue.GAS)},
        }
        unknown = set(fixed) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"TissueStyle has no {', '.join(sorted(unknown))}")
        return cls(**{**drawn, **fixed})

    def hu(self, tissue: Tissue) -> float:
        """Mean CT number of a soft tissue in HU."""
        gain = (1 - self.venous) * _ARTERIAL_GAIN.get(tissue, 0.0) + self.venous * _VENOUS_GAIN.get(tissue, 0.0)
        return _PLAIN_HU[tissue] + self.enhancement * gain + self.offsets_hu.get(int(tissue), 0.0)


def blur(array: np.ndarray, sigma: float | tuple[float, float, float]) -> np.ndarray:
    """Gaussian blur of a float32 array (z, y, x), sigma in voxels."""
    return ndimage.gaussian_filter(array, sigma, mode="nearest", truncate=3.0)


def signed_depth(mask: np.ndarray, spacing: float) -> np.ndarray:
    """Depth below the surface of a mask in mm (float32, z, y, x): positive inside, negative outside.

    The staircase of the voxels is smoothed away, so that the surface passes between voxel centres.
    """
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([spacing] * 3)
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    depth = sitk.GetArrayFromImage(distance)
    # Maurer measures to the boundary voxel's centre, which lies half a voxel inside the surface.
    return blur(depth + np.float32(spacing / 2), 0.6)


def surface_shift(style: TissueStyle, psf_fwhm: float) -> float:
    """How far in mm the anatomical bone surface lies inside the mask's edge.

    Solves the one-dimensional profile of a bone (soft tissue, cortical shell, spongy bone) blurred by a Gaussian of
    `psf_fwhm` mm for the place where it reaches `style.edge_hu`.
    """
    step = 0.02
    x = np.arange(-6.0, 6.0, step)
    bone = np.where(x < 0, 50.0, np.where(x < style.cortical_mm, style.cortical_hu, style.trabecular_hu))
    profile = ndimage.gaussian_filter1d(bone, psf_fwhm / 2.355 / step, mode="nearest")
    reached = int(np.argmax(profile >= min(style.edge_hu, 0.5 * (50.0 + profile.max()))))
    return float(np.clip(-x[reached], 0.0, 1.5))


def paint(
    tissue: np.ndarray,
    spacing: float,
    style: TissueStyle,
    rng: np.random.Generator,
    depth: np.ndarray | None = None,
    psf_fwhm: float = 1.2,
) -> np.ndarray:
    """Paint a tissue map with CT numbers.

    `tissue`: uint8 array of Tissue codes (z, y, x) with isotropic `spacing` in mm.
    `depth`: depth in mm below the surface of each voxel's own bone (positive inside); computed where it is None, and
    then bones that touch are one.
    Returns float32 HU (z, y, x) before the scanner: sharp but for partial volume at the bones' surfaces.
    """
    is_bone = np.isin(tissue, BONES)
    if depth is None:
        depth = signed_depth(is_bone, spacing)
    hu = _paint_soft(tissue, is_bone | np.isin(tissue, _HARD), spacing, style, rng)
    if is_bone.any():
        _paint_bone(hu, tissue, depth, spacing, style, rng, surface_shift(style, psf_fwhm))
    for hard in _HARD:
        hu[tissue == hard] = _PLAIN_HU[hard]
    return hu


def _paint_soft(
    tissue: np.ndarray, covered: np.ndarray, spacing: float, style: TissueStyle, rng: np.random.Generator
) -> np.ndarray:
    means = np.full(256, style.hu(Tissue.MUSCLE), dtype=np.float32)
    textures = np.zeros(256, dtype=np.float32)
    for code in _PLAIN_HU:
        means[code] = style.hu(code)
        textures[code] = _TEXTURE_HU.get(code, 6.0 if code != Tissue.AIR else 0.0)
    hu = means[tissue]
    if covered.any():
        # The part of a surface voxel that is not bone looks like the soft tissue next to it.
        weight = blur((~covered).astype(np.float32), 1.5)
        nearby = blur(np.where(covered, np.float32(0), hu), 1.5) / np.maximum(weight, 1e-3)
        hu = np.where(covered, np.where(weight > 1e-3, nearby, means[Tissue.MUSCLE]), hu)
    hu += textures[tissue] * smooth_noise(tissue.shape, 2.5 / spacing, rng)
    bowel = (tissue == Tissue.BOWEL) | (tissue == Tissue.STOMACH)
    if bowel.any():
        content = smooth_noise(tissue.shape, 14.0 / spacing, rng)
        hu[bowel & (content > 1.1)] = _PLAIN_HU[Tissue.GAS]
        if style.oral_contrast > 0:
            hu[bowel & (content < np.quantile(content, style.oral_contrast))] = _PLAIN_HU[Tissue.ORAL_CONTRAST]
    if style.vessel_calcification > 0:
        artery = tissue == Tissue.ARTERY
        wall = artery & ~ndimage.binary_erosion(artery, iterations=max(1, round(1.5 / spacing)))
        plaque = smooth_noise(tissue.shape, 4.0 / spacing, rng)
        hu[wall & (plaque > np.quantile(plaque, 1 - style.vessel_calcification))] = rng.uniform(350, 900)
    return hu


def _paint_bone(
    hu: np.ndarray,
    tissue: np.ndarray,
    depth: np.ndarray,
    spacing: float,
    style: TissueStyle,
    rng: np.random.Generator,
    shift: float,
) -> None:
    """Mix bone into `hu` in place by the share of each voxel that is shell and spongy bone."""
    near = depth > -spacing
    below = depth[near].astype(np.float32) - shift
    variation = smooth_noise(tissue.shape, 12.0 / spacing, rng)[near]
    thickness = style.cortical_mm * np.exp(0.35 * variation)
    # Long bones, pelvis and skull carry a thicker shell than vertebrae.
    thick = np.isin(tissue[near], (Tissue.FEMUR, Tissue.PELVIS, Tissue.SKULL, Tissue.LIMB_BONE))
    thickness = np.where(thick, 1.8 * thickness, thickness)
    share = np.clip(0.5 + below / spacing, 0, 1)
    spongy_share = np.clip(0.5 + (below - thickness) / spacing, 0, 1)
    spongy = (
        style.trabecular_hu
        + style.trabecular_texture_hu * smooth_noise(tissue.shape, 1.8 / spacing, rng)[near]
        + 0.25 * style.trabecular_hu * smooth_noise(tissue.shape, 9.0 / spacing, rng)[near]
    )
    shell = style.cortical_hu * (1 + 0.12 * variation)
    hu[near] = (1 - share) * hu[near] + (share - spongy_share) * shell + spongy_share * spongy
