"""Training cases: found in a folder, prepared once on the working grid, and drawn from as augmented patches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.axial import AxialSlices, aligned_axes
from SpineSegLib.engine.axis_weights import axis_weights
from SpineSegLib.engine.comparison.grids import on_grid_of, same_grid
from SpineSegLib.engine.datasets.case import Case, about_case
from SpineSegLib.engine.datasets.find import find_dataset
from SpineSegLib.engine.datasets.labels import UNCHECKED, structures_of_names, to_training_labels
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.reading import VOLUME_ENDINGS, existing, read_labelmap, read_volume, segment_names
from SpineSegLib.engine.files.writing import atomic_output
from SpineSegLib.engine.models.preprocessing import AIR_HU, Preprocessing
from SpineSegLib.engine.training.augmentation import Augmentation, augment
from SpineSegLib.engine.volume import Volume

_HIGHEST_HU = 3071.0
_BONE_HU = 250
_ENDS_MM = 30.0  # a vertebra with its processes reaches so far into the slices of its neighbour


@dataclass(frozen=True)
class CaseImages:
    """A CT in HU and its mask. `checked`: whether the mask is right on each slice along the stored axis that runs along
    the patient's (bool, in stored order); None where all of them are. `spineless`: the CT shows no spine, so that the
    mask is empty on purpose."""

    ct: sitk.Image
    mask: sitk.Image
    checked: np.ndarray | None = None
    spineless: bool = False


class CaseSource(Protocol):
    """A case to train on, wherever it is kept. `patient` keeps scans of one patient on one side of a split."""

    name: str
    patient: str

    def images(self) -> CaseImages:
        """Read it. Raises InputError."""

    def state(self) -> str:
        """A text that is another one after the case has changed."""


@dataclass(frozen=True)
class TrainingCase:
    """A CT and its mask on disk: a `CaseSource`. `spineless`: see `CaseImages`."""

    name: str
    patient: str
    ct: Path
    mask: Path
    spineless: bool = False

    @property
    def masks(self) -> tuple[Path, ...]:
        """All files of the mask."""
        return (self.mask,)

    def images(self) -> CaseImages:
        mask = read_labelmap(self.mask)
        if structures := structures_of_names(segment_names(mask)):  # Slicer numbers segments in the order of drawing
            mask = to_training_labels(mask, structures)
        return CaseImages(read_volume(self.ct).image, mask, spineless=self.spineless)

    def state(self) -> str:
        files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in (self.ct, self.mask)]
        return repr(files)


@dataclass(frozen=True)
class PublicCase:
    """A case of a data set in a layout of its own (see `engine.datasets`), its labels turned into ours: a `CaseSource`.

    Of cases with partial annotation only slices well between the first and the last annotated vertebra count as
    checked, as the ends of other vertebrae and the sacrum reach into the slices around those.
    """

    case: Case

    @property
    def name(self) -> str:
        return self.case.name

    @property
    def title(self) -> str:
        """What people may read of its name."""
        return "A case" if self.case.private else self.case.name

    @property
    def patient(self) -> str:
        return self.case.patient

    def images(self) -> CaseImages:
        volume = self.case.read_volume()
        mask, checked = training_mask(self.case, volume)
        empty = not sitk.GetArrayViewFromImage(mask).any()
        return CaseImages(volume.image, mask, checked, spineless=self.case.complete and empty)

    @property
    def masks(self) -> tuple[Path, ...]:
        """All files of the mask."""
        files = [p for top in self.case.files for p in (sorted(top.rglob("*")) if top.is_dir() else [top])]
        return tuple(path for path in files if path.is_file())

    def state(self) -> str:
        return self.case.state()


def training_mask(case: Case, volume: Volume) -> tuple[sitk.Image, np.ndarray | None]:
    """The reference of a case on the grid of its CT as the default model learns it, see `to_training_labels`; and
    whether it is right on each slice along the stored axis that runs along the patient's (None: on all).

    Raises InputError.
    """
    if case.coarse:
        raise InputError("Its mask holds other bones than the spine, which would be learned as vertebrae.")
    reference = case.read_reference(volume)
    mask = to_training_labels(reference.image, reference.structures, reference.ignored)
    mask, _ = on_grid_of(volume.image, mask)
    if not case.partial and reference.ignored is None:
        return mask, None
    axes = aligned_axes(mask.GetDirection())
    if axes is None:
        raise InputError(
            "A CT of which only a part is annotated lies obliquely; resample CT and mask along the patient's axes."
        )
    values = sitk.GetArrayFromImage(mask)
    within = tuple(2 - other for other in range(3) if other != axes[0][2])  # a slice
    checked = np.ones(values.shape[2 - axes[0][2]], dtype=bool)
    if reference.ignored is not None:
        checked = ~(values == UNCHECKED).any(axis=within)
        values[values == UNCHECKED] = 0
        checked_mask = sitk.GetImageFromArray(values)
        checked_mask.CopyInformation(mask)
        mask = checked_mask
    if case.partial:
        checked &= _between_ends(values.any(axis=within), round(_ENDS_MM / mask.GetSpacing()[axes[0][2]]))
    return mask, checked


def _between_ends(marked: np.ndarray, margin: int) -> np.ndarray:
    """Which slices lie between the first and the last marked one, by `margin` slices or more."""
    inside = np.zeros(len(marked), dtype=bool)
    found = np.flatnonzero(marked)
    if len(found):
        inside[found[0] + margin : max(found[-1] + 1 - margin, 0)] = True
    return inside


def find_cases(folder: Path) -> list[TrainingCase | PublicCase]:
    """Cases of a training folder: one sub-folder each, holding `ct` (a file, or a DICOM folder `dicom`) and `mask`; or
    of a data set that `find_dataset` knows.

    `case.json` may name the `patient`; otherwise the sub-folder's name does. It may say `"spineless": true` of a CT
    without a spine, which teaches what is none. Raises InputError if there is no case.
    """
    cases = []
    folders = [p for p in existing(folder).iterdir() if p.is_dir() and not p.name.startswith(".")]
    for place in sorted(folders):
        ct = _first(place, "ct", VOLUME_ENDINGS) or (place / "dicom" if (place / "dicom").is_dir() else None)
        mask = _first(place, "mask", (".seg.nrrd", *VOLUME_ENDINGS))
        if ct and mask:
            about = about_case(place)
            spineless = about.get("spineless", False) is True
            cases.append(TrainingCase(place.name, str(about.get("patient", place.name)), ct, mask, spineless))
    return cases or [PublicCase(case) for case in find_dataset(folder).cases if case.files]


def _first(place: Path, stem: str, endings: Sequence[str]) -> Path | None:
    return next((place / (stem + ending) for ending in endings if (place / (stem + ending)).exists()), None)


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
    `step`: mm between slices; `slices`: indices of those whose labels are right; `spine_slices`: of these, those that
    hold spine.
    """

    name: str
    patient: str
    hu: np.ndarray
    labels: np.ndarray
    step: float
    slices: np.ndarray
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


