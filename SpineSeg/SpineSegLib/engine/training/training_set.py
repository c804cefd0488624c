"""The training set of a project: corrected cases in one HDF5 file.

A case is a CT on its own grid (int16, HU), the corrected mask (uint8, values as in `Segment.label`), its geometry and
which model drew the first version. Whose it is, the file doesn't tell: a patient is a salted hash, just enough to keep
the scans of one patient together. Each patient is put on one side, training or validation, with the first case and
stays there, so that no model is ever judged on a patient that one of its ancestors was trained on.

Adding costs the size of the case and is crash-safe (see hdf5_transaction); removing rewrites the file, so that nothing
of the case stays in it.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.axial import aligned_axes, slices_averaged
from SpineSegLib.engine.comparison.grids import same_grid
from SpineSegLib.engine.datasets.labels import UNCHECKED
from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.engine.files.writing import atomic_output, check_place
from SpineSegLib.engine.guarded_hdf5 import HDF5_ERRORS, plain_dataset, read_group, text_attribute
from SpineSegLib.engine.models.preprocessing import AIR_HU
from SpineSegLib.engine.segments import SEGMENTS
from SpineSegLib.engine.training.hdf5_transaction import changing, exclusive, recover
from SpineSegLib.engine.volume import Grid

if TYPE_CHECKING:
    import h5py

FORMAT = 1
HEADER = "spineseg_training_set"
TRAINING, VALIDATION = SIDES = ("training", "validation")
VALIDATION_SHARE = 0.2  # of the patients, at least one as soon as there are two
ROUNDING = 0.01  # of a slice, by which positions may miss
CONTEXT_MM = 15.0  # CT kept around checked slices, for models that look at neighbouring ones
MAX_VOXELS = 2**31
CASE = re.compile(r"case_\d{4,9}")
# scrypt, 50 ms: who has the file needs six days of a core to try the ten million numbers of a hospital
_HASH_COST = {"n": 2**14, "r": 8, "p": 1}


@dataclass(frozen=True)
class Submission:
    """A corrected case on its way into a training set.

    `image`: CT in HU, `mask`: values of `segments` by `Segment.label`, on the same grid. `segments`: keys of what the
    mask can hold. `patient`, `scan`: anything that tells patients and scans apart (PatientID, SeriesInstanceUID);
    stored are salted hashes only; None: the voxels of the CT. `checked`: indices of the stored slices that somebody has
    checked, along the stored axis that runs along the patient's (see `slice_indices`); None for all. `model`: "name
    version" of what drew the first mask. `side`: "training" or "validation" for a new patient, None to have it chosen.
    """

    image: sitk.Image
    mask: sitk.Image
    segments: tuple[str, ...]
    patient: str | None = None
    scan: str | None = None
    checked: tuple[int, ...] | None = None
    model: str = ""
    side: str | None = None


@dataclass(frozen=True)
class CaseInfo:
    """What is known about a stored case. `patient`, `scan`, `digest` are hashes; `shape` as stored (k, j, i);
    `spacing`, `origin`, `direction` as SimpleITK has them; `checked` as in `Submission`."""

    case: str
    patient: str
    scan: str
    side: str
    model: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    checked: tuple[int, ...] | None
    digest: str
    locked: bool = False

    @property
    def slices(self) -> int:
        """How many slices were checked."""
        return len(self.checked) if self.checked is not None else self.shape[self.axial_axis]

    @property
    def axial_axis(self) -> int:
        """The array axis (k, j, i) nearest to the patient's."""
        return axial_axis(self.direction)


