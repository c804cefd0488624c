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
SOFT_HU = 55.0  # what the spine alone is painted into
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
    `cortical_mm`: thickness of the shell of vertebral bodies and the sacrum; `posterior_mm`: of slender parts, which
    are arches, processes and ribs; `cortical_hu`: CT number of both.
    `trabecular_texture_hu`: standard deviation of spongy bone; `marrow_hu`: of its patches of fatty marrow;
    `sclerosis_hu`: what dense patches gain.
    `enhancement`: 0 without contrast medium to 1 at full dose; `venous`: 0 arterial to 1 portal venous phase.
    `edge_hu`: CT number at the mask's edge; expert masks put it near half intensity, not at the anatomical surface.
    `shrink_mm`: how far the anatomical surface lies inside that of the shapes drawn, which come from such masks.
    `vessel_calcification`: share of the arterial wall that is calcified.
    `oral_contrast`: share of the bowel filled with contrast medium.
    """

    trabecular_hu: float = 160.0
    trabecular_texture_hu: float = 45.0
    marrow_hu: float = 0.0
    sclerosis_hu: float = 0.0
    cortical_mm: float = 0.4
    posterior_mm: float = 1.0
    cortical_hu: float = 1250.0
    enhancement: float = 0.0
    venous: float = 1.0
    edge_hu: float = 170.0
    shrink_mm: float = 0.3
    vessel_calcification: float = 0.0
    oral_contrast: float = 0.0
    offsets_hu: dict[int, float] = field(default_factory=dict)

    @classmethod
    def random(cls, rng: np.random.Generator, **fixed: object) -> TissueStyle:
        """Draw a patient; `fixed` sets fields that should not be drawn."""
        porotic = rng.random() < 0.35
        trabecular = rng.uniform(-15, 120) if porotic else rng.uniform(100, 300)
        drawn: dict[str, object] = {
            "trabecular_hu": trabecular,
            "trabecular_texture_hu": rng.uniform(20, 75),
            "marrow_hu": rng.uniform(5, 45),
            "sclerosis_hu": 0.0 if rng.random() < 0.6 else rng.uniform(100, 500),
            "cortical_mm": rng.uniform(0.15, 0.45) if porotic else rng.uniform(0.25, 0.75),
            "posterior_mm": rng.uniform(0.3, 0.9) if porotic else rng.uniform(0.45, 1.4),
            "cortical_hu": rng.uniform(900, 1500),
            "enhancement": 0.0 if rng.random() < 0.45 else rng.uniform(0.4, 1.1),
            "venous": float(rng.beta(1.0, 0.6)),
            "edge_hu": rng.uniform(145, 195),
            "shrink_mm": rng.uniform(0.1, 0.5),
            "vessel_calcification": 0.0 if rng.random() < 0.4 else rng.uniform(0.02, 0.3),
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


@dataclass(frozen=True)
class Painted:
    """A painted patient before the scanner, float32 (z, y, x): sharp but for partial volume at the bones' surfaces.

    `hu`: CT numbers. `plain`: those of the spine alone, smooth, in soft tissue of `SOFT_HU` throughout; `share`: how
    much of each voxel is spine. They tell where a scan of this patient puts the spine's edge.
    """

    hu: np.ndarray
    plain: np.ndarray
    share: np.ndarray


def paint(
    tissue: np.ndarray,
    spacing: float,
    style: TissueStyle,
    rng: np.random.Generator,
    spine_depth: np.ndarray | None = None,
    bone_depth: np.ndarray | None = None,
) -> Painted:
    """Paint a tissue map with CT numbers.

    `tissue`: uint8 array of Tissue codes (z, y, x) with isotropic `spacing` in mm.
    `spine_depth`, `bone_depth`: depth in mm below the surface of the vertebra or sacrum, and of the other bone, that a
    voxel is nearest to (positive inside); computed where they are None, and then bones that touch are one.
    """
    is_bone = np.isin(tissue, BONES)
    if spine_depth is None or bone_depth is None:
        spine = np.isin(tissue, SPINE)
        spine_depth, bone_depth = (
            signed_depth(m, spacing) if m.any() else np.full(tissue.shape, -100, np.float32)
            for m in (spine, is_bone & ~spine)
        )
    hu = _paint_soft(tissue, is_bone | np.isin(tissue, _HARD), spacing, style, rng)
    plain, share = np.full(tissue.shape, np.float32(SOFT_HU)), np.zeros(tissue.shape, np.float32)
    if is_bone.any():
        _paint_bone(hu, plain, share, tissue, (spine_depth, bone_depth), spacing, style, rng)
    for hard in _HARD:
        hu[tissue == hard] = _PLAIN_HU[hard]
    return Painted(hu, plain, share)


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
        wall = artery & ~ndimage.binary_erosion(artery, iterations=max(1, round(rng.uniform(0.6, 2.6) / spacing)))
        plaque = smooth_noise(tissue.shape, rng.uniform(3.0, 8.0) / spacing, rng)
        hu[wall & (plaque > np.quantile(plaque, 1 - style.vessel_calcification))] = rng.uniform(350, 1300)
    return hu


def _paint_bone(
    hu: np.ndarray,
    plain: np.ndarray,
    plain_share: np.ndarray,
    tissue: np.ndarray,
    depths: tuple[np.ndarray, np.ndarray],
    spacing: float,
    style: TissueStyle,
    rng: np.random.Generator,
) -> None:
    """Mix bone into `hu`, and the spine alone into `plain` and `plain_share`, by each voxel's share of bone."""
    depth = np.maximum(*depths).astype(np.float32)
    near = depth > -spacing
    depth = depth[near]
    spine = (depths[0] >= depths[1])[near]
    stout = _half_thickness(np.maximum(*depths), spacing)[near]
    # What is thin in a mask is thin in the scan, but not gone.
    below = depth - np.minimum(np.float32(style.shrink_mm), 0.3 * np.maximum(stout, 0))
    variation = smooth_noise(tissue.shape, 10.0 / spacing, rng)[near]
    # Bodies have a thin shell, and slender parts a thick one.
    slender = np.clip((6.5 - stout) / 2.5, 0, 1)
    thickness = style.cortical_mm + (style.posterior_mm - style.cortical_mm) * slender
    thickness *= np.exp(0.4 * variation)
    # Long bones, pelvis and skull carry a thicker shell than vertebrae.
    thick = np.isin(tissue[near], (Tissue.FEMUR, Tissue.PELVIS, Tissue.SKULL, Tissue.LIMB_BONE))
    thickness = np.where(thick, 2.0 * np.maximum(thickness, 0.6), thickness)
    share = np.clip(0.5 + below / spacing, 0, 1)
    spongy_share = np.clip(0.5 + (below - thickness) / spacing, 0, 1)
    shell = style.cortical_hu * (1 + 0.12 * variation)
    dense = style.sclerosis_hu * np.clip(smooth_noise(tissue.shape, 13.0 / spacing, rng)[near] - 1.2, 0, 1.5)
    spongy = (
        style.trabecular_hu
        + dense
        + style.trabecular_texture_hu * smooth_noise(tissue.shape, 1.8 / spacing, rng)[near]
        + (style.marrow_hu + 0.15 * abs(style.trabecular_hu)) * smooth_noise(tissue.shape, 9.0 / spacing, rng)[near]
    )
    hu[near] = (1 - share) * hu[near] + (share - spongy_share) * shell + spongy_share * spongy
    smooth = (1 - share) * SOFT_HU + (share - spongy_share) * shell + spongy_share * (style.trabecular_hu + dense)
    plain[near] = np.where(spine, smooth, SOFT_HU)
    plain_share[near] = np.where(spine, share, 0)


def _half_thickness(depth: np.ndarray, spacing: float) -> np.ndarray:
    """Greatest depth in mm within 6 mm of each voxel (float32, z, y, x): half the thickness of the part it is in."""
    window = 2 * round(6.0 / spacing) + 1
    box = ndimage.find_objects((depth > -2).astype(np.uint8))[0]
    result = np.full(depth.shape, np.float32(-100))
    result[box] = ndimage.maximum_filter(depth[box].astype(np.float32), window)
    return result
