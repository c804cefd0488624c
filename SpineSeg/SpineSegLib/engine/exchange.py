"""The folder through which a CT and its segmentation pass between a front door and the worker process.

`volume.npy` holds the CT's voxels (k, j, i), `volume.json` its place in the patient and nothing else, `mask.npy` the
labels (uint8; k, j, i on the CT's own grid; 255 where nothing was computed). Both sides map the files into memory, so
nothing is sent and nothing is held twice. What a job leaves behind is removed by whoever made the folder.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.engine.stored_labels import NOT_COMPUTED
from SpineSegLib.engine.volume import ArrayVolume, Grid, Volume

VOXELS, PLACE, MASK = "volume.npy", "volume.json", "mask.npy"
STEP = 2**22  # bytes written at once: a few milliseconds
SPARE = 2**25  # bytes of temporary space that must be left over
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_volume_steps(
    folder: str | Path,
    array: np.ndarray,
    spacing: Sequence[float],
    origin: Sequence[float],
    direction: Sequence[float],
) -> Iterator[float]:
    """Write a CT into a folder that exists, a few MB in each step; yields the fraction done, 1.0 at last.

    `array`: HU (k, j, i) of any real type, in any memory order. `spacing` (mm), `origin` (mm) and `direction`
    (row-major, columns are the i, j, k axes) are in i, j, k order and LPS, as SimpleITK has them.

    Raises OutputError where the temporary space is too small, ValueError where the array is no volume of real numbers.
    """
    if array.ndim != 3 or array.dtype.kind not in "biuf":
        raise ValueError(f"a volume must be (k, j, i) of real numbers, not {array.dtype} {array.shape}")
    folder = Path(folder)
    # as float32 where it isn't whole numbers: enough for HU
    dtype = np.dtype({"b": "u1", "f": "<f4"}.get(array.dtype.kind, array.dtype.newbyteorder("<")))
    _require_space(folder, array.size * (dtype.itemsize + 1))
    place = {"spacing": spacing, "origin": origin, "direction": direction}
    text = json.dumps({name: [float(value) for value in values] for name, values in place.items()}, allow_nan=False)
    with _space():
        (folder / PLACE).write_text(text, encoding="ascii")
        with (folder / VOXELS).open("wb") as file:
            _write_header(file, array.shape, dtype)
            planes = max(1, STEP // max(1, array[0].size * dtype.itemsize))
            for k in range(0, len(array), planes):
                file.write(np.ascontiguousarray(array[k : k + planes], dtype=dtype).data)
                if k + planes < len(array):
                    yield (k + planes) / len(array)
    yield 1.0


def read_exchanged_volume(folder: str | Path) -> Volume:
    """The CT in a folder, its voxels memory-mapped. Raises InputError where it isn't there or isn't whole."""
    folder = Path(folder)
    try:
        place = json.loads((folder / PLACE).read_text(encoding="ascii"))
        spacing, origin, direction = (tuple(map(float, place[name])) for name in ("spacing", "origin", "direction"))
        array = np.load(folder / VOXELS, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError("The CT was not passed on completely; try again.") from None
    numbers = (*spacing, *origin, *direction)
    if array.ndim != 3 or 0 in array.shape or [len(spacing), len(origin), len(direction)] != [3, 3, 9]:
        raise InputError("The CT that was passed on is no volume; give one of three dimensions.")
    turned = abs(np.linalg.det(np.reshape(direction, (3, 3)))) if np.isfinite(numbers).all() else math.nan
    if not (min(spacing) > 0 and abs(turned - 1) < 1e-2):
        raise InputError("The CT has voxel sizes or directions that can't be; export it again.")
    return ArrayVolume(array, Grid(array.shape, spacing[::-1], origin, direction), "CT")


def reset_mask(folder: str | Path, shape: tuple[int, int, int]) -> np.memmap:
    """Make the mask of a CT of this shape (k, j, i), nothing of it computed, and map it for writing.

    Raises OutputError where the temporary space is too small.
    """
    path = Path(folder) / MASK
    # Written and not only mapped: on a full disk a write fails in order, a mapped page takes the process down. A mask
    # that is there is overwritten in place: the front door may still look at it, and Windows would not let it go then.
    with _space(), path.open("r+b" if path.exists() else "wb") as file:
        _write_header(file, shape, np.dtype(np.uint8))
        left = math.prod(shape)
        nothing = np.full(min(left, STEP), NOT_COMPUTED, dtype=np.uint8)
        while left:
            left -= file.write(nothing[: min(left, STEP)].data)
    return np.lib.format.open_memmap(path, mode="r+")


def open_mask(folder: str | Path) -> np.memmap:
    """The mask (k, j, i) as the worker has written it so far, memory-mapped to be read.

    Raises FileNotFoundError before the job's event "started".
    """
    return np.lib.format.open_memmap(Path(folder) / MASK, mode="r")


def _write_header(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, header)


def _require_space(folder: Path, needed: int) -> None:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return  # what can't be asked shows when writing
    if free < needed + SPARE:
        raise _too_small(f" ({needed / 1e9:.1f} GB are needed)")


@contextmanager
def _space() -> Iterator[None]:
    """Turns what the file system says into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _too_small() from None
        reason = error.strerror or os.strerror(error.errno or errno.EIO)
        raise OutputError(f"Temporary files can't be written ({reason}); choose another folder for them.") from None


def _too_small(more: str = "") -> OutputError:
    return OutputError(
        f"There is not enough space for temporary files{more}; free some or choose another folder for them."
    )
