"""The voxels of compressed NRRD files, as 3D Slicer writes them, decompressed faster than by ITK."""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.gzipped import MOST, DamagedError, decompressed, gathered

_LONGEST = 2**20  # bytes of a line of a header; in other files a line may have no end
# what says that the voxels lie elsewhere, or not right behind the header
_ELSEWHERE = {"data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip"}


def read_header(file: BinaryIO) -> dict[str, str]:
    """The fields of a .nrrd file's header, all in small letters; what is read next from the file is behind it."""
    fields = {}
    while line := file.readline(_LONGEST).decode("latin-1").strip():
        key, colon, value = line.partition(": ")
        if colon and not line.startswith("#"):
            fields[key.lower()] = value.strip().lower()
    return fields


def compressed_voxels(path: Path, shape: tuple[int, int, int], kind: np.dtype) -> np.ndarray | None:
    """The voxels of a .nrrd file that holds `shape` (z, y, x) of them, of type `kind` in any byte order.

    None where they aren't compressed by gzip within the file. Raises InputError where they are damaged.
    """
    with path.open("rb") as file:
        fields = read_header(file)
        if fields.get("encoding") not in ("gzip", "gz") or fields.keys() & _ELSEWHERE:
            return None
        damaged = InputError(f"{path} is damaged, truncated or not what its ending says; copy or export it again.")
        expected = math.prod(shape) * kind.itemsize
        if expected > path.stat().st_size * MOST:
            raise damaged
        keep = np.empty(expected, np.uint8)
        try:
            length = gathered(decompressed(file), keep)
        except DamagedError:
            raise damaged from None
    if length < expected:
        raise damaged
    order = ">" if fields.get("endian") == "big" else "<"
    voxels = keep.view(kind.newbyteorder(order)).reshape(shape)
    return voxels.astype(kind, copy=False)
