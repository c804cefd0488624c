"""Folders as people make them: CT and mask found by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from SpineSegLib.engine.datasets.case import Case, LabelmapCase, about_case, may_name_a_patient
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.reading import VOLUME_ENDINGS

CT_NAMES = ("ct", "image", "volume")
MASK_NAMES = ("mask", "seg", "segmentation", "label", "labels", "reference", "gt")
DICOM = "dicom"
CASE = "{case}"
# folders that lie side by side, with files of the same name (or the mask's with a mask's ending)
SIDE_BY_SIDE = (("ct", "mask"), ("ct", "masks"), ("cts", "masks"), ("images", "labels"), ("images", "masks"),
                ("volumes", "segmentations"))  # fmt: skip
_SEGMENTATION = ".seg.nrrd"  # of 3D Slicer, which is never a CT
_ENDINGS = "|".join(re.escape(ending) for ending in (_SEGMENTATION, *VOLUME_ENDINGS))


def find(folder: Path) -> list[Case]:
    """Cases that lie in sub-folders (ct.* or dicom/ with mask.*), as pairs in one folder (x_ct.* or x.* with
    x_mask.*), or in two folders side by side (images/x.*, labels/x.*); empty if there is none with a mask.

    A file case.json in a case's sub-folder may name the `patient`, else each case counts as one. Slicer's segmentations
    count as masks where they are named so, and never as CT.
    """
    for found in (_in_subfolders(folder), _side_by_side(folder), _pairs(folder)):
        if any(case.files for case in found):
            return found
    return []


def find_by_pattern(folder: Path, ct: str, mask: str) -> list[Case]:
    """Cases by patterns relative to the folder, in which `{case}` stands for the case's name: "{case}/image.nii.gz".

    Raises InputError for patterns that don't hold `{case}`, or that match nothing.
    """
    for pattern in (ct, mask):
        if CASE not in pattern or ".." in Path(pattern).parts or Path(pattern).is_absolute():
            raise InputError(f"The pattern {pattern} must hold {CASE} and lie in the folder of the cases.")
    expression = re.escape(ct).replace(re.escape(CASE), "(?P<case>[^/]+)", 1).replace(re.escape(CASE), "(?P=case)")
    cases: list[Case] = []
    for path in sorted(folder.glob(ct.replace(CASE, "*"))):
        match = re.fullmatch(expression, path.relative_to(folder).as_posix())
        if match:
            name = match["case"]
            file = folder / mask.replace(CASE, name)
            cases.append(_case(name, path, file if file.exists() else None))
    if not any(case.files for case in cases):
        raise InputError(f"{folder} holds no CT and mask named like {ct} and {mask}; check the patterns.")
    return cases


def mask_of(place: Path) -> Path | None:
    """The mask in a case's folder, if there is one."""
    return _first(place, MASK_NAMES, (_SEGMENTATION, *VOLUME_ENDINGS))


def _case(name: str, ct: Path, mask: Path | None, patient: str | None = None) -> Case:
    private = ct.is_dir() and may_name_a_patient(name)
    return LabelmapCase(name, patient or name, ct, guessed=patient is None, private=private, mask=mask)


def _in_subfolders(folder: Path) -> list[Case]:
    cases = []
    for place in _visible(folder):
        if place.is_dir():
            ct = _first(place, CT_NAMES, VOLUME_ENDINGS) or (place / DICOM if (place / DICOM).is_dir() else None)
            if ct is not None:
                patient = about_case(place).get("patient")
                cases.append(_case(place.name, ct, mask_of(place), None if patient is None else str(patient)))
    return cases


def _side_by_side(folder: Path) -> list[Case]:
    for volumes, masks in SIDE_BY_SIDE:
        if (folder / volumes).is_dir() and (folder / masks).is_dir():
            stems = {_stem(path, MASK_NAMES): path for path in _visible(folder / masks) if _is_volume(path)}
            return [
                _case(stem, ct, stems.get(stem))
                for ct in _visible(folder / volumes)
                if (_is_ct(ct) or ct.is_dir()) and (stem := _stem(ct, CT_NAMES))
            ]
    return []


def _pairs(folder: Path) -> list[Case]:
    volumes, masks = {}, {}
    for path in _visible(folder):
        if not _is_volume(path):
            continue
        stem = _stem(path, MASK_NAMES)
        if stem != _stem(path, ()):
            masks[stem] = path
        elif _is_ct(path):
            volumes[_stem(path, CT_NAMES)] = path
    return [_case(stem, path, masks.get(stem)) for stem, path in volumes.items()]


def _visible(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_volume(path: Path) -> bool:
    return path.is_file() and re.search(f"({_ENDINGS})$", path.name, re.IGNORECASE) is not None


def _is_ct(path: Path) -> bool:
    return _is_volume(path) and not path.name.lower().endswith(_SEGMENTATION)


def _stem(path: Path, words: tuple[str, ...]) -> str:
    """A file's name without its ending and without one of the words at its end ("x_ct.nii.gz" becomes "x")."""
    stem = re.sub(f"({_ENDINGS})$", "", path.name, flags=re.IGNORECASE)
    shorter = re.sub(rf"[ ._-]({'|'.join(words)})$", "", stem, flags=re.IGNORECASE) if words else stem
    return shorter or stem


def _first(place: Path, names: tuple[str, ...], endings: tuple[str, ...]) -> Path | None:
    candidates = (place / (name + ending) for name in names for ending in endings)
    return next((path for path in candidates if path.exists()), None)