class TrainingSet:
    """The training set in one file. Nothing is kept open: any number of programs may have one."""

    def __init__(self, path: str | Path, project: str | None = None) -> None:
        """Open an existing one. `project`: the identity it must have, None for any.

        Raises InputError: no file, no training set, one of a newer version or another project.
        """
        self.path = Path(path).resolve()  # a link and what it leads to are one file with one lock
        with self._reading() as file:
            header = _header(file, self.path)
        self.identity, self.name, self.segments = header["identity"], header["name"], tuple(header["segments"])
        if project is not None and project != self.identity:
            raise InputError(
                f"{self.path.name} is the training set of another project ({self.name}); choose that of this project."
            )

    @classmethod
    def create(cls, path: str | Path, name: str, segments: Sequence[str]) -> TrainingSet:
        """Make an empty training set for masks of these segments (keys as in `segments.SEGMENTS`).

        Raises OutputError: the file exists, no permission, disk full.
        """
        import h5py

        path = Path(path).resolve()
        check_place(path)
        if unknown := [key for key in segments if key not in SEGMENTS]:
            raise ValueError(f"unknown segments {unknown}")
        header = {
            "format": FORMAT,
            "identity": secrets.token_hex(8),
            "name": name,
            "segments": list(segments),
            "salt": secrets.token_hex(16),
            "next": 1,
            "locked": False,
        }
        with exclusive(path):
            if path.exists():
                raise OutputError(f"{path} exists already; choose another name.")
            with atomic_output(path) as temporary, h5py.File(temporary, "w", libver="v110") as file:
                file.attrs[HEADER] = json.dumps(header)
                file.create_group("cases")
        return cls(path)

    def cases(self) -> list[CaseInfo]:
        """All cases, the oldest first. Raises InputError where the file is damaged."""
        with self._reading() as file:
            return _cases(file, self.path)

    @property
    def locked(self) -> bool:
        """Whether nothing may be added, replaced or removed."""
        with self._reading() as file:
            return bool(_header(file, self.path)["locked"])

    def add(self, submission: Submission) -> tuple[CaseInfo, bool]:
        """Store a case; one of the same scan is replaced. Returns it, and whether it replaced one.

        Raises InputError: empty mask, mask on another grid or with other labels, no room for context, locked;
        OutputError: no permission, disk full, in use by another program.
        """
        ct, mask = _checked_arrays(submission, self.segments)
        voxels = hashlib.sha256(ct.data).hexdigest()
        if submission.checked is not None:
            _keep_checked(ct, mask, submission)
        digest = _digest(ct, mask, submission.image)
        _require_room(self.path, ct.nbytes // 2)
        with self._changing() as file:
            header = _header(file, self.path)
            scan = _hashed(header["salt"], submission.scan or voxels)
            patient = _hashed(header["salt"], submission.patient or voxels)
            known = _cases(file, self.path)
            old = next((case for case in known if case.scan == scan), None)
            # A scan that trained must never validate, even if it is said now to be another patient's.
            wanted = old.side if old else submission.side
            _refuse_locked(header, [old] if old else [], self.path)
            name = old.case if old else f"case_{header['next']:04d}"
            image = submission.image
            case = CaseInfo(
                name, patient, scan, _side(known, patient, wanted), submission.model, ct.shape,
                image.GetSpacing(), image.GetOrigin(), image.GetDirection(), submission.checked, digest,
            )  # fmt: skip
            if old:
                del file["cases"][name]
            group = file["cases"].create_group(name)
            _write_slices(group, "ct", ct, int(AIR_HU))
            _write_slices(group, "mask", mask, UNCHECKED)
            group.attrs["about"] = _about(case)
            _write_header(file, header | {"next": header["next"] + (old is None)})
        self._compact_if_wasteful()
        return case, old is not None

    def remove(self, names: Sequence[str]) -> None:
        """Remove cases and every byte of them. Raises InputError for unknown or locked ones, OutputError."""
        with self._alone():
            with self._open() as file:
                header, known = _header(file, self.path), _cases(file, self.path)
            chosen = _chosen(known, names, self.path)
            _refuse_locked(header, chosen, self.path)
            self._rewrite(leave_out={case.case for case in chosen})

    def lock(self, names: Sequence[str] = (), locked: bool = True) -> None:
        """Protect cases, or with no names the whole training set, from being replaced or removed; or allow it again.

        Raises InputError for unknown cases, OutputError.
        """
        with self._changing() as file:
            header = _header(file, self.path)
            for case in _chosen(_cases(file, self.path), names, self.path):
                group = file["cases"][case.case]
                del group.attrs["about"]
                group.attrs["about"] = _about(replace(case, locked=locked))
            if not names:
                _write_header(file, header | {"locked": locked})

    def images(self, name: str) -> tuple[sitk.Image, sitk.Image]:
        """CT (int16, HU) and mask (uint8; UNCHECKED where nobody has looked) of a case. Raises InputError."""
        with self._reading() as file:
            (case,) = _chosen(_cases(file, self.path), [name], self.path)
            try:
                group = read_group(file, f"cases/{name}")
                arrays = [plain_dataset(group, key, case.shape, kind) for key, kind in (("ct", "<i2"), ("mask", "u1"))]
            except HDF5_ERRORS:
                raise _damaged(self.path) from None
        images = tuple(sitk.GetImageFromArray(array) for array in arrays)
        for image in images:
            image.SetSpacing(case.spacing)
            image.SetOrigin(case.origin)
            image.SetDirection(case.direction)
        return images

    @contextmanager
    def _reading(self) -> Iterator[h5py.File]:
        if not self.path.is_file():
            raise InputError(f"There is no training set {self.path}; check the path.")
        with self._alone(), self._open() as file:
            yield file

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the file's lock, with what a killed program left in the middle brought to an end."""
        with exclusive(self.path):
            recover(self.path)
            yield

    @contextmanager
    def _open(self) -> Iterator[h5py.File]:
        import h5py

        try:
            file = h5py.File(self.path, "r", locking=False)
        except PermissionError:
            raise InputError(f"{self.path} can't be read; check its permissions.") from None
        except HDF5_ERRORS:
            if h5py.is_hdf5(self.path):
                raise _damaged(self.path) from None
            raise _foreign(self.path) from None
        with file:
            yield file

    @contextmanager
    def _changing(self) -> Iterator[h5py.File]:
        with exclusive(self.path), changing(self.path) as file:
            yield file

    def _compact_if_wasteful(self) -> None:
        """HDF5 leaves what was replaced in the file; from half of it on, it is worth a new one."""
        with self._alone():
            with self._open() as file:
                groups = file["cases"].values()
                used = sum(group[key].id.get_storage_size() for group in groups for key in ("ct", "mask"))
            if self.path.stat().st_size > 2 * used + 2**20:
                self._rewrite()

    def _rewrite(self, leave_out: Iterable[str] = ()) -> None:
        """Put what stays into a new file that takes the place of this one."""
        import h5py

        with self._open() as old, atomic_output(self.path) as temporary:
            with h5py.File(temporary, "w", libver="v110") as new:
                new.attrs[HEADER] = old.attrs[HEADER]
                cases = new.create_group("cases")
                for name in old["cases"]:
                    if name not in leave_out:
                        old.copy(old["cases"][name], cases, name)
            old.close()  # Windows replaces no open file


def fingerprint(cases: Iterable[CaseInfo]) -> str:
    """SHA-256 over the content of cases, whatever their order."""
    return hashlib.sha256("".join(sorted(case.digest for case in cases)).encode()).hexdigest()


def slice_indices(grid: Grid, positions: Iterable[float]) -> tuple[int, ...]:
    """Indices of the stored slices that working slices at positions along the patient's axis (LPS z, mm) are made of,
    for `Submission.checked`: the nearest one, of thin slices all that are averaged, see `AxialSlices`.

    Raises InputError for a CT that isn't stored along the patient's axes.
    """
    axis = axial_axis(grid.direction, "choose to submit the whole volume")
    count = grid.shape[axis]
    ends = []
    for end in (0, count - 1):
        index = [(n - 1) / 2 for n in grid.shape]
        index[axis] = end
        ends.append(grid.point(*index)[2])
    step = (ends[1] - ends[0]) / max(count - 1, 1) or 1.0
    group = slices_averaged(grid.spacing[axis])
    reach = (group + 1) / 2 - ROUNDING if group > 1 else 0.0
    found: set[int] = set()
    for position in positions:
        at = (position - ends[0]) / step
        found |= {round(at), *range(ceil(at - reach), floor(at + reach) + 1)}
    return tuple(sorted(index for index in found if 0 <= index < count))


def axial_axis(direction: Sequence[float], cure: str = "") -> int:
    """The array axis (k, j, i) that runs along the patient's. Raises InputError for an oblique grid where `cure` says
    what to do, else takes the nearest."""
    axes = aligned_axes(direction)
    if axes is not None:
        return 2 - axes[0][2]
    if cure:
        raise InputError(f"Slices of this CT don't lie across the patient; {cure}.")
    return 2 - int(np.argmax(np.abs(np.array(direction).reshape(3, 3)[2])))


def _checked_arrays(submission: Submission, segments: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """CT (int16) and mask (uint8) to store. Raises InputError where they don't belong together or here."""
    image, mask = submission.image, submission.mask
    if not same_grid(image, mask):
        raise InputError("The mask lies on another grid than its CT; resample it to the CT first.")
    if tuple(submission.segments) != tuple(segments):
        raise InputError(
            f"The mask holds {' and '.join(submission.segments)}, but the training set {' and '.join(segments)}; "
            "choose the training set that was made for this model."
        )
    if submission.side not in (None, *SIDES):
        raise ValueError(f"side must be one of {SIDES}")
    marked = sitk.GetArrayViewFromImage(mask)
    known = [SEGMENTS[key].label for key in segments]
    found = set().union(*(np.flatnonzero(np.bincount(plane.ravel())).tolist() for plane in marked))
    if strange := sorted(found - {0, *known}):
        raise InputError(
            f"The mask has the label {strange[0]}, but the training set knows {', '.join(map(str, known))}; "
            "change it to one of these, or say whose numbers they are (--labels)."
        )
    if found <= {0}:
        raise InputError("The mask is empty; segment or draw the spine before submitting the case.")
    labels = marked.astype(np.uint8)
    values = sitk.GetArrayViewFromImage(image)
    hu = np.empty(values.shape, dtype=np.int16)
    for target, source in zip(hu, values, strict=True):
        target[...] = np.clip(np.rint(np.nan_to_num(source, nan=AIR_HU, posinf=AIR_HU)), AIR_HU, np.iinfo(np.int16).max)
    return hu, labels


def _keep_checked(hu: np.ndarray, labels: np.ndarray, submission: Submission) -> None:
    """Blank what was not checked, in place: the mask at once, the CT from `CONTEXT_MM` on."""
    from scipy import ndimage  # the panel opens without it

    axis = axial_axis(submission.image.GetDirection(), "submit the whole volume")
    count = labels.shape[axis]
    if not submission.checked or not all(0 <= index < count for index in submission.checked):
        raise InputError("No slice is marked as checked; mark some, or submit the whole volume.")
    checked = np.zeros(count, dtype=bool)
    checked[list(submission.checked)] = True
    reach = int(np.ceil(CONTEXT_MM / submission.image.GetSpacing()[2 - axis]))
    near = ndimage.binary_dilation(checked, iterations=max(1, reach))
    np.moveaxis(labels, axis, 0)[~checked] = UNCHECKED
    np.moveaxis(hu, axis, 0)[~near] = int(AIR_HU)
    if not (labels % UNCHECKED).any():
        raise InputError("No checked slice holds spine; check one that does, or submit the whole volume.")


def _digest(ct: np.ndarray, mask: np.ndarray, image: sitk.Image) -> str:
    digest = hashlib.sha256(repr((ct.shape, image.GetSpacing(), image.GetOrigin(), image.GetDirection())).encode())
    digest.update(ct.data)
    digest.update(mask.data)
    return digest.hexdigest()


def _hashed(salt: str, text: str) -> str:
    return hashlib.scrypt(text.encode(), salt=bytes.fromhex(salt), dklen=12, **_HASH_COST).hex()


def _side(known: Sequence[CaseInfo], patient: str, wanted: str | None) -> str:
    """The side a patient has, or for a new one the side that is wanted or lacks patients."""
    sides = {case.patient: case.side for case in known}
    if patient in sides:
        if wanted not in (None, sides[patient]):
            raise InputError(
                f"This patient is used for {sides[patient]} already and can't be on both sides; "
                "remove the cases of one side first."
            )
        return sides[patient]
    if wanted:
        return wanted
    total = len(sides) + 1
    due = 0 if total < 2 else max(1, round(VALIDATION_SHARE * total))
    return VALIDATION if list(sides.values()).count(VALIDATION) < due else TRAINING


def _write_slices(group: h5py.Group, name: str, array: np.ndarray, blank: int) -> None:
    """Compressed slice by slice; those that are all `blank` take no room."""
    dataset = group.create_dataset(
        name, array.shape, array.dtype, chunks=(1, *array.shape[1:]), compression="gzip", compression_opts=1,
        shuffle=True, fillvalue=blank,
    )  # fmt: skip
    for k, plane in enumerate(array):
        if (plane != blank).any():
            dataset[k] = plane


def _require_room(path: Path, size: int) -> None:
    """Disk full is better known before than after the work. `size`: a guess in bytes."""
    try:
        free = shutil.disk_usage(path.absolute().parent).free
    except OSError:
        return
    if free < size + 2**20:
        raise OutputError(f"{path} can't be written because the disk is full; make room and try again.")


def _about(case: CaseInfo) -> str:
    values = asdict(case)
    del values["case"]
    if case.checked is not None:
        # As runs: the slices of a large CT would not fit into an attribute.
        values["checked"] = _runs(case.checked)
    return json.dumps(values)


def _runs(indices: Sequence[int]) -> list[list[int]]:
    """First and last of each run of neighbouring indices."""
    ordered = np.unique(indices)
    breaks = np.flatnonzero(np.diff(ordered) > 1)
    return [[int(a), int(b)] for a, b in zip(ordered[[0, *(breaks + 1)]], ordered[[*breaks, -1]], strict=True)]


def _cases(file: h5py.File, path: Path) -> list[CaseInfo]:
    try:
        cases = []
        group = read_group(file, "cases")
        for name in sorted(group):
            values = json.loads(text_attribute(read_group(group, name), "about"))
            cases.append(_case(name, values))
        return cases
    except HDF5_ERRORS:
        raise _damaged(path) from None


def _case(name: str, values: dict[str, Any]) -> CaseInfo:
    """Raises ValueError, TypeError or KeyError where the values are not those of a case."""
    texts = {key: str(values[key]) for key in ("patient", "scan", "side", "model", "digest")}
    numbers = {key: tuple(float(v) for v in values[key]) for key in ("spacing", "origin", "direction")}
    shape = tuple(int(n) for n in values["shape"])
    checked = values["checked"]
    if checked is not None:
        if not all(0 <= first <= last < max(shape) for first, last in checked):
            raise ValueError("checked")
        checked = tuple(k for first, last in checked for k in range(first, last + 1))
    fits = len(shape) == 3 and min(shape) > 0 and 0 < int(np.prod(shape, dtype=object)) <= MAX_VOXELS
    fits &= [len(numbers[key]) for key in ("spacing", "origin", "direction")] == [3, 3, 9]
    if not fits or not CASE.fullmatch(name) or texts["side"] not in SIDES:
        raise ValueError(name)
    return CaseInfo(case=name, shape=shape, checked=checked, locked=bool(values["locked"]), **texts, **numbers)


def _header(file: h5py.File, path: Path) -> dict[str, Any]:
    try:
        text = text_attribute(file, HEADER)
        if text is None:
            raise _foreign(path)
        values = json.loads(text)
        if values["format"] > FORMAT:
            raise InputError(f"{path.name} was written by a newer SpineSeg; update SpineSeg to use it.")
        if not all(key in SEGMENTS for key in values["segments"]) or not values["segments"]:
            raise ValueError("segments")
        wanted = {"identity": str, "name": str, "salt": str, "next": int, "locked": bool}
        if not all(type(values[key]) is kind for key, kind in wanted.items()):
            raise ValueError("header")
        return values
    except HDF5_ERRORS:
        raise _damaged(path) from None


def _write_header(file: h5py.File, values: dict[str, Any]) -> None:
    del file.attrs[HEADER]
    file.attrs[HEADER] = json.dumps(values)


def _chosen(known: Sequence[CaseInfo], names: Sequence[str], path: Path) -> list[CaseInfo]:
    by_name = {case.case: case for case in known}
    if missing := [name for name in names if name not in by_name]:
        raise InputError(f"{path.name} has no case {missing[0]}; it has {', '.join(by_name) or 'none'}.")
    return [by_name[name] for name in names]


def _refuse_locked(header: dict[str, Any], cases: Sequence[CaseInfo], path: Path) -> None:
    if header["locked"]:
        raise InputError(f"The training set {path.name} is locked; unlock it to change it.")
    for case in cases:
        if case.locked:
            raise InputError(f"{case.case} is locked in {path.name}; unlock it to replace or remove it.")


def _damaged(path: Path) -> InputError:
    return InputError(f"The training set {path.name} is damaged; get it from a backup.")


def _foreign(path: Path) -> InputError:
    return InputError(f"{path.name} is not a training set of SpineSeg; choose another file.")
