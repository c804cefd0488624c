"""Training cases: found in a folder, prepared once on the working grid, and drawn from as augmented patches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.augmentation import Augmentation, augment
from SpineSegLib.engine.axial import AxialSlices
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.metrics import same_grid
from SpineSegLib.engine.preprocessing import AIR_HU, Preprocessing
from SpineSegLib.engine.reading import VOLUME_ENDINGS, existing, read_labelmap, read_volume

_HIGHEST_HU = 3071.0
_BONE_HU = 250


@dataclass(frozen=True)
class TrainingCase:
    """A CT and its mask on disk. `patient` keeps scans of one patient on one side of a split."""

    name: str
    patient: str
    ct: Path
    mask: Path


def find_cases(folder: Path) -> list[TrainingCase]:
    """Cases of a training folder: one sub-folder each, holding `ct` (a file, or a DICOM folder `dicom`) and `mask`.

    `case.json` may name the `patient`; otherwise the sub-folder's name does. Raises InputError if there is none.
    """
    cases = []
    folders = [p for p in existing(folder).iterdir() if p.is_dir() and not p.name.startswith(".")]
    for place in sorted(folders):
        ct = _first(place, "ct", VOLUME_ENDINGS) or (place / "dicom" if (place / "dicom").is_dir() else None)
        mask = _first(place, "mask", (".seg.nrrd", *VOLUME_ENDINGS))
        if ct and mask:
            cases.append(TrainingCase(place.name, _patient(place), ct, mask))
    if not cases:
        raise InputError(f"{folder} holds no training case; it needs sub-folders with ct.nii.gz and mask.nii.gz each.")
    return cases


def _first(place: Path, stem: str, endings: Sequence[str]) -> Path | None:
    return next((place / (stem + ending) for ending in endings if (place / (stem + ending)).exists()), None)


def _patient(place: Path) -> str:
    """Who a case shows: what its case.json says, else the name of its folder."""
    about = place / "case.json"
    if not about.exists():
        return place.name
    try:
        return str(json.loads(about.read_text(encoding="utf-8")).get("patient", place.name))
    except (OSError, ValueError, AttributeError):
        raise InputError(f'{about} is damaged; it must hold {{"patient": "any name"}}, or remove it.') from None


def split_patients(
    cases: Sequence[TrainingCase], share: float, seed: int
) -> tuple[list[TrainingCase], list[TrainingCase]]:
    """Training and validation cases, no patient in both; about `share` of the patients, at least one, validate.

    Raises InputError if there is only one patient.
    """
    patients = sorted({case.patient for case in cases})
    if len(patients) < 2:
        raise InputError(
            "Training needs at least two patients, one of them to validate; add a case or name --validation."
        )
    count = min(len(patients) - 1, max(1, round(share * len(patients))))
    chosen = set(np.random.default_rng(seed).permutation(patients)[:count].tolist())
    return [c for c in cases if c.patient not in chosen], [c for c in cases if c.patient in chosen]


@dataclass(frozen=True)
class PreparedCase:
    """A case on the model's working grid.

    `hu`: int16 (z, y, x); `labels`: uint8 (z, y, x), index of the model's label plus 1, 0 background;
    `step`: mm between slices; `spine_slices`: indices of slices that hold spine.
    """

    name: str
    patient: str
    hu: np.ndarray
    labels: np.ndarray
    step: float
    spine_slices: np.ndarray

    def slab(self, index: int, context: Sequence[float]) -> np.ndarray:
        """Slices at `index` plus the context's offsets in mm: float32 HU (channels, y, x), interpolated and clamped."""
        top = len(self.hu) - 1
        slices = []
        for offset in context:
            at = min(max(index + offset / self.step, 0.0), float(top))
            low = min(int(at), max(top - 1, 0))
            part = np.float32(at - low)
            plane = self.hu[low].astype(np.float32)
            slices.append(plane if part == 0 else (1 - part) * plane + part * self.hu[min(low + 1, top)])
        return np.stack(slices)


def prepare(case: TrainingCase, preprocessing: Preprocessing, label_count: int, cache: Path) -> PreparedCase:
    """Bring a case to the working grid and keep it in `cache`, from where it is memory-mapped.

    With one label, every value of the mask counts as it. Raises InputError where CT and mask don't lie on the same
    grid, and where the mask is empty or has labels the model doesn't know.
    """
    files = [cache / f"{_key(case, preprocessing, label_count)}.{kind}.npy" for kind in ("hu", "labels", "step")]
    if not all(file.exists() for file in files):
        hu, labels, step = _on_working_grid(case, preprocessing, label_count)
        cache.mkdir(parents=True, exist_ok=True)
        for file, array in zip(files, (hu, labels, np.array(step)), strict=True):
            np.save(file, array)
    hu, labels = (np.load(file, mmap_mode="r") for file in files[:2])
    spine = np.flatnonzero(labels.any(axis=(1, 2)))
    return PreparedCase(case.name, case.patient, hu, labels, float(np.load(files[2])), spine)


def _key(case: TrainingCase, preprocessing: Preprocessing, label_count: int) -> str:
    """Name of what `prepare` keeps: another one after CT, mask or settings change."""
    state = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in (case.ct, case.mask)]
    return hashlib.sha256(repr((state, preprocessing, label_count)).encode()).hexdigest()[:24]


