"""A CT and its manual segmentation on disk, whatever the form the masks have."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.comparison.grids import same_grid
from SpineSegLib.engine.datasets.labels import ANY, SCHEMES, labels_in, notes_on_names, structures_of_names
from SpineSegLib.engine.errors import InputError, SeveralSeriesError
from SpineSegLib.engine.files.reading import read_labelmap, read_volume, segment_names
from SpineSegLib.engine.volume import Volume


@dataclass(frozen=True)
class Reference:
    """A manual segmentation: label map on its own grid, and what its labels mean (None: every label is spine).

    `ignored`: the label of voxels that nobody has checked, where it holds some.
    """

    image: sitk.Image
    structures: dict[int, str] | None
    ignored: int | None = None


@dataclass(frozen=True)
class Case(ABC):
    """One CT of a data set.

    `name`: as the data set calls it; `patient`: the same for all CT of one patient; `ct`: file or DICOM folder.
    `guessed`: nothing says whose it is, so that the patient is only the case's name.
    `private`: the name may be a patient's (folders as a PACS exports them), so that reports must not show it.
    `partial`: only whole vertebrae were annotated; of what lies beyond the first and the last one nothing is known.
    `complete`: every vertebra and the sacrum have a mask, so that a CT in which all of these are empty shows no spine.
    `coarse`: the mask marks more than the spine, so that nothing can be learned from it.
    `notes`: plain sentences on what is special about it.
    """

    name: str
    patient: str
    ct: Path
    guessed: bool = False
    private: bool = False
    partial: bool = False
    complete: bool = False
    coarse: bool = False
    notes: tuple[str, ...] = ()

    @property
    @abstractmethod
    def files(self) -> tuple[Path, ...]:
        """The masks' files or folders; none where the case has no reference."""

    @abstractmethod
    def _read_reference(self, volume: Volume) -> Reference:
        """The reference, once it is known that there is one."""

    def state(self) -> str:
        """A text that is another one after the CT or a mask has changed. Raises OSError."""
        tops = (self.ct, *self.files)
        files = [p for top in tops for p in (sorted(top.rglob("*")) if top.is_dir() else [top]) if p.is_file()]
        stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return repr((self, stats))

    def read_volume(self, repair: bool = False) -> Volume:
        """The CT, see `reading.read_volume`. Raises InputError."""
        try:
            return read_volume(self.ct, repair=repair)
        except SeveralSeriesError as error:  # whose UIDs belong in no report, and nobody can choose one there
            raise InputError(f"{self.ct} holds {error.count} CT series; leave only the mask's own in it.") from None

    def read_reference(self, volume: Volume) -> Reference:
        """The manual segmentation of the CT. Raises InputError where there is none or it can't be read."""
        if not self.files:
            raise InputError("There is no reference for this CT; add its mask or leave the case out.")
        return self._read_reference(volume)

    def without_paths(self, sentence: str) -> str:
        """A sentence about this case for people who must not read where it lies: folders may have patients' names."""
        for what, paths in (("The CT", (self.ct,)), ("The mask", self.files)):
            for path in paths:
                sentence = re.sub(rf"{re.escape(str(path))}([\\/]\S+)?", what, sentence)
        return sentence[:1].upper() + sentence[1:]


@dataclass(frozen=True)
class LabelmapCase(Case):
    """A case whose mask is one label map, or that has none.

    `labels`: what they mean; None: see `meaning_of_labels`. `ignored`: the label of what nobody has checked, if any.
    """

    mask: Path | None = None
    labels: Mapping[int, str] | None = None
    scheme: str | None = None
    ignored: int | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return () if self.mask is None else (self.mask,)

    def _read_reference(self, volume: Volume) -> Reference:
        image = read_labelmap(self.mask)
        if self.ignored is None and self.scheme != ANY:
            return Reference(image, self.labels or meaning_of_labels(image, self.scheme))
        present = labels_in(sitk.GetArrayViewFromImage(image))
        ignored = self.ignored if self.ignored in present else None
        if self.scheme == ANY:
            return Reference(image, dict.fromkeys(sorted(present - {ignored}), "spine") or None, ignored)
        if self.labels is None and self.scheme is None and ignored is not None:
            return Reference(image, None, ignored)  # a data set that names its labels, by names that say nothing to us
        return Reference(image, self.labels or meaning_of_labels(image, self.scheme), ignored)


@dataclass(frozen=True)
class MaskFilesCase(Case):
    """A case with one file per structure, all on one grid; later ones lie on top."""

    masks: tuple[tuple[str, Path], ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for _, path in self.masks)

    def _read_reference(self, volume: Volume) -> Reference:
        keys = list(dict.fromkeys(key for key, _ in self.masks))
        first, merged = None, None
        for key, path in self.masks:
            image = read_labelmap(path)
            if first is None:
                first, merged = image, np.zeros(sitk.GetArrayViewFromImage(image).shape, dtype=np.uint8)
            elif not same_grid(first, image):
                raise InputError(f"{path} lies on another grid than the case's other masks; export them alike.")
            merged[sitk.GetArrayViewFromImage(image) > 0] = keys.index(key) + 1
        result = sitk.GetImageFromArray(merged)
        result.CopyInformation(first)
        return Reference(result, dict(enumerate(keys, start=1)))


def meaning_of_labels(image: sitk.Image, scheme: str | None = None) -> dict[int, str] | None:
    """What the labels of a mask mean: by `scheme` (of SCHEMES, or ANY), else by the names of its segments, else ours
    where it holds 1 and 2 and no more; None where that isn't known and every label counts.

    Raises InputError where `scheme` knows none of the labels that are there.
    """
    if scheme == ANY:
        return None
    if scheme is None:
        if found := structures_of_names(segment_names(image)):
            return found
        return dict(SCHEMES["spineseg"]) if sitk.GetArrayViewFromImage(image).max() == 2 else None
    meaning = SCHEMES[scheme]
    array = sitk.GetArrayViewFromImage(image)
    if array.any() and not np.isin(array, list(meaning)).any():
        raise InputError(f"None of the labels in the mask is a number of the scheme {scheme}; choose another scheme.")
    return dict(meaning)


def notes_on_segments(image: sitk.Image, scheme: str | None = None) -> tuple[str, ...]:
    """See `labels.notes_on_names`; none where names don't count, as without any of the spine or with a `scheme`."""
    names = segment_names(image)
    if scheme is not None or structures_of_names(names) is None:
        return ()
    present = labels_in(sitk.GetArrayViewFromImage(image))
    return notes_on_names(name for label, name in names.items() if label in present)


def about_case(folder: Path) -> dict[str, Any]:
    """What the case.json of a case's folder says, nothing where there is none. Raises InputError where it is damaged.

    It may hold the `patient`, and `spineless`: true for a CT that shows no spine.
    """
    return json_object(folder / "case.json", 'it must hold {"patient": "any name"}, or remove it')


def json_object(file: Path, cure: str) -> dict[str, Any]:
    """The JSON object in a file, an empty one where there is no file. Raises InputError with the `cure` for damage."""
    if not file.exists():
        return {}
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        about = None
    if not isinstance(about, dict):
        raise InputError(f"{file} is damaged; {cure}.")
    return about


def may_name_a_patient(name: str) -> bool:
    """Whether the name of a folder with DICOM files may be a patient's: all but our own numbering."""
    return re.fullmatch(r"case[ _-]?\d+", name, re.IGNORECASE) is None
