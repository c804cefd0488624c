"""The slices inside DICOM CT files: headers, positions and pixels in HU, alike for single-frame and enhanced CT."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.models.preprocessing import AIR_HU

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

HU_RESCALE_TYPES = ("HU", "HU_MOD", "US")

_HEADER = (
    "SOPClassUID",
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ImageType",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
)
_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True)
class Frame:
    """One slice: where its pixels are, where it lies, and how stored values become HU.

    `position` (3) and `orientation` (6: along a row, along a column) are LPS mm; `spacing` is the distance of rows and
    of columns in mm, `shape` is (rows, columns), `index` the frame's place in its file.
    """

    path: Path
    index: int
    position: np.ndarray
    orientation: np.ndarray
    spacing: tuple[float, float]
    shape: tuple[int, int]
    slope: float
    intercept: float

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.orientation[:3], self.orientation[3:])


def read_header(path: Path, tags: Iterable[str] = _HEADER) -> Dataset | None:
    """The attributes `tags` of a DICOM file, with or without preamble; None if it isn't one or is broken."""
    import pydicom

    try:
        # Not a regular file: a pipe would block.
        if not path.is_file():
            return None
        with path.open("rb") as file:
            start = file.read(132)
        if not _looks_like_dicom(start):
            return None
        with _quiet_pydicom():
            return pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(tags))
    except PermissionError:
        # It may be a slice: left out, the volume could lack its end.
        raise InputError("A file in the DICOM folder can't be opened; check the permissions of its files.") from None
    except Exception:  # pydicom raises whatever a broken file leads it into
        return None


def _looks_like_dicom(start: bytes) -> bool:
    if start[128:132] == b"DICM":
        return True
    # Without preamble a file begins with group 0002 or 0008 and a low element number.
    little, big = int.from_bytes(start[:2], "little"), int.from_bytes(start[:2], "big")
    order = "little" if little in (2, 8) else "big" if big == 8 else None
    return order is not None and len(start) > 8 and int.from_bytes(start[2:4], order) <= 0x60


@contextmanager
def _quiet_pydicom() -> Iterator[None]:
    """Values that break a rule without harm (an over-long description, say) are no news for the user."""
    from pydicom import config

    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def is_scout(header: Dataset) -> bool:
    return "LOCALIZER" in _values(header.get("ImageType"))


def _values(value) -> list[str]:
    """The values of a text attribute that may be absent, single or multiple."""
    if not value:
        return []
    return [value.upper()] if isinstance(value, str) else [str(each).upper() for each in value]


def frame_count(header: Dataset) -> int:
    try:
        return max(1, int(header.get("NumberOfFrames") or 1))
    except (TypeError, ValueError):
        return 1


def read_frames(path: Path, scouts: bool = False) -> list[Frame]:
    """The slices of one single-frame or enhanced CT file in stored order, without `scouts` only the slices of volumes.

    Raises InputError if the file is damaged or lacks positions.
    """
    header = read_header(path)
    if header is not None and (frame_count(header) > 1 or "ImagePositionPatient" not in header):
        header = read_header(path, (*_HEADER, *_FUNCTIONAL_GROUPS))
    if header is None:
        raise InputError("A file of the DICOM series is damaged or can't be opened; export the series again.")
    try:
        with _quiet_pydicom():
            if frame_count(header) == 1 and "PerFrameFunctionalGroupsSequence" not in header:
                return [_frame(path, 0, header, header, header, header)]
            return list(_enhanced_frames(path, header, scouts))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise InputError(
            "A file of the DICOM series lacks its position, orientation or pixel spacing; export the series again."
        ) from None


def _enhanced_frames(path: Path, header: Dataset, scouts: bool) -> Iterator[Frame]:
    """Frames of enhanced CT (DICOM PS3.3 A.38): attributes stand in the frame's own or in shared functional groups."""
    shared = header.SharedFunctionalGroupsSequence[0] if header.get("SharedFunctionalGroupsSequence") else {}

    for index, own in enumerate(header.PerFrameFunctionalGroupsSequence):

        def group(name: str, own=own):
            for groups in (own, shared):
                if name in groups and len(groups[name].value):
                    return groups[name].value[0]
            return {}

        if not scouts and "LOCALIZER" in _values(group("CTImageFrameTypeSequence").get("FrameType")):
            continue
        rescale = group("PixelValueTransformationSequence")
        if str(rescale.get("RescaleType") or "HU").upper() not in HU_RESCALE_TYPES:
            raise InputError("The enhanced CT is not in HU; choose a series with ordinary CT images.")
        position, orientation = group("PlanePositionSequence"), group("PlaneOrientationSequence")
        yield _frame(path, index, header, position, orientation, group("PixelMeasuresSequence"), rescale)


