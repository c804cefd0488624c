"""Which series a folder of DICOM files holds, and which of them is the CT that is meant.

File names, extensions and folders mean nothing here: hospitals export as they like.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.engine.errors import InputError, SeveralSeriesError
from SpineSegLib.engine.files.dicom_frames import HU_RESCALE_TYPES, frame_count, is_scout, read_header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
}
ENHANCED = tuple(CT_CLASSES)[1:]


@dataclass(frozen=True)
class Series:
    """One series of a folder.

    `slices` counts its images without scouts, `unplaced` those of them that don't say where they lie, which are left
    out; `problem` says why it can't be taken, or is empty.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    slices: int
    problem: str
    files: tuple[Path, ...]
    unplaced: int = 0

    def __str__(self) -> str:
        number = "without number" if self.number is None else f"number {self.number}"
        return f"{number} '{self.description}' ({self.modality}, {self.slices} slices)"


def list_series(folder: str | Path, recursive: bool = True) -> tuple[Series, ...]:
    """The series of all modalities in `folder` and its subfolders, in the order of their numbers.

    Files that aren't DICOM are passed over. Only headers are read. Raises InputError if the folder can't be opened.
    """
    groups: dict[tuple, list[tuple[Path, Dataset]]] = defaultdict(list)
    for path in _files(Path(folder), recursive):
        header = read_header(path)
        # DICOMDIR, reports and the like have no pixels; a CT image without any is truncated, which reading will tell.
        if header is not None and ("Rows" in header or header.get("SOPClassUID") in CT_CLASSES):
            groups[_group(path, header)].append((path, header))
    found = [_describe(members) for members in groups.values()]
    return tuple(sorted(found, key=lambda series: (series.number is None, series.number or 0, series.description)))


def choose_series(found: Sequence[Series], wanted: str | int | None, place: str | Path) -> Series:
    """The CT series `wanted` (number, UID or description), or the only one there is. `place` is named in errors.

    Raises InputError if there is none, if several fit (they are listed), or if the one asked for is not a CT volume.
    """
    if not found:
        raise InputError(f"{place} holds no DICOM images; choose the folder of a CT series.")
    usable = [series for series in found if not series.problem]
    if wanted is not None:
        text = str(wanted).strip()
        matching = [
            series
            for series in found
            if (series.uid and text == series.uid)
            or (series.number is not None and text == str(series.number))
            or text.casefold() == series.description.casefold()
        ]
        if not matching:
            raise InputError(f"No series in {place} is called '{text}'; there are: {_listing(found)}.")
        usable = [series for series in matching if not series.problem]
        if not usable:
            raise InputError(f"Series {matching[0]} {matching[0].problem}; choose another one.")
    if not usable:
        reasons = "; ".join(f"series {series} {series.problem}" for series in found[:10])
        raise InputError(f"{place} holds no CT volume: {reasons}.")
    if len(usable) > 1:
        alike = len({(series.number, series.description) for series in usable}) < len(usable)
        hint = "its SeriesInstanceUID" if wanted is not None or alike else "its number or description"
        raise SeveralSeriesError(
            f"{place} holds {len(usable)} CT series, choose one with --series and {hint}: {_listing(usable)}.",
            len(usable),
        )
    return usable[0]


def _listing(found: Sequence[Series]) -> str:
    # Where numbers and descriptions don't tell series apart, only the UID does.
    names = Counter((series.number, series.description) for series in found)
    parts = [
        f"{series} UID {series.uid}" if names[series.number, series.description] > 1 else str(series)
        for series in found[:20]
    ]
    return "; ".join(parts) + ("; ..." if len(found) > 20 else "")


def _files(folder: Path, recursive: bool) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise InputError(
                f"The folder {folder} can't be opened ({error.strerror}); check its permissions."
            ) from None

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names))
        if not recursive:
            return


def _group(path: Path, header: Dataset) -> tuple:
    """What images of one series have in common; where anonymisation emptied the UID, number, description and folder."""
    uid = str(header.get("SeriesInstanceUID") or "")
    return (uid,) if uid else (str(header.get("SeriesNumber")), str(header.get("SeriesDescription")), path.parent)


def _describe(members: Sequence[tuple[Path, Dataset]]) -> Series:
    header = members[0][1]
    modality = str(header.get("Modality") or "")
    if not modality and header.get("SOPClassUID") in CT_CLASSES:
        modality = "CT"
    volume = [(path, each) for path, each in members if not is_scout(each)]
    placed = [
        (path, each)
        for path, each in volume
        if "Rows" not in each
        or frame_count(each) > 1
        or each.get("SOPClassUID") in ENHANCED  # whose frames have the positions
        or (each.get("ImagePositionPatient") and each.get("ImageOrientationPatient"))
    ]
    slices = sum(frame_count(each) for _, each in volume)
    if modality != "CT":
        problem = f"is not a CT but {modality or 'of unknown modality'}"
    elif not volume:
        problem = "is only a scout"
    elif any(int(each.get("SamplesPerPixel") or 1) != 1 for _, each in volume):
        problem = "has colour pictures, not HU"
    elif not placed:
        problem = "has no slice positions"
    elif any(str(each.get("RescaleType") or "HU").upper() not in HU_RESCALE_TYPES for _, each in placed):
        problem = "is not in HU"
    elif sum(frame_count(each) for _, each in placed) < 2:
        problem = "has a single slice, and a volume needs at least two"
    else:
        problem = ""
    try:
        number = int(header.SeriesNumber)
    except (AttributeError, TypeError, ValueError):
        number = None
    description = "".join(c if c.isprintable() else " " for c in str(header.get("SeriesDescription") or "")).strip()
    files = tuple(path for path, _ in (placed or volume or members))
    uid = str(header.get("SeriesInstanceUID") or "")
    return Series(uid, number, description[:64], modality, slices, problem, files, len(volume) - len(placed))
