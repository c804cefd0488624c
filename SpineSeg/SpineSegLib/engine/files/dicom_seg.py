"""DICOM Segmentation objects (DICOM PS3.3 A.51): written for a CT series, and read as label maps."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.datasets.labels import nearness
from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.engine.files.dicom_frames import Frame, read_frames, read_header
from SpineSegLib.engine.segments import CATEGORY, Segment
from SpineSegLib.engine.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # Segmentation, Label Map Segmentation

# May be empty but must be there (type 2) in every instance; exports leave them out all the same.
_TYPE_2 = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)


def save_dicom_seg(labelmap: sitk.Image, segments: Sequence[Segment], path: Path, volume: Volume, version: str) -> None:
    """Write `labelmap` (3-D, whole numbers, on the grid of `volume`) as a binary DICOM SEG of the source instances.

    Segments are numbered in their order; those without a voxel are described too. Study and patient are those of the
    CT; where anonymisation emptied the identifiers of study and series, new ones stand for them.
    Raises OutputError if `volume` wasn't read from one DICOM series on its own slices.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    sources, frames = _sources(volume)
    order = _frame_of_each_slice(labelmap, frames)
    array = sitk.GetArrayViewFromImage(labelmap)
    planes = np.zeros((len(frames), *array.shape[1:]), np.uint8)
    for number, segment in enumerate(segments, start=1):
        planes[order] = np.where(array == segment.label, np.uint8(number), planes[order])

    algorithm = hd.AlgorithmIdentificationSequence(
        name="SpineSeg", family=codes.DCM.ArtificialIntelligence, version=version, source="SpineSeg"
    )
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=segment.name,
            segmented_property_category=_coded(CATEGORY),
            segmented_property_type=_coded(segment.type_code),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=hd.UID(),
            tracking_id=segment.key,
            display_color=hd.color.CIELabColor.from_rgb(*(round(255 * value) for value in segment.colour)),
        )
        for number, segment in enumerate(segments, start=1)
    ]
    first = frames[0]
    try:
        with warnings.catch_warnings():
            # About names of patients that follow no rule, which is none of ours to mend.
            warnings.simplefilter("ignore")
            seg = hd.seg.Segmentation(
                source_images=sources,
                pixel_array=planes,
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=descriptions,
                # An empty result is a result; only then are empty frames stored, as there must be one.
                omit_empty_frames=bool(planes.any()),
                series_instance_uid=hd.UID(),
                series_number=_series_number(sources[0]),
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="SpineSeg",
                manufacturer_model_name="SpineSeg",
                software_versions=version,
                device_serial_number="1",
                content_label="SPINE",
                content_description="Automatic segmentation of the spine",
                series_description="SpineSeg segmentation",
                pixel_measures=hd.PixelMeasuresSequence(
                    pixel_spacing=first.spacing,
                    slice_thickness=labelmap.GetSpacing()[2],
                    spacing_between_slices=labelmap.GetSpacing()[2],
                ),
                plane_orientation=hd.PlaneOrientationSequence("PATIENT", first.orientation.tolist()),
                plane_positions=[hd.PlanePositionSequence("PATIENT", frame.position.tolist()) for frame in frames],
            )
    except (AttributeError, KeyError, TypeError, ValueError):  # what highdicom raises for sources that break its rules
        raise OutputError("The DICOM series breaks rules that DICOM SEG relies on; choose another ending.") from None
    # In memory first: pydicom hides from its caller why a file can't be written.
    buffer = BytesIO()
    seg.save_as(buffer)
    path.write_bytes(buffer.getbuffer())


def check_source(volume: Volume) -> None:
    """Raise OutputError where DICOM SEG can't refer to the slices that `volume` was read from."""
    _, frames = _sources(volume)
    _frame_of_each_slice(volume.image, frames)


def _coded(code: tuple[str, str, str]):
    import highdicom as hd

    scheme, value, meaning = code
    return hd.sr.CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)


def _sources(volume: Volume) -> tuple[list[Dataset], list[Frame]]:
    """The source instances without pixels, and their frames in the same order."""
    import pydicom
    from pydicom.uid import generate_uid

    from SpineSegLib.engine.files.dicom_series import CT_CLASSES

    if not volume.dicom_files:
        raise OutputError(
            "DICOM SEG needs a CT read from a DICOM series; choose another ending, as .seg.nrrd or .nii.gz."
        )
    sources = []
    for path in volume.dicom_files:
        try:
            source = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        except OSError:
            raise OutputError("The DICOM series is no longer where it was read from; choose another ending.") from None
        meta = source.file_meta
        source.SOPClassUID = source.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or next(iter(CT_CLASSES))
        source.SOPInstanceUID = source.get("SOPInstanceUID") or meta.get("MediaStorageSOPInstanceUID", "")
        for name in _TYPE_2:
            if name not in source:
                setattr(source, name, "")
        if "PerFrameFunctionalGroupsSequence" in source:
            _share_geometry(source)
        # highdicom knows some character sets alone and not together, as Japan and Korea have them
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names that don't keep to their character set
            source.decode()
        source.SpecificCharacterSet = "ISO_IR 192"
        if not source.SOPInstanceUID:
            raise OutputError("The DICOM series lacks identifiers that DICOM SEG must refer to; choose another ending.")
        sources.append(source)
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if not all(source.get(name) for source in sources):
            # Emptied by anonymisation: the instances still have theirs, and one made of those is the same each time.
            uid = generate_uid(entropy_srcs=[name, *(source.SOPInstanceUID for source in sources)])
            for source in sources:
                setattr(source, name, uid)
    frames = [frame for path in volume.dicom_files for frame in read_frames(path, scouts=True)]
    if len(sources) > 1 and len(frames) != len(sources):
        raise OutputError("DICOM SEG can't refer to an enhanced CT spread over several files; choose another ending.")
    return sources, frames


