"""A CT of any number of slices, made of one that is at hand: its slices up and down again, as often as it takes."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from SpineSegLib.engine.files.reading import read_volume
from SpineSegLib.engine.models.preprocessing import AIR_HU

STEP = 1.0  # mm between the slices
HEADER = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: {size} {size} {slices}
space directions: ({pixel[1]},0,0) (0,{pixel[0]},0) (0,0,{step})
kinds: domain domain domain
endian: little
encoding: {encoding}
space origin: (0,0,0)

"""


def write_tall_ct(ct: Path, slices: int, size: int, path: Path, compressed: bool = False) -> None:
    """Write `slices` slices of size x size pixels, `STEP` mm apart and interpolated from those of `ct`, as .nrrd.

    They go into the file one by one: it may be larger than the memory.
    """
    volume = read_volume(ct)
    array, step = _fitted(volume.array, size), volume.grid.spacing[0]
    encoding = "gzip" if compressed else "raw"
    header = HEADER.format(size=size, slices=slices, pixel=volume.grid.spacing[1:], step=STEP, encoding=encoding)
    top = len(array) - 1
    with path.open("wb") as file:
        file.write(header.encode("ascii"))
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) if compressed else file as voxels:
            for k in range(slices):
                height = k * STEP / step % (2 * top)
                height = min(height, 2 * top - height)
                low = min(int(height), top - 1)
                share = np.float32(height - low)
                plane = (1 - share) * array[low] + share * array[low + 1]
                voxels.write(np.rint(plane).astype("<i2").tobytes())


def _fitted(array: np.ndarray, size: int) -> np.ndarray:
    """The middle of each slice (k, size, size), with air around it where it is smaller."""
    missing = [max(0, size - n) for n in array.shape[1:]]
    array = np.pad(array, [(0, 0), *((n // 2, n - n // 2) for n in missing)], constant_values=int(AIR_HU))
    j, i = ((n - size) // 2 for n in array.shape[1:])
    return array[:, j : j + size, i : i + size]