def _on_working_grid(
    case: TrainingCase, preprocessing: Preprocessing, label_count: int
) -> tuple[np.ndarray, np.ndarray, float]:
    image = read_volume(case.ct).image
    mask = read_labelmap(case.mask)
    if not same_grid(image, mask):
        raise InputError(f"The mask of {case.name} lies on another grid than its CT; resample it to the CT first.")
    plain = replace(preprocessing, context=(0.0,), window=(AIR_HU, _HIGHEST_HU), bits=None)
    slices = AxialSlices(image, plain)
    along, rows, columns = slices.region
    scaled = slices.batch(along.start, along.stop)[:, 0]
    hu = np.round(scaled * (_HIGHEST_HU - AIR_HU) + AIR_HU).astype(np.int16)
    values = sitk.GetArrayViewFromImage(mask)
    if label_count > 1 and values.max() > label_count:
        raise InputError(
            f"The mask of {case.name} has labels up to {values.max()}, but the model knows 1 to {label_count}; "
            "change them to 1 for vertebrae and 2 for the sacrum."
        )
    best = np.zeros(hu.shape, dtype=np.float32)
    total = np.zeros_like(best)
    labels = np.zeros(hu.shape, dtype=np.uint8)
    for label in range(1, label_count + 1):
        here = values == label if label_count > 1 else values > 0
        share = sitk.GetImageFromArray(here.astype(np.float32))
        share.CopyInformation(mask)
        whole = AxialSlices(share, replace(plain, window=(0.0, 1.0)), whole=True)
        share = whole.batch(along.start, along.stop)[:, 0, rows, columns]
        labels[share > best] = label
        np.maximum(best, share, out=best)
        total += share
    labels[total < 0.5] = 0
    if not labels.any():
        raise InputError(f"The mask of {case.name} is empty on the working grid; remove the case or correct its mask.")
    return hu, labels, slices.grid.spacing[0]


@dataclass(frozen=True)
class PatchSampler:
    """Draws training patches. A batch depends on `seed` and its number alone, whichever thread draws it.

    `size`: height and width in working pixels. `spine`, `bone`: shares of the patches placed on spine, and on anything
    else as dense as bone (ribs, pelvis, arms, contrast medium); the rest come from anywhere.
    """

    cases: Sequence[PreparedCase]
    preprocessing: Preprocessing
    size: int
    augmentation: Augmentation
    seed: int
    spine: float = 0.6
    bone: float = 0.25

    def batch(self, number: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Normalised float32 (n, y, x, channels) and labels int32 (n, y, x)."""
        rng = np.random.default_rng([self.seed, number])
        images = np.empty((count, self.size, self.size, len(self.preprocessing.context)), dtype=np.float32)
        labels = np.empty((count, self.size, self.size), dtype=np.int32)
        for n in range(count):
            hu, truth = self._patch(rng)
            hu, truth = augment(hu, truth, self.augmentation, rng)
            images[n] = np.moveaxis(self.preprocessing.normalise(hu), 0, -1)
            labels[n] = truth
        return images, labels

    def _patch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        case = self.cases[int(rng.integers(len(self.cases)))]
        kind = rng.random()
        index = int(rng.choice(case.spine_slices) if kind < self.spine else rng.integers(len(case.hu)))
        truth = np.asarray(case.labels[index])
        at = np.empty((0, 2), dtype=int)
        if kind < self.spine:
            at = np.argwhere(truth)
        elif kind < self.spine + self.bone:
            at = np.argwhere((case.hu[index] > _BONE_HU) & (truth == 0))
        if len(at):
            middle = at[int(rng.integers(len(at)))] + rng.integers(-self.size // 4, self.size // 4 + 1, 2)
        else:
            middle = [int(rng.integers(n)) for n in truth.shape]
        start = [_start(int(m), self.size, n) for m, n in zip(middle, truth.shape, strict=True)]
        return (
            _cut(case.slab(index, self.preprocessing.context), start, self.size, AIR_HU),
            _cut(truth[None], start, self.size, 0)[0],
        )


def _start(middle: int, size: int, extent: int) -> int:
    """First pixel of a patch around `middle`: inside the slice where it is large enough, else centred on it."""
    if extent <= size:
        return (extent - size) // 2
    return int(np.clip(middle - size // 2, 0, extent - size))


def _cut(array: np.ndarray, start: Sequence[int], size: int, outside: float) -> np.ndarray:
    """Patch (channels, size, size) of an array (channels, y, x), filled with `outside` beyond its edges."""
    patch = np.full((len(array), size, size), outside, dtype=array.dtype)
    inner, outer = [], []
    for first, extent in zip(start, array.shape[1:], strict=True):
        low, high = max(first, 0), min(first + size, extent)
        outer.append(slice(low, high))
        inner.append(slice(low - first, high - first))
    patch[:, inner[0], inner[1]] = array[:, outer[0], outer[1]]
    return patch


def prepare_all(
    cases: Sequence[TrainingCase],
    preprocessing: Preprocessing,
    label_count: int,
    cache: Path,
    progress: Callable[[int, int], None] = lambda _done, _count: None,
) -> list[PreparedCase]:
    """Prepare every case; `progress` gets the number done and the total."""
    prepared = []
    for done, case in enumerate(cases, start=1):
        prepared.append(prepare(case, preprocessing, label_count, cache))
        progress(done, len(cases))
    return prepared