def _frame(path: Path, index: int, header, position, orientation, measures, rescale=None) -> Frame:
    rescale = header if rescale is None else rescale
    direction = np.array([float(value) for value in orientation["ImageOrientationPatient"].value])
    along_row, along_column = direction[:3], direction[3:]
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    place = np.array([float(value) for value in position["ImagePositionPatient"].value])
    rows, columns = (float(value) for value in measures["PixelSpacing"].value)
    slope, intercept = (
        float(default if rescale.get(name) in (None, "") else rescale.get(name))
        for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    if (
        place.shape != (3,)
        or direction.shape != (6,)
        or not np.isfinite([*place, *direction, rows, columns, slope, intercept]).all()
        or max(abs(length - 1) for length in lengths) > 0.01
        or abs(np.dot(along_row, along_column)) > 0.01
        or min(rows, columns) <= 0
        or slope == 0
    ):
        raise ValueError("geometry")
    # Stored with few digits: made exactly orthonormal.
    along_row = along_row / lengths[0]
    along_column = along_column - np.dot(along_row, along_column) * along_row
    along_column /= np.linalg.norm(along_column)
    shape = int(header.Rows), int(header.Columns)
    return Frame(
        path, index, place, np.concatenate([along_row, along_column]), (rows, columns), shape, slope, intercept
    )


class PixelReader:
    """Decodes slices to HU; keeps the file last read, because an enhanced CT has all its slices in one."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._dataset: Dataset | None = None

    def hu(self, frame: Frame) -> np.ndarray:
        """The slice in HU, (y, x), int16 for whole-numbered rescaling, else float32; padding and below -1024 as air.

        Raises InputError if the pixels are missing, damaged or compressed in an unknown way.
        """
        try:
            with _quiet_pydicom():
                dataset = self._open(frame.path)
                stored = self._stored(dataset, frame)
        except InputError:
            raise
        except Exception:  # decoders raise whatever broken data leads them into
            raise InputError(
                f"The slice at {np.dot(frame.normal, frame.position):.1f} mm is truncated or damaged; copy or export"
                " the series again."
            ) from None

        padding = _padding(dataset, stored, frame)
        stored = _used_bits(stored, dataset)
        if frame.slope.is_integer() and frame.intercept.is_integer():
            hu = stored.astype(np.int32)
            hu *= int(frame.slope)
            hu += int(frame.intercept)
            np.clip(hu, int(AIR_HU), np.iinfo(np.int16).max, out=hu)
            hu = hu.astype(np.int16)
        else:
            hu = np.maximum(stored.astype(np.float32) * np.float32(frame.slope) + np.float32(frame.intercept), AIR_HU)
        if padding is not None:
            hu[padding] = AIR_HU
        return hu

    def _open(self, path: Path) -> Dataset:
        import pydicom
        from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

        if path != self._path:
            dataset = pydicom.dcmread(path, force=True)
            if not dataset.file_meta.get("TransferSyntaxUID"):
                implicit, little = dataset.original_encoding
                explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
                dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
            self._path, self._dataset = path, dataset
        return self._dataset

    def _stored(self, dataset: Dataset, frame: Frame) -> np.ndarray:
        """Stored values of one frame, (y, x), unused bits untouched."""
        from pydicom.pixels import get_decoder

        syntax = dataset.file_meta.TransferSyntaxUID
        options = {} if syntax.is_encapsulated else {"correct_unused_bits": False}
        try:
            array, _ = get_decoder(syntax).as_array(dataset, index=frame.index, raw=True, **options)
        except Exception:  # no plugin for this compression, or one that can't do this kind of it
            if not syntax.is_encapsulated:
                raise
            array = self._stored_by_gdcm(frame)
        if array.shape != frame.shape:
            raise ValueError("shape")
        return array

    def _stored_by_gdcm(self, frame: Frame) -> np.ndarray:
        """By the decoders inside SimpleITK, which know every JPEG without further packages but rescale as well."""
        str(frame.path).encode()  # SimpleITK crashes on names that are no text
        image = sitk.ReadImage(str(frame.path))
        if image.GetSize()[2] != 1:
            raise InputError("The enhanced CT is compressed in a way that can't be read; export it uncompressed.")
        hu = sitk.GetArrayViewFromImage(image)[0]
        return np.rint((hu - frame.intercept) / frame.slope).astype(np.int32)


def _used_bits(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Values without the bits above High Bit and below it that belong to no pixel (old files keep overlays there)."""
    allocated, bits = int(dataset.BitsAllocated), int(dataset.get("BitsStored") or dataset.BitsAllocated)
    high = int(dataset.get("HighBit") or bits - 1)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated or bits >= allocated or allocated != 8 * stored.itemsize:
        return stored
    # The type's own sign decides what is shifted in.
    return (stored << (allocated - 1 - high)) >> (allocated - bits)


def _padding(dataset: Dataset, stored: np.ndarray, frame: Frame) -> np.ndarray | None:
    """Where `stored` is padding (DICOM PS3.3 C.7.5.1.1.2), as a mask, or None.

    Compared bit by bit, since writers disagree about the sign. A padding value inside the range of tissue is not
    believed: real pixels have it too.
    """
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    if low == high:
        signed = low - 0x10000 if low >= 0x8000 and dataset.PixelRepresentation else low
        hu = signed * frame.slope + frame.intercept
        if -900 < hu < 3071:
            return None
        return (stored.astype(np.int64) & 0xFFFF) == (low & 0xFFFF)
    if max(low * frame.slope, high * frame.slope) + frame.intercept > -900:
        return None
    return (stored >= low) & (stored <= high)