def _share_geometry(source: Dataset) -> None:
    """Put pixel size and direction of an enhanced CT where highdicom looks for them, from its first frame."""
    from pydicom.dataset import Dataset

    if not source.get("SharedFunctionalGroupsSequence"):
        source.SharedFunctionalGroupsSequence = [Dataset()]
    shared, own = source.SharedFunctionalGroupsSequence[0], source.PerFrameFunctionalGroupsSequence[0]
    for name in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if name not in shared and name in own:
            setattr(shared, name, own[name].value)


def _frame_of_each_slice(labelmap: sitk.Image, frames: Sequence[Frame]) -> list[int]:
    """Index of the frame at each slice of the label map; OutputError if the grids don't match."""
    columns, rows, slices = labelmap.GetSize()
    positions = np.array([frame.position for frame in frames])
    axes = np.array(labelmap.GetDirection()).reshape(3, 3)
    order = []
    for index in range(slices):
        here = np.array(labelmap.TransformIndexToPhysicalPoint((0, 0, index)))
        voxels = np.abs((positions - here) @ axes / labelmap.GetSpacing())  # along each of the label map's axes
        nearest = int(np.argmin(voxels.max(axis=1)))
        if voxels[nearest].max() > 0.5 or frames[nearest].shape != (rows, columns):
            raise OutputError(
                "The result's slices are not those of the DICOM series (its gantry was tilted), so that DICOM SEG can't"
                " refer to them; choose another ending."
            )
        order.append(nearest)
    return order


def _series_number(source: Dataset) -> int:
    try:
        return int(source.SeriesNumber) + 1000
    except (AttributeError, TypeError, ValueError):
        return 1000


def read_dicom_seg(path: Path) -> tuple[sitk.Image, dict[int, str]]:
    """Label map (sitkUInt8 or sitkUInt16) of a DICOM SEG with its segment numbers as values, and the segments' names.

    The grid is that of the segmentation's frames; where segments overlap see `labels.nearness`, else the later is on
    top.
    Raises InputError if the file isn't a readable DICOM SEG of evenly spaced slices.
    """
    header = read_header(path, ("SOPClassUID", "SegmentationType"))
    if header is None or header.get("SOPClassUID") not in SEG_CLASSES:
        raise InputError(f"{path} is no mask SpineSeg can read; give a volume file or a DICOM SEG.")
    if header.get("SegmentationType") == "FRACTIONAL":
        raise InputError(f"{path} is a fractional DICOM SEG, which says no yes or no of a voxel; export a binary one.")
    try:
        import highdicom as hd

        seg = hd.seg.segread(path)
        volume = seg.get_volume(combine_segments=True, skip_overlap_checks=True, dtype=np.uint16)
        names = {int(number): str(seg.get_segment_description(number).SegmentLabel) for number in seg.segment_numbers}
        array = volume.array
        for rank in sorted({nearness(name) for name in names.values()})[1:]:
            numbers = [number for number, name in names.items() if nearness(name) >= rank]
            above = seg.get_volume(
                segment_numbers=numbers, combine_segments=True, skip_overlap_checks=True, dtype=np.uint16
            ).match_geometry(volume)
            array = np.where(above.array > 0, above.array, array)
    except ImportError:
        raise InputError(f"{path} is a DICOM SEG, which needs the Python package highdicom; install it.") from None
    except Exception:  # highdicom and pydicom raise whatever a broken file leads them into
        raise InputError(
            f"{path} is a damaged DICOM SEG or not one of evenly spaced slices; export it again."
        ) from None
    if volume.array.ndim != 3 or min(volume.array.shape) < 1:
        raise InputError(f"{path} is a DICOM SEG without a volume; export it again.")
    # highdicom's axes are slices, rows, columns, each with its direction in the patient.
    slices, rows, columns = (np.array(vector) for vector in volume.direction.T)
    array = array.astype(np.uint8 if array.max() <= 255 else np.uint16)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(value) for value in reversed(volume.spacing)])
    image.SetOrigin([float(value) for value in volume.position])
    image.SetDirection(np.stack([columns, rows, slices], axis=1).ravel().tolist())
    return image, names
