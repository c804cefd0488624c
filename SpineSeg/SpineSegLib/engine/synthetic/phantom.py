"""Phantoms: procedural patients, scanned, with the truth about every vertebra; and two objects without a spine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.dicom_write import write_ct_series
from SpineSegLib.engine.files.writing import write_image
from SpineSegLib.engine.synthetic.anatomy import Anatomy
from SpineSegLib.engine.synthetic.canvas import Canvas, union
from SpineSegLib.engine.synthetic.implants import draw_cement, draw_screws
from SpineSegLib.engine.synthetic.implicit import WORLD, Ellipsoid, Grid, Limb
from SpineSegLib.engine.synthetic.scanner import ScanSettings, acquire, truth_on_grid
from SpineSegLib.engine.synthetic.skeleton import Cage, draw_pelvis, draw_ribs, draw_shoulders
from SpineSegLib.engine.synthetic.spine import Spine, SpineTraits
from SpineSegLib.engine.synthetic.tissues import Painted, Tissue, TissueStyle, paint
from SpineSegLib.engine.synthetic.trunk import Trunk, TrunkTraits
from SpineSegLib.engine.synthetic.vertebra import SACRUM

KINDS = ("spine", "water", "head")
VIEWS = ("spine", "trunk")
IMPLANTS = ("none", "screws", "cement")
# Lowest and highest level in the scan.
REGIONS = {
    "lumbar": ("S2", "T12"),
    "lumbosacral": ("S5", "L1"),
    "thoracolumbar": ("L4", "T9"),
    "thoracic": ("L1", "C7"),
    "abdomen": ("S5", "T10"),
    "whole": ("S5", "C7"),
}
_POROTIC_HU = 90.0  # spongy bone below this is osteoporotic (Pickhardt et al., Ann Intern Med 2013;158:588-595)


@dataclass(frozen=True)
class Phantom:
    """A scanned phantom: `image` int16 HU; on the same grid `mask` uint8 (1 vertebrae, 2 sacrum with coccyx) and
    `vertebrae` uint8 (C1-7 1-7, T1-12 8-19, L1-6 20-25, sacrum 26). `name` tells what it shows."""

    image: sitk.Image
    mask: sitk.Image
    vertebrae: sitk.Image
    name: str


@dataclass(frozen=True)
class Body:
    """Traits of a procedural patient and of what the scan covers.

    `region`: key of REGIONS or a pair of levels (lowest, highest), e.g. ("L5", "L1"). `view`: "spine" is a small field
    of view around the spine, "trunk" the whole body. `detail`: voxel size in mm of the anatomy that is scanned.
    `implants`: one of IMPLANTS.
    """

    spine: SpineTraits
    trunk: TrunkTraits
    region: str | tuple[str, str] = "lumbar"
    view: str = "spine"
    detail: float = 1.0
    implants: str = "none"
    seed: int = 0


def build_body(body: Body) -> tuple[Anatomy, tuple[float, float, float]]:
    """Build a patient; returns the anatomy and the LPS position (x, y, z) in mm of its first voxel.

    The origin of patient space is the middle of the sacral endplate. Raises InputError for an unknown region or view.
    """
    rng = np.random.default_rng([body.seed, 31])
    spine = Spine(body.spine)
    stout = 1 + 0.002 * (body.trunk.fat - 18)
    cage = Cage(spine, stout * float(rng.uniform(0.94, 1.06)), stout * float(rng.uniform(0.92, 1.08)))
    trunk = Trunk(body.trunk, spine, cage)
    grid, inside = _field_of_view(body, spine, trunk, rng)
    canvas = Canvas(grid)
    trunk.draw_under(canvas)
    spine.draw_soft(canvas)
    spine.draw_bones(canvas)
    draw_ribs(canvas, spine, cage, rng)
    draw_shoulders(canvas, spine, cage, body.trunk.arms_down)
    draw_pelvis(canvas, spine, rng)
    trunk.draw_outside(canvas)
    levels = [level for level in spine.levels if level.name in inside]
    if body.implants == "screws":
        candidates = [level for level in levels if level.name[0] != "C"]
        count = min(len(candidates), int(rng.integers(2, 5)))
        first = int(rng.integers(0, len(candidates) - count + 1))
        draw_screws(canvas, candidates[first : first + count], rng)
    elif body.implants == "cement" and levels:
        draw_cement(canvas, levels[int(rng.integers(len(levels)))], rng)
    elif body.implants not in IMPLANTS:
        raise InputError(f"Unknown implants '{body.implants}'; choose one of {', '.join(IMPLANTS)}.")
    return canvas.anatomy("phantom"), grid.origin


def _field_of_view(body: Body, spine: Spine, trunk: Trunk, rng: np.random.Generator) -> tuple[Grid, set[str]]:
    """The grid to build on, and the names of the vertebrae within."""
    if isinstance(body.region, str) and body.region not in REGIONS:
        raise InputError(
            f"Unknown region '{body.region}'; choose one of {', '.join(REGIONS)}, or two levels such as L5 L1."
        )
    if body.view not in VIEWS:
        raise InputError(f"Unknown view '{body.view}'; choose one of {', '.join(VIEWS)}.")
    lowest, highest = REGIONS[body.region] if isinstance(body.region, str) else body.region
    low, high = _height(spine, lowest, -1), _height(spine, highest, 1)
    if low >= high:
        raise InputError(f"The region from {lowest} to {highest} is empty; name the lower level first.")
    low, high = low - float(rng.uniform(0, 10)), high + float(rng.uniform(0, 10))
    k = body.spine.size
    inside = [level for level in spine.levels if low < level.frame.centre[2] < high]
    centres = np.array([level.frame.centre for level in inside] or [np.zeros(3)])
    if body.view == "spine":
        if low < -10:
            centres = np.concatenate([centres, [s.centre for s, _ in spine.sacrum if s.centre[2] > low]])
        half = float(rng.uniform(62, 85)) * k
        left, right = centres[:, 0].min() - half, centres[:, 0].max() + half
        front, back = (
            centres[:, 1].min() - float(rng.uniform(35, 60)) * k,
            centres[:, 1].max() + float(rng.uniform(72, 88)) * k,
        )
    else:
        half, front, back = trunk.extent(np.arange(low, high, 4.0))
        left, right = -half - 12, half + 12
        front, back = front - 12, back + 48
    step = body.detail
    shape = tuple(int(np.ceil((b - a) / step)) for a, b in ((low, high), (front, back), (left, right)))
    return Grid(shape, step, (float(left), float(front), float(low))), {level.name for level in inside}


def _height(spine: Spine, name: str, side: int) -> float:
    """z in mm of the lower (side -1) or upper (1) end of a level; S1 to S5 belong to the sacrum."""
    if name in ("S1", "S2", "S3", "S4", "S5"):
        frame, size = spine.sacrum[int(name[1]) - 1]
        below = 45 * spine.traits.size if name == "S5" and side < 0 else 0.0
        return float(frame.to_patient((0, 0, side * size[2] / 2))[2]) - below
    try:
        level = spine.level(name)
    except KeyError:
        names = ", ".join(level.name for level in reversed(spine.levels))
        raise InputError(f"This phantom has no level {name}; it has {names} and S1 to S5.") from None
    return float(level.frame.to_patient((0, 0, side * level.size.height / 2))[2])


def make_phantom(seed: int, kind: str = "spine", **choices: object) -> Phantom:
    """Make a phantom; the same seed and choices give the same bytes.

    `kind`: "spine" (a patient), or an object without a spine: "water" (a cylinder), "head" (skull and brain).
    `choices` fix what would be drawn: fields of Body (`region`, `view`, `detail`, `implants`), SpineTraits (`cobb`,
    `size`, `fractures` ...), TrunkTraits (`fat`, `arms_down` ...), TissueStyle (`trabecular_hu`, `enhancement` ...) and
    ScanSettings (`spacing`, `thickness`, `noise_hu` ...). Raises InputError for an unknown kind or choice.
    """
    if kind not in KINDS:
        raise InputError(f"Unknown kind of phantom '{kind}'; choose one of {', '.join(KINDS)}.")
    own = ("region", "view", "detail", "implants")
    groups = {
        cls: {f.name for f in fields(cls)} - {"seed"} for cls in (SpineTraits, TrunkTraits, TissueStyle, ScanSettings)
    }
    known = set(own).union(*groups.values())
    unknown = sorted(set(choices) - known)
    if unknown:
        raise InputError(f"Phantoms know no choice {', '.join(unknown)}; there are {', '.join(sorted(known))}.")
    picked = {cls: {n: v for n, v in choices.items() if n in names} for cls, names in groups.items()}
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    style = TissueStyle.random(rng, **picked[TissueStyle])
    scan = ScanSettings.random(rng, **picked[ScanSettings])
    spine = SpineTraits.random(rng, style.trabecular_hu < _POROTIC_HU, **picked[SpineTraits])
    trunk = TrunkTraits.random(rng, **picked[TrunkTraits])
    drawn: dict[str, object] = {
        "region": str(rng.choice(list(REGIONS), p=[0.35, 0.12, 0.15, 0.18, 0.14, 0.06])),
        "view": str(rng.choice(VIEWS, p=[0.6, 0.4])),
        "implants": str(rng.choice(IMPLANTS, p=[0.84, 0.1, 0.06])),
    }
    drawn["detail"] = 1.0 if choices.get("view", drawn["view"]) == "spine" else 1.25
    body = Body(
        spine, trunk, seed=int(rng.integers(2**31)), **{**drawn, **{n: choices[n] for n in own if n in choices}}
    )
    if kind == "water":
        water = _water(body.detail)
        nothing = np.zeros_like(water)
        painted, numbers = Painted(water, nothing, nothing), np.zeros(water.shape, np.uint8)
        return _scan(painted, numbers, (0.0, 0.0, 0.0), body.detail, scan, style.edge_hu, rng, "water cylinder")
    if kind == "head":
        anatomy, origin = _head(body.detail, rng)
    else:
        anatomy, origin = build_body(body)
    painted = paint(anatomy.tissue, anatomy.spacing, style, rng, anatomy.spine_depth, anatomy.bone_depth)
    name = (
        "head"
        if kind == "head"
        else f"{body.region if isinstance(body.region, str) else '-'.join(body.region)} {body.view}"
    )
    return _scan(
        painted, anatomy.vertebrae, origin, anatomy.spacing, scan, style.edge_hu, rng, f"phantom {seed} {name}"
    )


def _scan(
    painted: Painted,
    vertebrae: np.ndarray,
    origin: tuple[float, float, float],
    spacing: float,
    scan: ScanSettings,
    edge_hu: float,
    rng: np.random.Generator,
    name: str,
) -> Phantom:
    patient = sitk.GetImageFromArray(painted.hu)
    patient.SetSpacing([spacing] * 3)
    patient.SetOrigin(origin)
    ct = acquire(patient, scan, rng)
    numbers = truth_on_grid(painted, vertebrae, patient, ct, scan, edge_hu)
    truth = sitk.GetArrayFromImage(numbers)
    mask = sitk.GetImageFromArray(np.where(truth == SACRUM, 2, truth > 0).astype(np.uint8))
    mask.CopyInformation(ct)
    return Phantom(ct, mask, numbers, name)


def _water(step: float) -> np.ndarray:
    """HU (z, y, x) of a cylinder of water, 200 mm wide and 60 mm long, with a wall of acrylic glass."""
    n, length = int(260 / step), int(60 / step)
    y, x = (np.mgrid[:n, :n] - (n - 1) / 2) * step
    radius = np.hypot(y, x)
    wall = np.clip((106 - radius) / step + 0.5, 0, 1)
    water = np.clip((100 - radius) / step + 0.5, 0, 1)
    disc = -1000 + wall * (1000 + 120) - water * 120
    return np.repeat(disc[None].astype(np.float32), length, axis=0)


def _head(step: float, rng: np.random.Generator) -> tuple[Anatomy, tuple[float, float, float]]:
    """A head above the foramen magnum: scalp, skull, brain, orbits, sinuses and upper jaw, no vertebra."""
    origin = (-100.0, -125.0, -70.0)
    grid = Grid((int(170 / step), int(250 / step), int(200 / step)), step, origin)
    canvas = Canvas(grid)
    face = [Ellipsoid((0, 0, 10), (82, 104, 88)), Limb((0, -62, -20), (0, -62, -70), (60, 52), across=(1, 0, 0))]
    neck = [Limb((0, 20, -40), (0, 30, -90), (62, 66), across=(1, 0, 0))]
    canvas.shapes(face + neck, Tissue.SKIN, blend=12.0)
    inner = [Ellipsoid((0, 0, 10), (79, 101, 85)), Limb((0, -62, -20), (0, -62, -70), (57, 49), across=(1, 0, 0))]
    canvas.shapes([*inner, Limb((0, 20, -40), (0, 30, -90), (59, 63), across=(1, 0, 0))], Tissue.MUSCLE, blend=12.0)
    vault = union(grid, [Ellipsoid((0, 0, 10), (75, 96, 80))], WORLD, 0.0, (rng, 2.0))
    brain = union(grid, [Ellipsoid((0, 0, 12), (68, 88, 71))], WORLD, 0.0, (rng, 2.0))
    canvas.soft(brain, Tissue.BRAIN)
    vault.keep_away(brain, 0.0)
    canvas.bone(vault, Tissue.SKULL)
    canvas.shapes([Limb((0, 15, 5), (0, -25, 10), (9, 20), across=(1, 0, 0))], Tissue.CANAL)
    jaw = union(
        grid, [Limb((s * 38, -40, -58), (s * 14, -92, -52), (7, 14), across=(1, 0.6, 0)) for s in (1, -1)], WORLD, 3.0
    )
    canvas.bone(jaw, Tissue.SKULL)
    for side in (1, -1):
        canvas.shapes([Ellipsoid((side * 32, -82, -16), (17, 20, 16))], Tissue.FAT, within=(Tissue.MUSCLE,))
        canvas.shapes([Ellipsoid((side * 32, -88, -16), (11.5, 11.5, 11.5))], Tissue.BLADDER, within=(Tissue.FAT,))
        canvas.shapes([Ellipsoid((side * 24, -70, -42), (14, 16, 14))], Tissue.GAS, within=(Tissue.MUSCLE,))
    canvas.shapes(
        [Limb((0, -60, -40), (0, -45, -66), (8, 14), across=(1, 0, 0))], Tissue.GAS, within=(Tissue.MUSCLE, Tissue.GAS)
    )
    return canvas.anatomy("head"), origin


def write_phantom(folder: str | Path, phantom: Phantom, format: str = "dicom") -> Path:
    """Write a phantom into `folder` and return the path of the CT: `dicom/` (a CT series) or `ct.nii.gz`.

    Beside it stand `mask.nii.gz` and `vertebrae.nii.gz`. Raises InputError for an unknown format, OutputError where the
    folder can't be written.
    """
    if format not in ("dicom", "nifti"):
        raise InputError(f"Unknown format '{format}'; choose dicom or nifti.")
    folder = Path(folder)
    if format == "dicom":
        ct = folder / "dicom"
        # UIDs follow from the content: equal phantoms are the same series, different ones never are.
        content = hashlib.sha256(sitk.GetArrayViewFromImage(phantom.image).tobytes())
        content.update(repr((phantom.image.GetOrigin(), phantom.image.GetSpacing())).encode())
        write_ct_series(ct, phantom.image, seed=content.hexdigest(), series_description=phantom.name)
    else:
        ct = folder / "ct.nii.gz"
        write_image(phantom.image, ct)
    write_image(phantom.mask, folder / "mask.nii.gz")
    write_image(phantom.vertebrae, folder / "vertebrae.nii.gz")
    return ct
