"""A CT of any number of slices, made of one that is at hand: its slices up and down again, as often as it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from SpineSegLib.engine.files.reading import read_volume
from SpineSegLib.engine.models.preprocessing import AIR_HU
from SpineSegLib.engine.volume import Grid

STEP = 1.0  # mm between the slices


def write_tall_ct(ct: Path, slices: int, size: int, path: Path, compressed: bool = False) -> None:
    """Write `slices` slices of size x size pixels, `STEP` mm apart and interpolated from those of `ct`."""
    volume = read_volume(ct)
    array, step = _fitted(volume.array, size), volume.grid.spacing[0]
    top = len(array) - 1
    tall = np.empty((slices, size, size), dtype=np.int16)
    for k, plane in enumerate(tall):
        height = k * STEP / step % (2 * top)
        height = min(height, 2 * top - height)
        low = min(int(height), top - 1)
        share = np.float32(height - low)
        plane[...] = np.rint((1 - share) * array[low] + share * array[low + 1])
    image = Grid(tall.shape, (STEP, *volume.grid.spacing[1:]), (0.0, 0.0, 0.0)).image(tall)
    sitk.WriteImage(image, str(path), useCompression=compressed)


def _fitted(array: np.ndarray, size: int) -> np.ndarray:
    """The middle of each slice (k, size, size), with air around it where it is smaller."""
    missing = [max(0, size - n) for n in array.shape[1:]]
    array = np.pad(array, [(0, 0), *((n // 2, n - n // 2) for n in missing)], constant_values=int(AIR_HU))
    j, i = ((n - size) // 2 for n in array.shape[1:])
    return array[:, j : j + size, i : i + size]
