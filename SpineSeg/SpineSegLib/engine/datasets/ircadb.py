"""3D-IRCADb: one folder a case with PATIENT_DICOM and MASKS_DICOM/<structure>, DICOM images that mark with 255.

Soler et al., 3D image reconstruction for comparison of algorithm database, IRCAD, Strasbourg (2010).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.datasets.case import Case, MaskFilesCase, Reference
from SpineSegLib.engine.datasets.labels import structure_of
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.volume import Volume

CT, MASKS = "PATIENT_DICOM", "MASKS_DICOM"
BONES = ("bone", "bones")


class DicomMaskCase(MaskFilesCase):
    """A case whose masks are folders with one image per slice, named like the slices of the CT."""

    def _read_reference(self, volume: Volume) -> Reference:
        keys = list(dict.fromkeys(key for key, _ in self.masks))
        merged = np.zeros(sitk.GetArrayViewFromImage(volume.image).shape, dtype=np.uint8)
        for key, folder in self.masks:
            # the masks' own headers are not needed: a mask is named like its slice
            for plane, slice_file in zip(merged, volume.dicom_files, strict=True):
                plane[_pixels(folder / slice_file.name, plane.shape) > 0] = keys.index(key) + 1
        image = sitk.GetImageFromArray(merged)
        image.CopyInformation(volume.image)
        return Reference(image, dict(enumerate(keys, start=1)))


def find(folder: Path) -> list[Case]:
    """Cases of the data set, or the one whose folder it is; empty if it is none.

    Most of its cases have a mask of all bones and none of the spine alone; their references say so.
    """
    places = [p for p in (folder, *sorted(folder.iterdir())) if (p / CT).is_dir() and (p / MASKS).is_dir()]
    return [_case(place) for place in places]


def _case(place: Path) -> Case:
    folders = sorted(p for p in (place / MASKS).iterdir() if p.is_dir())
    masks = tuple((key, p) for p in folders if (key := structure_of(p.name)))
    notes: tuple[str, ...] = ()
    coarse = not masks
    if coarse:
        masks = tuple(("spine", p) for p in folders if p.name.lower() in BONES)
        if masks:
            notes = ("the reference holds all bones, also ribs and pelvis: false negatives are no fault of the model",)
    # the folders of this data set are numbered, see the module's head
    return DicomMaskCase(place.name, place.name, place / CT, coarse=coarse, notes=notes, masks=masks)


def _pixels(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    import pydicom

    try:
        array = pydicom.dcmread(path, force=True).pixel_array
    except Exception:  # pydicom raises many kinds for a file that is no image
        raise InputError(
            f"{path} is missing or no image, so that the mask has a gap; copy the data set again."
        ) from None
    if array.shape != shape:
        raise InputError(f"{path} has another size than its CT's slice; copy the data set again.")
    return array
