"""Reads what somebody uploaded, as a program of its own: what a hostile file can reach is only this process.

`python -m SpineSegLib.web.intake ct|reference FILE_OR_FOLDER FOLDER` leaves in FOLDER the CT as `engine.exchange`
passes CTs on, or the mask as `reference.nrrd`; prints one JSON line: {"problem": sentence}, or
what `take_in` returns.
"""

from __future__ import annotations

import gzip
import json
import mmap
import os
import re
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from SpineSegLib.engine.errors import InputError, SpineSegError
from SpineSegLib.engine.exchange import write_volume_steps
from SpineSegLib.engine.files.dicom_frames import read_header
from SpineSegLib.engine.files.dicom_series import list_series
from SpineSegLib.engine.files.reading import read_labelmap, read_volume, volume_ending

REFERENCE = "reference.nrrd"
MAX_VOXELS = 2**30
MAX_MEMORY = 12 * 2**30
MAX_CPU_SECONDS = 300
MAX_FILE = 8 * 2**30
MAX_HEADER = 2**20  # bytes; Slicer writes half a kilobyte a segment


def check_plain(path: Path) -> None:
    """Refuse a volume file that is something else than its name says, or that points to other files.

    ITK finds the format by what a file holds, and NRRD, MetaImage and HDF5 can name other files of this computer to
    take the voxels from. Raises InputError.
    """
    ending = (volume_ending(path) or "").lower()
    if not ending:
        return  # DICOM, which names no other files
    refused = InputError("The file is not what its ending says, or is damaged; copy or export it again.")
    try:
        with gzip.open(path) if ending == ".nii.gz" else path.open("rb") as file:
            head = file.read(MAX_HEADER)
    except (EOFError, OSError, zlib.error):
        raise refused from None
    if ending in (".nii", ".nii.gz"):
        good = head[344:348] in (b"n+1\0", b"n+2\0") or head[4:8] == b"n+2\0"
    elif ending == ".nrrd":
        # an empty line ends the header, and what comes before it is all looked at
        header, end, _ = head.replace(b"\r\n", b"\n").replace(b"\r", b"\n").partition(b"\n\n")
        elsewhere = re.search(rb"^\s*data ?file\s*:", header, flags=re.MULTILINE | re.IGNORECASE)
        good = head.startswith(b"NRRD000") and bool(end) and elsewhere is None
    elif ending == ".mha":
        good = head.lower().startswith((b"objecttype", b"ndims")) and _local(path)
    else:
        raise InputError("A header whose voxels lie in another file can't be uploaded; save as .nrrd or .nii.gz.")
    if not good:
        raise refused
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise refused from None
    voxels = reader.GetNumberOfComponents()
    for size in reader.GetSize():
        voxels *= size
    if voxels > MAX_VOXELS:
        raise InputError("The image has more than a thousand million voxels; crop it first.")


def _local(path: Path) -> bool:
    """Whether a MetaImage says once in the whole file where its voxels are, and that they are in it."""
    key = b"ElementDataFile"  # in this spelling alone it counts
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(key)
        if at < 0 or content.find(key, at + 1) >= 0:
            return False
        return re.match(rb"\n" + key + rb"[ \t]*=[ \t]*LOCAL[ \t]*\r?\n", content[at - 1 : at + 100]) is not None


def take_in(kind: str, source: Path, target: Path) -> dict[str, Any]:
    """Read a CT or a mask and write it as the session takes it.

    Returns `notes` for people and, of a DICOM CT, `dicom`: `instances` (pairs of UID and file), `patient` (its ID) and
    `series` (its UID). Raises SpineSegError.
    """
    if source.is_file():
        check_plain(source)
    if kind == "reference":
        # a DICOM SEG comes as a folder of one file
        files = [source] if source.is_file() else sorted(source.iterdir())
        if len(files) != 1:
            raise InputError("A reference is one file: a mask, a .seg.nrrd or a DICOM SEG; choose one.")
        mask = read_labelmap(files[0])
        if not sitk.GetArrayViewFromImage(mask).any():
            raise InputError("The reference marks nothing; choose the mask of this CT.")
        sitk.WriteImage(mask, str(target / REFERENCE), useCompression=False)
        return {"notes": [], "dicom": None}
    notes: list[str] = []
    volume = read_volume(source, _largest_series(source, notes), repair=True)
    if volume.array.size > MAX_VOXELS:
        raise InputError("The CT has more than a thousand million voxels; crop it first.")
    image = volume.image
    for _ in write_volume_steps(target, volume.array, image.GetSpacing(), image.GetOrigin(), image.GetDirection()):
        pass
    return {"notes": [*notes, *volume.notes], "dicom": _identity(volume.dicom_files)}


def _identity(files: Sequence[Path]) -> dict[str, Any] | None:
    if not files:
        return None
    headers = [read_header(path, ("SOPInstanceUID", "PatientID", "SeriesInstanceUID")) for path in files]
    # anonymisation leaves some headers without an ID; the file's name tells them apart as well
    names = [header.get("SOPInstanceUID") or path.name for header, path in zip(headers, files, strict=True)]
    return {
        "instances": [[str(name), str(path)] for name, path in zip(names, files, strict=True)],
        "patient": str(headers[0].get("PatientID", "")),
        "series": str(headers[0].get("SeriesInstanceUID", "")),
    }


def _largest_series(source: Path, notes: list[str]) -> str | None:
    """The CT series to take where a folder holds several, which is told; None where there is no choice."""
    if source.is_file():
        return None
    usable = sorted((series for series in list_series(source) if not series.problem), key=lambda series: series.slices)
    if len(usable) < 2:
        return None
    notes.append(f"The folder holds {len(usable)} CT series; the largest, of {usable[-1].slices} slices, was taken.")
    return usable[-1].uid


def _limit() -> None:
    """No more memory, time and disk than a large CT needs; where the system can't, the time limit outside remains."""
    if os.name != "posix":
        return
    import resource

    for what, most in (
        (resource.RLIMIT_AS, MAX_MEMORY),
        (resource.RLIMIT_CPU, MAX_CPU_SECONDS),
        (resource.RLIMIT_FSIZE, MAX_FILE),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main(arguments: list[str]) -> None:
    """Run as a program."""
    kind, source, target = arguments
    _limit()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        answer = take_in(kind, Path(source), Path(target))
    except SpineSegError as error:
        # the reader names the file, but people know it by another name than it has here
        answer = {"problem": re.sub(rf"{re.escape(source)}(/[\w.]+\w)?", "The upload", str(error))}
    except MemoryError:
        answer = {"problem": "The image is too large for this server; crop it first."}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