def prepare(case: CaseSource, preprocessing: Preprocessing, label_count: int, cache: Path) -> PreparedCase:
    """Bring a case to the working grid and keep it in `cache`, from where it is memory-mapped.

    With one label, every value of the mask counts as it. Raises InputError where CT and mask don't lie on the same
    grid, and where the mask is empty (but for a case without a spine) or has labels the model doesn't know.
    """
    # another name after CT, mask or settings change
    key = hashlib.sha256(repr((case.state(), preprocessing, label_count)).encode()).hexdigest()[:24]
    files = [cache / f"{key}.{kind}.npy" for kind in ("hu", "labels", "slices", "step")]
    if not all(file.exists() for file in files):
        arrays = _on_working_grid(case, preprocessing, label_count)
        cache.mkdir(parents=True, exist_ok=True)
        for file, array in zip(files, arrays, strict=True):
            with atomic_output(file) as temporary:
                np.save(temporary, array)
    hu, labels = (np.load(file, mmap_mode="r") for file in files[:2])
    slices = np.load(files[2])
    spine = slices[labels[slices].any(axis=(1, 2))]
    return PreparedCase(case.name, case.patient, hu, labels, float(np.load(files[3])), slices, spine)


def _on_working_grid(
    case: CaseSource, preprocessing: Preprocessing, label_count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What a PreparedCase holds: HU, labels, indices of the slices whose labels are right, mm between slices."""
    images = case.images()
    image, mask = images.ct, images.mask
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
    usable = _checked_slices(image, images.checked, slices)
    if not labels[usable].any() and not images.spineless:
        raise InputError(f"The mask of {case.name} is empty on the working grid; remove the case or correct its mask.")
    return hu, labels, usable, np.array(slices.grid.spacing[0])


def _checked_slices(image: sitk.Image, checked: np.ndarray | None, slices: AxialSlices) -> np.ndarray:
    """Of the slices of the region, the indices of those made of checked stored slices alone."""
    along = slices.region[0]
    axes = aligned_axes(image.GetDirection())
    if checked is None or axes is None:
        return np.arange(along.stop - along.start)
    stored, backwards = axes
    upwards = checked[::-1] if backwards[2] else checked
    step = image.GetSpacing()[stored[2]]
    weights = axis_weights(len(upwards), step, slices.grid.shape[0], slices.grid.spacing[0])
    return np.flatnonzero((weights @ upwards.astype(np.float64))[along] > 0.999)


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
        on_spine = kind < self.spine and len(case.spine_slices) > 0
        index = int(rng.choice(case.spine_slices if on_spine else case.slices))
        truth = np.asarray(case.labels[index])
        at = np.empty((0, 2), dtype=int)
        if on_spine:
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
    cases: Sequence[CaseSource],
    preprocessing: Preprocessing,
    label_count: int,
    cache: Path,
    progress: Callable[[int, int], None] = lambda _done, _count: None,
    left_out: Callable[[str], None] = lambda _sentence: None,
) -> list[PreparedCase]:
    """Prepare every case; `progress` gets the number done and the total.

    In every public data set there are cases that can't be used; these are left out, and `left_out` gets a sentence for
    each. Raises InputError where another case can't be used, or none can.
    """
    prepared, reason = [], ""
    for done, case in enumerate(cases, start=1):
        try:
            prepared.append(prepare(case, preprocessing, label_count, cache))
        except InputError as error:
            if not isinstance(case, PublicCase):
                raise
            reason = f"{case.title} is left out. {error}"
            left_out(reason)
        progress(done, len(cases))
    if not prepared and reason:
        raise InputError(f"No case of the data set can be used; the last one: {reason}")
    return prepared
