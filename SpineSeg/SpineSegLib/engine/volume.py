"""A CT volume as the engine passes it on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk


@dataclass(frozen=True)
class Volume:
    """A CT in Hounsfield units with its place in the patient.

    `image` is 3-D (sitkInt16 or sitkFloat32), HU, LPS physical space; its array view has z, y, x order.
    `name` says what was read without naming a patient.
    `dicom_files` are the instances in the order of the slices (one file for enhanced CT), empty for other formats.
    `notes` are plain sentences on what reading changed or noticed.
    """

    image: sitk.Image
    name: str
    dicom_files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
