"""Finds damage in NIfTI files that ITK's reader passes over without a word: it fills up what is missing."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

from SpineSegLib.engine.errors import InputError

_HEADER_BYTES = 348
_CHUNK = 2**20


def check_nifti(path: Path) -> None:
    """Raise InputError if a .nii or .nii.gz file is damaged, truncated, or doesn't say where the patient lies.

    The whole file is read once, compressed ones with their checksum. Offsets are those of the NIfTI-1 header
    (nifti1.h, R. Cox et al. 2004).
    """
    damaged = InputError(f"{path} is damaged, truncated or not what its ending says; copy or export it again.")
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
            order = next((order for order in "<>" if header[:4] == struct.pack(f"{order}i", _HEADER_BYTES)), None)
            if order is None or len(header) < _HEADER_BYTES:
                raise damaged
            dimensions, *sizes = struct.unpack_from(f"{order}8h", header, 40)
            (bits,) = struct.unpack_from(f"{order}h", header, 72)
            spacing = struct.unpack_from(f"{order}3f", header, 80)
            (start,) = struct.unpack_from(f"{order}f", header, 108)
            qform, sform = struct.unpack_from(f"{order}2h", header, 252)
            if not 1 <= dimensions <= 7 or min(sizes[:dimensions]) < 1 or not start >= _HEADER_BYTES:
                raise damaged
            length = len(header)
            while chunk := file.read(_CHUNK):
                length += len(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise damaged from None
    except OSError as error:
        raise InputError(f"{path} can't be opened ({error.strerror}); check its permissions.") from None
    if length < start + math.prod(sizes[:dimensions]) * bits / 8:
        raise damaged
    if dimensions >= 3 and not all(0 < abs(value) < math.inf for value in spacing):
        raise InputError(f"{path} gives a voxel size of zero or none at all; export it again.")
    if qform == sform == 0:
        raise InputError(f"{path} does not say how the patient lies in it (qform and sform are 0); export it again.")
