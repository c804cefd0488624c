"""Real anatomy from label maps: whole trunks with organs, and vertebrae alone set into a trunk.

The sources (see the model card) name their structures in different ways; each structure becomes a tissue by its name.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.reading import segment_names
from SpineSegLib.engine.synthetic.anatomy import Anatomy
from SpineSegLib.engine.synthetic.random_fields import smooth_noise
from SpineSegLib.engine.synthetic.tissues import BONES, SPINE, Tissue
from SpineSegLib.engine.volume import outer_corners

SPACING = 1.0  # mm, of every anatomy made here

# The first pattern found in a structure's name decides its tissue.
_TISSUE_BY_NAME: tuple[tuple[str, Tissue], ...] = (
    (r"intervertebral", Tissue.DISC),
    (r"\bs1 vertebra|sacrum|coccyx", Tissue.SACRUM),
    (r"vertebra\b|cervical\d|thoracic\d|lumbar\d", Tissue.VERTEBRA),
    (r"costal cartilage", Tissue.CARTILAGE),
    (r"rib\b|rib\d|rib ", Tissue.RIB),
    (r"sternum", Tissue.STERNUM),
    (r"\bhip\b|pelvis\b(?!.*renal)", Tissue.PELVIS),
    (r"femur", Tissue.FEMUR),
    (r"humerus|scapula|clavicle", Tissue.LIMB_BONE),
    (r"spinal cord", Tissue.CANAL),
    (r"lung", Tissue.LUNG),
    (r"trachea", Tissue.GAS),
    (r"oesophagus|esophagus", Tissue.OESOPHAGUS),
    (r"duodenum|stomach", Tissue.STOMACH),
    (r"bowel|colon|ileum", Tissue.BOWEL),
    (r"liver", Tissue.LIVER),
    (r"spleen", Tissue.SPLEEN),
    (r"kidney", Tissue.KIDNEY),
    (r"pancreas|adrenal|prostate|thyroid", Tissue.GLAND),
    (r"bladder|ureter", Tissue.BLADDER),
    (r"artery|aorta|trunk", Tissue.ARTERY),
    (r"vein|vena", Tissue.VEIN),
    (r"heart|atrium|ventricle|myocardium", Tissue.HEART),
    (r"muscle|gluteus|iliopsoas|psoas", Tissue.MUSCLE),
    (r"face", Tissue.MUSCLE),
)

_SPINE_NUMBER = re.compile(
    r"^(?:(?P<level>[ctl])(?P<number>\d+) vertebra|(?P<region>cervical|thoracic|lumbar)(?P<place>\d+))"
)
_BEFORE_FIRST = {"c": 0, "t": 7, "l": 19}  # VerSe number before the first vertebra of a region


def tissue_of(structure: str) -> Tissue | None:
    """Tissue of a structure by its name, None where the name is unknown."""
    name = structure.lower().replace("_", " ")
    if "renal pelvis" in name:
        return Tissue.BLADDER
    return next((tissue for pattern, tissue in _TISSUE_BY_NAME if re.search(pattern, name)), None)


def vertebra_number(structure: str) -> int:
    """VerSe number of a vertebra by its name (C1 1, T1 8, L1 20), 26 for sacrum and S1, 0 for anything else."""
    name = structure.lower().replace("_", " ")
    if tissue_of(name) == Tissue.SACRUM:
        return 26
    found = _SPINE_NUMBER.search(name)
    if not found:
        return 0
    region, number = (found["level"], found["number"]) if found["level"] else (found["region"][0], found["place"])
    return _BEFORE_FIRST[region] + int(number)


def read_structures(path: Path) -> tuple[sitk.Image, dict[int, str]]:
    """A label map in LPS order and the name of each label (header of .seg.nrrd, or a .ctbl file beside it)."""
    image = sitk.ReadImage(str(path))
    names = segment_names(image)
    table = path.with_name(path.name.removesuffix(".nii.gz") + "_labels.ctbl")
    if not names and table.exists():
        for line in table.read_text(encoding="utf-8").splitlines():
            parts = line.split()
            if len(parts) >= 2 and parts[0].isdigit():
                names[int(parts[0])] = parts[1]
    return sitk.DICOMOrient(image, "LPS"), names


def trunk_anatomy(path: Path, rng: np.random.Generator, vertebrae: Path | None = None) -> Anatomy:
    """Anatomy of a whole-trunk label map with organs; `vertebrae` is a better mask of its spine (VerSe numbers).

    What the label map leaves empty is filled: discs and ligaments between vertebrae, then fat and muscle up to a skin
    that is drawn around everything, since the sources hold no skin.

    Raises InputError where the file names no structure that is a vertebra.
    """
    image, names = read_structures(path)
    tissue_table = np.zeros(max(names, default=0) + 1, dtype=np.uint8)
    number_table = np.zeros_like(tissue_table)
    for value, name in names.items():
        tissue_table[value] = tissue_of(name) or Tissue.AIR
        number_table[value] = vertebra_number(name)
    if not (tissue_table == Tissue.VERTEBRA).any():
        raise InputError(f"{path.name} names no vertebra; give a label map with structure names in its header.")
    labels = isotropic(image, SPACING)
    labels = np.where(labels < len(tissue_table), labels, 0)
    tissue, numbers = tissue_table[labels], number_table[labels]
    if vertebrae is not None:
        mask = sitk.Resample(sitk.ReadImage(str(vertebrae)), image, sitk.Transform(), sitk.sitkNearestNeighbor)
        numbers = isotropic(mask, SPACING).astype(np.uint8)
        tissue[np.isin(tissue, SPINE)] = Tissue.LIGAMENT
        tissue[numbers > 0] = Tissue.VERTEBRA
        tissue[numbers == 26] = Tissue.SACRUM
    fill_body(tissue, numbers, rng)
    return Anatomy.from_tissue(path.name.split(".")[0], tissue, numbers, SPACING)


def vertebrae_anatomy(path: Path, trunk: Anatomy, rng: np.random.Generator) -> Anatomy:
    """Anatomy of a vertebra-only mask (VerSe numbers) set into the body of `trunk`.

    The body follows the spine: it is shifted level by level until its own vertebrae, which are removed, lie where the
    mask has them. Above the body's highest vertebra it goes on as a neck.
    """
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    vertebrae = isotropic(image, SPACING).astype(np.uint8)
    vertebrae[vertebrae > 26] = 0
    # The body reaches beyond the mask, as a scan of these vertebrae would.
    vertebrae = np.pad(vertebrae, ((10, 10), (70, 50), (90, 90)))
    own, theirs = level_centres(vertebrae), level_centres(trunk.vertebrae)
    common = sorted(set(own) & set(theirs))
    if len(common) < 2:
        raise InputError(f"{path.name} shares fewer than two vertebrae with {trunk.name}; choose another trunk.")
    here = np.array([own[v] for v in common])
    there = np.array([theirs[v] for v in common])
    order = np.argsort(here[:, 0])
    here, there = here[order], there[order]
    z = np.arange(vertebrae.shape[0], dtype=float)
    source = [_extrapolate(z, here[:, 0], there[:, axis]) for axis in range(3)]
    target = [_extrapolate(z, here[:, 0], here[:, axis]) for axis in range(3)]
    tissue = np.zeros(vertebrae.shape, dtype=np.uint8)
    y, x = np.mgrid[: vertebrae.shape[1], : vertebrae.shape[2]]
    top = int(np.flatnonzero((trunk.tissue != Tissue.AIR).any(axis=(1, 2)))[-1])
    for k in range(len(z)):
        sy = np.rint(y - target[1][k] + source[1][k]).astype(int)
        sx = np.rint(x - target[2][k] + source[2][k]).astype(int)
        sz = int(np.clip(np.rint(source[0][k]), 0, top))
        inside = (sy >= 0) & (sy < trunk.tissue.shape[1]) & (sx >= 0) & (sx < trunk.tissue.shape[2])
        tissue[k][inside] = trunk.tissue[sz][sy[inside], sx[inside]]
    neck = z > own.get(8, (np.inf, 0, 0))[0]
    _draw_neck(tissue, neck, target, rng)
    tissue[tissue == Tissue.CANAL] = Tissue.MUSCLE
    if 26 not in own and min(own) >= 8 and max(own) < 24:
        tissue[tissue == Tissue.SACRUM] = Tissue.MUSCLE
    vertebrae[(tissue == Tissue.SACRUM) & (vertebrae == 0)] = 26
    _set_in(tissue, vertebrae, rng)
    return Anatomy.from_tissue(path.name.split(".")[0], tissue, vertebrae, SPACING)


def with_vertebrae(anatomy: Anatomy, vertebrae: np.ndarray, rng: np.random.Generator) -> Anatomy:
    """The same patient with other vertebrae in place of its own (uint8, VerSe numbers, z, y, x; sacrum included)."""
    tissue = anatomy.tissue.copy()
    _set_in(tissue, vertebrae, rng)
    joint = ndimage.binary_dilation(vertebrae > 0) & (tissue == Tissue.RIB)
    tissue[joint] = Tissue.LIGAMENT
    return Anatomy.from_tissue(anatomy.name, tissue, vertebrae, anatomy.spacing)


def _set_in(tissue: np.ndarray, vertebrae: np.ndarray, rng: np.random.Generator) -> None:
    """Put `vertebrae` in the place of those of a tissue map, in place, with discs, canal and ligaments between them."""
    tissue[np.isin(tissue, (Tissue.VERTEBRA, Tissue.DISC, Tissue.LIGAMENT))] = Tissue.MUSCLE
    tissue[vertebrae > 0] = Tissue.VERTEBRA
    tissue[vertebrae == 26] = Tissue.SACRUM
    _fill_between_vertebrae(tissue, vertebrae)
    _cover_spine(tissue, rng)


def isotropic(labels: sitk.Image, spacing: float) -> np.ndarray:
    """Label map (z, y, x) at isotropic `spacing` in mm, axes along the patient's, over the whole extent of `labels`."""
    corners = outer_corners(labels)
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    grid = sitk.Image(np.ceil((high - low) / spacing).astype(int).tolist(), labels.GetPixelID())
    grid.SetSpacing([spacing] * 3)
    grid.SetOrigin((low + spacing / 2).tolist())
    return sitk.GetArrayFromImage(sitk.Resample(labels, grid, sitk.Transform(), sitk.sitkNearestNeighbor))


