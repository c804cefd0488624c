"""Finds damage in NIfTI files that ITK's reader passes over without a word: it fills up what is missing.

With a compressed file that takes reading all of it, so its voxels are kept: decompressing is most of the work.
"""

from __future__ import annotations

import math
import struct
from itertools import chain
from pathlib import Path

import numpy as np

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.gzipped import MOST, DamagedError, decompressed, gathered

SAME_SIZE = 0.01  # of a voxel, by which sform and pixdim may differ
RIGHT_ANGLE = 0.005  # cosine up to which axes count as at right angles: 0.3 degrees
_HEADER_BYTES = 348
_TYPES = {(2, 8): "u1", (4, 16): "i2", (8, 32): "i4", (16, 32): "f4", (64, 64): "f8", (256, 8): "i1", (512, 16): "u2"}


def checked_voxels(path: Path) -> np.ndarray | None:
    """Of a compressed file the voxels (z, y, x) as stored; None of others and where values are scaled or no scalars.

    Raises InputError if a .nii or .nii.gz file is damaged, truncated, or doesn't say where the patient lies. Compressed
    files are read to their checksum. Offsets are those of the NIfTI-1 header (nifti1.h, R. Cox et al. 2004).
    """
    compressed = path.name.lower().endswith(".gz")
    damaged = InputError(f"{path} is damaged, truncated or not what its ending says; copy or export it again.")
    try:
        with path.open("rb") as file:
            pieces = decompressed(file) if compressed else iter([file.read(_HEADER_BYTES)])
            header = b""
            while len(header) < _HEADER_BYTES and (piece := next(pieces, b"")):
                header += piece
            order = next((order for order in "<>" if header[:4] == struct.pack(f"{order}i", _HEADER_BYTES)), None)
            if order is None or len(header) < _HEADER_BYTES:
                raise damaged
            dimensions, *sizes = struct.unpack_from(f"{order}8h", header, 40)
            kind = struct.unpack_from(f"{order}2h", header, 70)  # and bits a voxel
            spacing = struct.unpack_from(f"{order}3f", header, 80)
            start, slope, intercept = struct.unpack_from(f"{order}3f", header, 108)
            qform, sform = struct.unpack_from(f"{order}2h", header, 252)
            rows = np.array(struct.unpack_from(f"{order}12f", header, 280)).reshape(3, 4)
            if not 1 <= dimensions <= 7 or min(sizes[:dimensions]) < 1 or not start >= _HEADER_BYTES:
                raise damaged
            expected = start + math.prod(sizes[:dimensions]) * kind[1] / 8
            if expected > path.stat().st_size * (MOST if compressed else 1):
                raise damaged
            plain = dimensions == 3 and kind in _TYPES and slope in (0, 1) and intercept == 0
            keep = np.empty(int(expected) if compressed and plain else 0, dtype=np.uint8)
            length = gathered(chain([header], pieces), keep)
    except DamagedError:
        raise damaged from None
    except OSError as error:
        raise InputError(f"{path} can't be opened ({error.strerror}); check its permissions.") from None
    if compressed and length < expected:
        raise damaged
    if dimensions >= 3 and not all(0 < abs(value) < math.inf for value in spacing):
        raise InputError(f"{path} gives a voxel size of zero or none at all; export it again.")
    if qform == sform == 0:
        raise InputError(f"{path} does not say how the patient lies in it (qform and sform are 0); export it again.")
    if dimensions >= 3 and sform > 0:
        _check_sform(path, rows[:, :3], np.abs(spacing))
    if not len(keep):
        return None
    voxels = keep[int(start) :].view(np.dtype(_TYPES[kind]).newbyteorder(order)).reshape(sizes[2::-1])
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)


def _check_sform(path: Path, axes: np.ndarray, spacing: np.ndarray) -> None:
    """Refuse a file whose two accounts of its grid differ: programs that believe the other one show it elsewhere."""
    lengths = np.linalg.norm(axes, axis=0)
    if not (np.isfinite(lengths).all() and lengths.all()):
        return  # no account at all
    cosines = (axes / lengths).T @ (axes / lengths) - np.eye(3)
    if np.abs(cosines).max() > RIGHT_ANGLE:
        raise InputError(f"{path} has axes that are not at right angles; resample it to a regular grid first.")
    if not np.allclose(lengths, spacing, rtol=SAME_SIZE):
        sizes = [" x ".join(f"{value:.4g}" for value in each) for each in (lengths, spacing)]
        raise InputError(
            f"{path} contradicts itself: voxels of {sizes[0]} mm by its sform, of {sizes[1]} mm by its pixdim; export "
            "it again."
        )
