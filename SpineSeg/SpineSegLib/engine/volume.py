"""A CT volume as the engine passes it on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk


@dataclass(frozen=True)
class Grid:
    """A box of voxels: `shape` and `spacing` (mm) in z, y, x (or k, j, i) order; `origin` (centre of the first voxel)
    and `direction` (row-major, columns are the x, y, z axes) in LPS as SimpleITK has them."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    @classmethod
    def of(cls, image: sitk.Image) -> Grid:
        """The grid of a 3-D image."""
        return cls(image.GetSize()[::-1], image.GetSpacing()[::-1], image.GetOrigin(), image.GetDirection())

    def point(self, z: float, y: float, x: float) -> np.ndarray:
        """LPS position in mm of a voxel index (may be fractional)."""
        steps = np.array([x, y, z]) * self.spacing[::-1]
        return np.array(self.origin) + np.array(self.direction).reshape(3, 3) @ steps

    def index(self, point: np.ndarray) -> np.ndarray:
        """Fractional voxel indices (..., 3) in z, y, x order of LPS positions (..., 3) in mm."""
        steps = (np.asarray(point) - self.origin) @ np.linalg.inv(np.array(self.direction).reshape(3, 3)).T
        return steps[..., ::-1] / self.spacing

    def outer_corners(self) -> np.ndarray:
        """The outer corners (8, 3) of the voxels in LPS mm, in order of the index."""
        size = np.array(self.shape[::-1])
        return np.array([self.point(*np.where(far, size - 0.5, -0.5)[::-1]) for far in np.ndindex(2, 2, 2)])

    def image(self, array: np.ndarray) -> sitk.Image:
        """The array (z, y, x) as an image in its place."""
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(self.spacing[::-1])
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image


@dataclass(frozen=True)
class Repair:
    """A fault of a CT and, in the present tense, what reading does about it where it is allowed to."""

    problem: str
    cure: str


@dataclass(frozen=True)
class Volume:
    """A CT in Hounsfield units with its place in the patient.

    `image` is 3-D (sitkInt16 or sitkFloat32), HU, LPS physical space; its array view has z, y, x order.
    `name` says what was read without naming a patient.
    `dicom_files` are the instances in the order of the slices (one file for enhanced CT), empty for other formats.
    `notes` are plain sentences on what reading changed or noticed; `repairs` are the faults that were repaired.
    """

    image: sitk.Image
    name: str
    dicom_files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()

    @property
    def array(self) -> np.ndarray:
        """The voxels (k, j, i) in HU, not to be written to; valid as long as the volume."""
        return sitk.GetArrayViewFromImage(self.image)

    @property
    def grid(self) -> Grid:
        """Where the voxels are."""
        return Grid.of(self.image)


class ArrayVolume(Volume):
    """A CT whose voxels are an array, in memory or mapped from a file; `image` copies them all."""

    def __init__(self, array: np.ndarray, grid: Grid, name: str) -> None:
        """`array`: (k, j, i) HU of any real type."""
        self.__dict__.update(_array=array, _grid=grid, name=name)

    @property
    def array(self) -> np.ndarray:
        return self._array

    @property
    def grid(self) -> Grid:
        return self._grid

    @cached_property
    def image(self) -> sitk.Image:
        image = self.grid.image(self.array)
        self.__dict__["_array"] = sitk.GetArrayViewFromImage(image)  # they need not be held twice
        return image


def outer_corners(image: sitk.Image) -> np.ndarray:
    """The outer corners (8, 3) of a 3-D image's voxels in LPS mm, in order of the index."""
    return Grid.of(image).outer_corners()
