"""Writes results: whole or not at all, in the format the file's ending names."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from SpineSegLib import __version__
from SpineSegLib.engine.errors import ExistsError, OutputError
from SpineSegLib.engine.files.gzipped import DamagedError, decompressed
from SpineSegLib.engine.files.nrrd import read_header
from SpineSegLib.engine.segments import Segment
from SpineSegLib.engine.volume import Volume

SEGMENTATION_ENDINGS = (".seg.nrrd", ".nrrd", ".nii.gz", ".nii", ".mha", ".dcm")


def check_output(path: str | Path, volume: Volume | None = None) -> None:
    """Find out before the work starts whether a segmentation can be written to `path`; creates and changes nothing.

    With `volume` also whether the format suits it. Missing folders are no obstacle, `write_segmentation` creates them.
    Raises OutputError: unknown ending, a folder at that place, no permission.
    """
    path = Path(path)
    ending = ending_of(path)
    if ending == ".dcm" and volume is not None:
        from SpineSegLib.engine.files.dicom_seg import check_source

        check_source(volume)
    check_place(path)


def check_place(path: str | Path) -> None:
    """Raise OutputError where no file can be made at `path`: a folder is there, or permission is missing."""
    path = Path(path)
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; give a file name.")
        folder = next(parent for parent in path.absolute().parents if parent.exists() or parent == parent.parent)
        if not folder.is_dir():
            raise OutputError(f"{folder} is not a folder; choose another place for the result.")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise as_output_error(path, error) from None


@contextmanager
def atomic_output(path: str | Path, overwrite: bool = True) -> Iterator[Path]:
    """A temporary path of the same ending beside `path`, which takes its place when the block ends without an error.

    Missing folders are created. On any error or interruption the temporary file is removed and a file that was at
    `path` stays as it was. Without `overwrite` one that came into being meanwhile stays, too.
    Raises ExistsError for that, OutputError for OSErrors of the file system (no permission, disk full).
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(4)}-{_plain_name(path)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _to_disk(temporary, os.O_RDWR)
        if not overwrite:
            path.open("xb").close()  # the name is ours, or somebody else's
        temporary.replace(path)
        # The file is complete; Windows and some network drives can't be told to keep a folder's entries as well.
        with suppress(OSError):
            _to_disk(path.parent, os.O_RDONLY)
    except FileExistsError:
        raise ExistsError(f"{path} exists already; choose another name.") from None
    except OSError as error:
        raise as_output_error(path, error) from None
    finally:
        # Nothing to remove, or no folder either: what went wrong has been said.
        with suppress(OSError):
            temporary.unlink()


def _plain_name(path: Path) -> str:
    """A name of the same ending that every library writes to: ITK looks for .nii, .hdr or .img from the front of a name
    (x.nii.gz.nii.gz becomes x.nii.gz), knows none in capitals, and the name may be as long as names may be."""
    ending = next((ending for ending in SEGMENTATION_ENDINGS if path.name.lower().endswith(ending)), None)
    return path.name if ending is None else f"new{ending}"


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path`, which takes its place when the block ends without an error, and else goes.

    A folder that was at `path` is replaced with all it holds; an empty one stays and is filled, as it may be a place
    that can't be renamed (a mount). A link is followed. Raises OutputError for OSErrors of the file system.
    """
    path = Path(path).resolve()
    token = secrets.token_hex(4)
    temporary, old = (path.with_name(f".{token}-{kind}-{path.name}") for kind in ("new", "old"))
    try:
        empty = path.is_dir() and not any(path.iterdir())
        if empty:
            temporary = path / temporary.name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        if empty:
            for entry in temporary.iterdir():
                entry.rename(path / entry.name)
            return
        try:
            if path.exists():
                path.rename(old)
            temporary.rename(path)
        except BaseException:  # Ctrl-C too: what was there comes back
            if old.exists() and not path.exists():
                old.rename(path)
            raise
    except OSError as error:
        raise as_output_error(path, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)


def write_segmentation(
    labelmap: sitk.Image, segments: Sequence[Segment], path: str | Path, volume: Volume, overwrite: bool = True
) -> None:
    """Write `labelmap` (3-D, sitkUInt8 or sitkUInt16, on the grid of `volume`) in the format of the ending of `path`.

    `.seg.nrrd`: a segmentation as 3D Slicer reads it, with names, colours and terminology.
    `.dcm`: DICOM SEG for the CT's series.
    `.nrrd`, `.nii.gz`, `.nii`, `.mha`: the label map, values as in `Segment.label`; compressed except `.nii`.
    `segments` without a voxel are kept. The file appears only when it is complete.

    Raises ExistsError where the file is there and `overwrite` isn't set; OutputError: unknown ending, no permission,
    disk full, or DICOM SEG for a CT that wasn't read from DICOM.
    """
    path = Path(path)
    ending = ending_of(path)
    if labelmap.GetDimension() != 3 or labelmap.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError("a segmentation is written from a 3-D label map")
    if labelmap.GetPixelID() not in (sitk.sitkUInt8, sitk.sitkUInt16):
        raise ValueError("a label map is sitkUInt8 or sitkUInt16")
    if ending == ".dcm":
        from SpineSegLib.engine.files.dicom_seg import save_dicom_seg

        with atomic_output(path, overwrite) as temporary:
            save_dicom_seg(labelmap, segments, temporary, volume, __version__)
        return
    with _described(labelmap, _slicer_header(labelmap, segments) if ending == ".seg.nrrd" else {}):
        write_image(labelmap, path, overwrite)


def write_image(image: sitk.Image, path: str | Path, overwrite: bool = True) -> None:
    """Write a volume atomically in the format the ending of `path` names, compressed except `.nii`.

    Raises ExistsError where the file is there and `overwrite` isn't set, OutputError: no permission, disk full.
    """
    path = Path(path)
    with atomic_output(path, overwrite) as temporary:
        _write_image(image, temporary, path, compress=path.suffix.lower() != ".nii")


def ending_of(path: Path) -> str:
    """The ending of SEGMENTATION_ENDINGS that a file has. Raises OutputError for another one."""
    name = path.name.lower()
    for ending in SEGMENTATION_ENDINGS:
        if name.endswith(ending) and len(name) > len(ending):
            return ending
    raise OutputError(f"The ending of {path} is not known; choose one of {', '.join(SEGMENTATION_ENDINGS)}.")


@contextmanager
def _described(image: sitk.Image, meta_data: dict[str, str]) -> Iterator[None]:
    """Give an image nothing but this meta data while the block lasts. (To change that of a copy copies all voxels.)"""
    own = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    _replace_meta_data(image, meta_data)
    try:
        yield
    finally:
        _replace_meta_data(image, own)


def _replace_meta_data(image: sitk.Image, meta_data: dict[str, str]) -> None:
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    for key, value in meta_data.items():
        image.SetMetaData(key, value)


def _write_image(image: sitk.Image, temporary: Path, path: Path, compress: bool) -> None:
    try:
        str(path).encode()  # SimpleITK crashes on names that are no text
    except UnicodeEncodeError:
        raise OutputError(f"{path} has characters that can't be written; choose another name.") from None
    try:
        sitk.WriteImage(image, str(temporary), useCompression=compress)
        # ITK doesn't notice for every format when the disk is full, so what counts is what can be read back.
        complete = _readable(temporary, image)
    except (RuntimeError, DamagedError):
        complete = False
    if not complete:
        # ITK doesn't say why; the file system does when asked directly.
        with temporary.open("ab") as file:
            file.write(b"\0" * 2**16)
            file.flush()
            os.fsync(file.fileno())
        raise OutputError(f"{path} can't be written completely; check the disk and try again.")


def _readable(file: Path, image: sitk.Image) -> bool:
    """Whether what was written of an image is all there. Raises RuntimeError or DamagedError where it is not readable.

    A gzip file is read to its checksum, which tells as much as its voxels do, and needs no memory for them.
    """
    wanted = sitk.GetArrayViewFromImage(image)
    if file.name.lower().endswith((".nrrd", ".nii.gz")):
        with file.open("rb") as stream:
            if file.suffix.lower() == ".nrrd":
                read_header(stream)
            return sum(map(len, decompressed(stream))) >= wanted.nbytes
    stored = sitk.ReadImage(str(file))
    written = sitk.GetArrayViewFromImage(stored)
    return written.shape == wanted.shape and all(map(np.array_equal, written, wanted))


def _slicer_header(labelmap: sitk.Image, segments: Sequence[Segment]) -> dict[str, str]:
    """The fields by which 3D Slicer (vtkMRMLSegmentationStorageNode) recognises segments in an NRRD file."""
    array = sitk.GetArrayViewFromImage(labelmap)
    # labels fill a small part of a CT, and the rest is looked at once
    across = array.max(axis=0) > 0
    around = (slice(0, len(array)), *(_slice(across.any(axis=other)) for other in (1, 0)))
    fields = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ConversionParameters": "",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for index, segment in enumerate(segments):
        fields |= {
            f"Segment{index}_ID": segment.key,
            f"Segment{index}_Name": segment.name,
            f"Segment{index}_NameAutoGenerated": "0",
            f"Segment{index}_Color": " ".join(f"{value:.6g}" for value in segment.colour),
            f"Segment{index}_ColorAutoGenerated": "0",
            f"Segment{index}_LabelValue": str(segment.label),
            f"Segment{index}_Layer": "0",
            f"Segment{index}_Extent": _extent(array[around] == segment.label, around),
            f"Segment{index}_Tags": f"Segmentation.Status:inprogress|TerminologyEntry:{segment.terminology_entry}|",
        }
    return fields


def _extent(inside: np.ndarray, box: tuple[slice, ...]) -> str:
    """First and last index along x, y and z of the voxels of `inside`, which is the part `box` (z, y, x) of an array.

    0 -1 where there are none.
    """
    bounds = []
    for axis in (2, 1, 0):
        along = _slice(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        first = box[axis].start if along.stop else 0
        bounds += [first + along.start, first + along.stop - 1]
    return " ".join(str(value) for value in bounds)


def _slice(line: np.ndarray) -> slice:
    """From the first True of a line to the last, 0 to 0 without one."""
    found = np.flatnonzero(line)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)


def _to_disk(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def as_output_error(path: Path, error: OSError) -> OutputError:
    """The sentence for people about an error of the file system at `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutputError(f"{path} can't be written because the disk is full; make room and try again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"{path} can't be written because permission is missing; choose another place.")
    return OutputError(
        f"{path} can't be written ({error.strerror or 'error of the file system'}); choose another place."
    )
