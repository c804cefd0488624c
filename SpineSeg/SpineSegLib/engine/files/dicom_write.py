"""Writes a CT volume as a DICOM series, for phantoms and tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.errors import OutputError
from SpineSegLib.engine.files.writing import atomic_folder

# As scanners store CT: unsigned integers, so that air at -1024 HU becomes 0.
RESCALE_INTERCEPT = -1024


def write_ct_series(
    folder: str | Path,
    image: sitk.Image,
    *,
    seed: str | int | None = None,
    patient: str = "Phantom",
    study_description: str = "SpineSeg phantom",
    series_description: str = "Phantom",
    series_number: int = 1,
    slice_thickness: float | None = None,
    kernel: str = "",
) -> tuple[Path, ...]:
    """Write `image` (3-D, HU) as CT Image Storage instances, one file a slice; return the files in the order of slices.

    Any direction matrix is kept: the slices are those of the image's third axis, also for sagittal, oblique and
    left-handed images. HU are rounded and clipped to -1024...64511 and stored as 16-bit unsigned integers with an
    intercept of -1024. `slice_thickness` is in mm, the spacing of the slices where None.
    UIDs depend only on `seed`, `patient`, `series_number` and `series_description`, so that a phantom written twice is
    the same series twice; with `seed` None they are new each time. Series of one seed and patient share study and frame
    of reference.
    `patient` becomes name and ID; there are no dates.

    `folder` is made complete or not at all. Raises OutputError if it has contents already or can't be written, and
    ValueError for an image that isn't 3-D and scalar.
    """
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError("a CT series is written from a 3-D image with one value a voxel")
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists already; choose a new or empty folder for the DICOM series.")

    base = _series_dataset(
        image, seed, patient, study_description, series_description, series_number, slice_thickness, kernel
    )
    stored = np.clip(np.rint(sitk.GetArrayViewFromImage(image)) - RESCALE_INTERCEPT, 0, 65535).astype("<u2")
    normal = np.cross(*np.array(image.GetDirection()).reshape(3, 3).T[:2])
    names = tuple(f"CT{index + 1:04d}.dcm" for index in range(len(stored)))
    with atomic_folder(folder) as temporary:
        for index, name in enumerate(names):
            position = image.TransformIndexToPhysicalPoint((0, 0, index))
            base.SOPInstanceUID = base.file_meta.MediaStorageSOPInstanceUID = _uid(seed, base.SeriesInstanceUID, index)
            base.InstanceNumber = index + 1
            base.ImagePositionPatient = _decimals(position)
            base.SliceLocation = _decimals([np.dot(normal, position)])[0]
            base.PixelData = stored[index].tobytes()
            base.save_as(temporary / name, enforce_file_format=True)
    return tuple(folder / name for name in names)


def _series_dataset(
    image: sitk.Image,
    seed: str | int | None,
    patient: str,
    study_description: str,
    series_description: str,
    series_number: int,
    slice_thickness: float | None,
    kernel: str,
):
    """The attributes all slices share (DICOM PS3.3 A.3, CT Image IOD)."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian

    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID = CTImageStorage
    for empty in ("StudyDate", "StudyTime", "ContentDate", "ContentTime", "AccessionNumber", "ReferringPhysicianName"):
        setattr(dataset, empty, "")
    dataset.Modality = "CT"
    dataset.Manufacturer = "SpineSeg"
    dataset.StudyDescription = study_description
    dataset.SeriesDescription = series_description
    dataset.PatientName = dataset.PatientID = patient
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Synthetic data"

    dataset.StudyInstanceUID = _uid(seed, patient, "study")
    dataset.SeriesInstanceUID = _uid(seed, patient, "series", series_number, series_description)
    dataset.FrameOfReferenceUID = _uid(seed, patient, "frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.StudyID = ""
    dataset.SeriesNumber = series_number
    dataset.AcquisitionNumber = 1
    dataset.PatientPosition = "HFS"
    dataset.KVP = "120"
    dataset.ConvolutionKernel = kernel

    x, y, z = image.GetSpacing()
    direction = np.array(image.GetDirection()).reshape(3, 3)
    dataset.SliceThickness = _decimals([slice_thickness or z])[0]
    # DICOM names the distance between rows first, and the direction along a row (the image's x) first.
    dataset.PixelSpacing = _decimals([y, x])
    dataset.ImageOrientationPatient = _decimals([*direction[:, 0], *direction[:, 1]])
    dataset.Columns, dataset.Rows, _ = image.GetSize()
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept = RESCALE_INTERCEPT
    dataset.RescaleSlope = 1
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = 300, 1500
    return dataset


def _uid(seed: str | int | None, *parts: object) -> str:
    """A UID that is new each time, or always the same for the same seed and parts."""
    from pydicom.uid import generate_uid

    return generate_uid(entropy_srcs=None if seed is None else [str(part) for part in ("SpineSeg", seed, *parts)])


def _decimals(values) -> list:
    """As decimal strings, at most 16 characters each (DICOM PS3.5 6.2)."""
    from pydicom.valuerep import DSfloat

    # A negative zero is a valid but odd-looking decimal.
    return [DSfloat(float(value) + 0.0, auto_format=True) for value in values]
