"""A CT volume as the engine passes it on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk


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


def outer_corners(image: sitk.Image) -> np.ndarray:
    """The outer corners (8, 3) of a 3-D image's voxels in LPS mm, in order of the index."""
    size = np.array(image.GetSize())
    return np.array(
        [
            image.TransformContinuousIndexToPhysicalPoint(np.where(far, size - 0.5, -0.5).tolist())
            for far in np.ndindex(2, 2, 2)
        ]
    )