def level_centres(vertebrae: np.ndarray) -> dict[int, tuple[float, float, float]]:
    """Centre (z, y, x in voxels) of each numbered vertebra, without those that are cut off to a rest."""
    inside = np.flatnonzero((vertebrae > 0) & (vertebrae < 26))
    numbers = vertebrae.ravel()[inside]
    sizes = np.bincount(numbers)
    sums = [np.bincount(numbers, axis) for axis in np.unravel_index(inside, vertebrae.shape)]
    there = np.flatnonzero(sizes)
    whole = there[sizes[there] > 0.4 * np.median(sizes[there])] if len(there) else there
    return {int(v): tuple(float(axis[v] / sizes[v]) for axis in sums) for v in whole}


def _extrapolate(z: np.ndarray, at: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Piecewise linear, going on beyond both ends with the mean slope between them."""
    inner = np.interp(z, at, values)
    span = max(at[-1] - at[0], 1.0)
    slope = (values[-1] - values[0]) / span
    return inner + slope * (np.minimum(z - at[0], 0) + np.maximum(z - at[-1], 0))


def _draw_neck(tissue: np.ndarray, neck: np.ndarray, target: list[np.ndarray], rng: np.random.Generator) -> None:
    """Replace the slices marked by `neck` with an elliptic neck: muscle, fat, airway, vessels, jaw and hyoid."""
    y, x = np.mgrid[: tissue.shape[1], : tissue.shape[2]].astype(np.float32)
    slices = np.flatnonzero(neck)
    half_y, half_x = rng.uniform(68, 86), rng.uniform(60, 82)
    airway = rng.uniform(7, 11)
    for n, k in enumerate(slices):
        cy, cx = target[1][k], target[2][k]
        broad = 1 + 0.9 * np.exp(-n / 18.0)  # shoulders below
        inside = ((y - cy + 8 - 22 * np.exp(-n / 40.0)) / half_y) ** 2 + ((x - cx) / (half_x * broad)) ** 2
        tissue[k] = np.where(inside < 1, Tissue.FAT, Tissue.AIR)
        tissue[k][inside < 0.82] = Tissue.MUSCLE
        deep = ((y - cy) / 34) ** 2 + ((x - cx) / 44) ** 2
        tissue[k][(deep > 0.9) & (deep < 1.0) & (inside < 0.82)] = Tissue.FAT
        tissue[k][(y - cy + 42) ** 2 + (x - cx) ** 2 < airway**2] = Tissue.GAS
        for side in (-1, 1):
            tissue[k][(y - cy + 26) ** 2 + (x - cx - side * 26) ** 2 < 16] = Tissue.ARTERY
            tissue[k][(y - cy + 24) ** 2 + (x - cx - side * 35) ** 2 < 36] = Tissue.VEIN
        jaw = n / max(len(slices), 1)
        if jaw > 0.55:
            ring = np.hypot((y - cy + 28) / 1.15, x - cx)
            tissue[k][(ring > 44) & (ring < 52) & (y < cy - 28)] = Tissue.LIMB_BONE
        elif 0.4 < jaw < 0.45:
            ring = np.hypot(y - cy + 40, x - cx)
            tissue[k][(ring > 15) & (ring < 19) & (y < cy - 40)] = Tissue.LIMB_BONE


def _fill_between_vertebrae(tissue: np.ndarray, vertebrae: np.ndarray) -> None:
    """Discs, canal and ligaments: what a closing of the vertebrae adds, split by where it lies."""
    spine = vertebrae > 0
    if not spine.any():
        return
    box = tuple(slice(max(0, s.start - 12), s.stop + 12) for s in ndimage.find_objects(spine.astype(np.uint8))[0])
    image = sitk.GetImageFromArray(spine[box].astype(np.uint8))
    closed = sitk.GetArrayFromImage(sitk.BinaryMorphologicalClosing(image, [7, 7, 9])).astype(bool)
    view, vert = tissue[box], vertebrae[box]
    free = closed & (vert == 0) & ~np.isin(view, BONES) & (view != Tissue.CANAL)
    enclosed = np.zeros_like(free)
    for k in range(free.shape[0]):
        ring = ndimage.binary_closing(vert[k] > 0, iterations=4)
        enclosed[k] = ndimage.binary_fill_holes(ring) & ~ring
    view[free] = Tissue.LIGAMENT
    view[enclosed & (vert == 0) & ~np.isin(view, BONES)] = Tissue.CANAL
    # A disc is what lies between two bodies: bone above and below within its height.
    body = ndimage.binary_opening(vert > 0, structure=np.ones((3, 9, 9)))
    above = ndimage.maximum_filter1d(body.astype(np.uint8), 13, axis=0, origin=-6)
    below = ndimage.maximum_filter1d(body.astype(np.uint8), 13, axis=0, origin=6)
    view[free & (above > 0) & (below > 0) & ~enclosed] = Tissue.DISC


def _cover_spine(tissue: np.ndarray, rng: np.random.Generator) -> None:
    """Lay fat and skin over a spine that would stand out of the body."""
    step = 2
    spine = sitk.GetImageFromArray(np.isin(tissue[::step, ::step, ::step], SPINE).astype(np.uint8))
    spine.SetSpacing([step] * 3)
    distance = sitk.SignedMaurerDistanceMap(spine, squaredDistance=False, useImageSpacing=True)
    fine = sitk.Image(tissue.shape[2], tissue.shape[1], tissue.shape[0], sitk.sitkFloat32)
    distance = sitk.GetArrayFromImage(sitk.Resample(distance, fine, sitk.Transform(), sitk.sitkLinear, 1000.0))
    fat = rng.uniform(8, 22)
    air = tissue == Tissue.AIR
    tissue[air & (distance < fat + 2)] = Tissue.SKIN
    tissue[air & (distance < fat)] = Tissue.FAT


def fill_body(tissue: np.ndarray, vertebrae: np.ndarray, rng: np.random.Generator) -> None:
    """Fill what a trunk label map leaves empty, in place: spine gaps, then fat and muscle inside a drawn skin."""
    _fill_between_vertebrae(tissue, vertebrae)
    known = tissue != Tissue.AIR
    # Body outline: slice-wise closing of everything known (at 4 mm, where it costs little), then a layer of fat.
    step = 4
    coarse = known[::step, ::step, ::step]
    margin = 12
    coarse = np.pad(coarse, ((0, 0), (margin, margin), (margin, margin)))
    disk = np.hypot(*np.mgrid[-9:10, -9:10]) <= 9.2
    outline = np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(s, disk)) for s in coarse])
    outline = outline[:, margin:-margin, margin:-margin].astype(np.float32)
    outline = ndimage.gaussian_filter(outline, (1.5, 0.7, 0.7))
    fat = rng.uniform(5, 28)
    inner = sitk.GetImageFromArray((outline > 0.5).astype(np.uint8))
    inner.SetSpacing([step] * 3)
    distance = sitk.SignedMaurerDistanceMap(inner, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    fine = sitk.Image(tissue.shape[2], tissue.shape[1], tissue.shape[0], sitk.sitkFloat32)
    distance = sitk.GetArrayFromImage(sitk.Resample(distance, fine, sitk.Transform(), sitk.sitkLinear, -100.0))
    empty = tissue == Tissue.AIR
    tissue[empty & (distance > -fat - 2)] = Tissue.SKIN
    tissue[empty & (distance > -fat)] = Tissue.FAT
    wall = smooth_noise(tissue.shape, 22.0, rng)
    tissue[empty & (distance > 0) & (distance < 16) & (wall > -0.4)] = Tissue.MUSCLE
    tissue[empty & (distance >= 16) & (wall > 0.8)] = Tissue.MUSCLE
    _cover_spine(tissue, rng)
