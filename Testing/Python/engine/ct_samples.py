"""Small CT volumes and DICOM series in the many ways they are stored, with known truth."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from SpineSegLib.engine.files.dicom_write import write_ct_series

AXIAL = np.eye(3)
SAGITTAL = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], float)  # columns: directions of x, y and z
CORONAL_FLIPPED = np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]], float)  # left-handed


def oblique(degrees=(10, -20, 30)) -> np.ndarray:
    a, b, c = np.radians(degrees)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return x @ y @ z


def sample_ct(direction: np.ndarray = AXIAL, size=(11, 9, 7), seed: int = 0) -> sitk.Image:
    """Random whole HU from -1024 to 2000, no two directions alike."""
    values = np.random.default_rng(seed).integers(-1024, 2000, size[::-1]).astype(np.int16)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin((-12.5, 33.25, -104.75))
    image.SetDirection(direction.ravel().tolist())
    return image


def write_series(folder: Path, image: sitk.Image | None = None, **identity) -> list[Path]:
    return list(write_ct_series(folder, sample_ct() if image is None else image, **identity))


def edit(path: Path, **attributes) -> None:
    """Change attributes of a DICOM file; None removes one."""
    dataset = pydicom.dcmread(path)
    for name, value in attributes.items():
        if value is None:
            del dataset[name]
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)


def stored(path: Path) -> np.ndarray:
    return pydicom.dcmread(path).pixel_array.copy()


def assert_same_place(image: sitk.Image, truth: sitk.Image, tolerance: float = 0) -> None:
    """Equal values at equal places in the patient, whatever the order of axes and slices."""
    assert image.GetNumberOfPixels() == truth.GetNumberOfPixels()
    there = sitk.Resample(image, truth, sitk.Transform(), sitk.sitkNearestNeighbor, -9999.0, truth.GetPixelID())
    difference = np.abs(sitk.GetArrayFromImage(there).astype(float) - sitk.GetArrayFromImage(truth))
    assert difference.max() <= tolerance


def gdcm(files: list[Path]) -> sitk.Image:
    """What SimpleITK's GDCM makes of files in the right order: an independent reader."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in files])
    return reader.Execute()


def enhanced_ct(files: list[Path], order: list[int], per_frame: bool = True) -> Dataset:
    """One enhanced CT from single-frame files, frames in the given order, equal geometry per frame or shared."""
    slices = [pydicom.dcmread(files[index]) for index in order]
    first = slices[0]
    dataset = copy.deepcopy(first)
    for name in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
        "RescaleType",
        "SliceThickness",
        "SliceLocation",
    ):
        if name in dataset:
            del dataset[name]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.NumberOfFrames = len(slices)
    dataset.PixelData = b"".join(each.PixelData for each in slices)

    def item(**values) -> Sequence:
        inner = Dataset()
        for name, value in values.items():
            setattr(inner, name, value)
        return Sequence([inner])

    def common(each: Dataset) -> dict[str, Sequence]:
        return {
            "PlaneOrientationSequence": item(ImageOrientationPatient=each.ImageOrientationPatient),
            "PixelMeasuresSequence": item(PixelSpacing=each.PixelSpacing, SliceThickness=each.SliceThickness),
            "CTImageFrameTypeSequence": item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]),
        }

    shared, frames = Dataset(), []
    for each in slices:
        frame = Dataset()
        frame.PlanePositionSequence = item(ImagePositionPatient=each.ImagePositionPatient)
        frame.PixelValueTransformationSequence = item(
            RescaleSlope=each.RescaleSlope, RescaleIntercept=each.RescaleIntercept, RescaleType="HU"
        )
        for name, value in common(each).items():
            setattr(frame if per_frame else shared, name, value)
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return dataset


def assert_sentence(error) -> str:
    """The message of an error for people: one sentence on one line. Returned for further checks."""
    message = str(error.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message
    assert len(message) < 600
    return message
