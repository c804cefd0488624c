"""Results: readable by others in every format, whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from ct_samples import (
    AXIAL,
    CORONAL_FLIPPED,
    SAGITTAL,
    assert_same_place,
    assert_sentence,
    edit,
    enhanced_ct,
    oblique,
    sample_ct,
    write_series,
)
from pydicom.sr.codedict import codes
from SpineSegLib.engine.errors import ExistsError, OutputError
from SpineSegLib.engine.files.reading import read_labelmap, read_volume, segment_names
from SpineSegLib.engine.files.writing import (
    SEGMENTATION_ENDINGS,
    atomic_folder,
    atomic_output,
    check_output,
    write_image,
    write_segmentation,
)
from SpineSegLib.engine.segments import SACRUM, SINGLE_VERTEBRAE, SPINE, VERTEBRAE
from SpineSegLib.engine.volume import Volume

BOTH = (VERTEBRAE, SACRUM)


def labels_on(image: sitk.Image, seed: int = 0) -> sitk.Image:
    """Vertebrae in a box and sacrum in another one, with holes, each border at another distance."""
    array = np.zeros(image.GetSize()[::-1], np.uint8)
    array[1:4, 2:6, 3:8] = VERTEBRAE.label
    array[4:6, 1:7, 3:9] = SACRUM.label
    array[np.random.default_rng(seed).random(array.shape) < 0.2] = 0
    labelmap = sitk.GetImageFromArray(array)
    labelmap.CopyInformation(image)
    return labelmap


def from_dicom(folder, direction=AXIAL, **attributes) -> Volume:
    for file in write_series(folder, sample_ct(direction)):
        edit(file, **attributes)
    return read_volume(folder)


def test_the_image_given_stays_as_it_is(tmp_path):
    """Its meta data comes from somewhere else and may name a patient: it is kept, and kept out of the file."""
    labelmap = labels_on(sample_ct())
    labelmap.SetMetaData("0010|0010", "somebody")
    write_segmentation(labelmap, BOTH, tmp_path / "x.seg.nrrd", Volume(sample_ct(), "CT"))
    assert labelmap.GetMetaDataKeys() == ("0010|0010",)
    assert labelmap.GetMetaData("0010|0010") == "somebody"
    assert b"somebody" not in (tmp_path / "x.seg.nrrd").read_bytes()
    assert sitk.ReadImage(str(tmp_path / "x.seg.nrrd")).GetMetaData("Segment1_Name") == SACRUM.name


@pytest.mark.parametrize("ending", SEGMENTATION_ENDINGS)
@pytest.mark.parametrize(
    "direction", [AXIAL, SAGITTAL, CORONAL_FLIPPED, oblique()], ids=["axial", "sagittal", "coronal flipped", "oblique"]
)
def test_every_format_in_its_place(tmp_path, direction, ending):
    volume = from_dicom(tmp_path / "ct", direction)
    labelmap = labels_on(volume.image)
    path = tmp_path / "new folder" / f"Result 1{ending}"
    check_output(path, volume)
    assert not path.parent.exists()
    write_segmentation(labelmap, BOTH, path, volume)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    read = read_labelmap(path)
    # DICOM SEG holds only slices with something in them.
    there = sitk.Resample(read, labelmap, sitk.Transform(), sitk.sitkNearestNeighbor)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(there), sitk.GetArrayFromImage(labelmap))
    if ending != ".dcm":
        assert_same_place(read, labelmap)
    if ending in (".seg.nrrd", ".dcm"):
        assert segment_names(read) == {1: "Vertebrae", 2: "Sacrum"}


def test_slicer_segmentation_header(tmp_path):
    image = sample_ct(oblique())
    labelmap = labels_on(image)
    write_segmentation(labelmap, (*BOTH, SINGLE_VERTEBRAE[3]), tmp_path / "x.seg.nrrd", Volume(image, "ct"))
    header = (tmp_path / "x.seg.nrrd").read_bytes().split(b"\n\n")[0].decode().splitlines()
    assert "encoding: gzip" in header
    assert "space: left-posterior-superior" in header
    assert "type: unsigned char" in header
    fields = dict(line.split(":=", 1) for line in header if ":=" in line)
    z, y, x = np.nonzero(sitk.GetArrayFromImage(labelmap) == 1)
    assert fields["Segment0_Extent"] == f"{x.min()} {x.max()} {y.min()} {y.max()} {z.min()} {z.max()}"
    assert fields["Segment2_Extent"] == "0 -1 0 -1 0 -1"
    assert fields["Segment0_ID"] == "vertebrae"
    assert fields["Segment1_Name"] == "Sacrum"
    assert [fields[f"Segment{index}_LabelValue"] for index in range(3)] == ["1", "2", "4"]
    assert all(fields[f"Segment{index}_Layer"] == "0" for index in range(3))
    np.testing.assert_allclose([float(value) for value in fields["Segment1_Color"].split()], SACRUM.colour)
    assert fields["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert fields["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"
    assert fields["Segment1_Tags"] == (
        "Segmentation.Status:inprogress|TerminologyEntry:Segmentation category and type - SpineSeg"
        "~SCT^123037004^Anatomical Structure~SCT^54735007^Sacrum~^^~Anatomic codes - DICOM master list~^^~^^|"
    )


def test_slicer_reads_the_segmentation(tmp_path):
    """With the class 3D Slicer itself opens segmentations with; runs where slicer-core is installed."""
    slicer = pytest.importorskip("slicer")
    labelmap = labels_on(sample_ct(oblique()))
    path = tmp_path / "x.seg.nrrd"
    write_segmentation(labelmap, BOTH, path, Volume(sample_ct(oblique()), "ct"))
    scene = slicer.vtkMRMLScene()
    node = slicer.vtkMRMLSegmentationNode()
    scene.AddNode(node)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    segmentation = node.GetSegmentation()
    assert [segmentation.GetNthSegmentID(index) for index in range(2)] == ["vertebrae", "sacrum"]
    for index, expected in enumerate(BOTH):
        segment = segmentation.GetNthSegment(index)
        assert segment.GetName() == expected.name
        assert segment.GetLabelValue() == expected.label
        assert segment.GetColor() == pytest.approx(expected.colour)
        assert not segment.GetNameAutoGenerated()
        assert not segment.GetColorAutoGenerated()


# --- DICOM SEG --------------------------------------------------------------------------------------------------------


def test_dicom_seg_refers_to_its_series(tmp_path):
    volume = from_dicom(tmp_path / "ct", oblique())
    labelmap = labels_on(volume.image)
    write_segmentation(labelmap, BOTH, tmp_path / "x.dcm", volume)
    seg = pydicom.dcmread(tmp_path / "x.dcm")
    source = [pydicom.dcmread(file, stop_before_pixels=True) for file in volume.dicom_files]
    assert seg.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4"
    assert seg.SegmentationType == "BINARY"
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert seg[name].value == source[0][name].value
    assert seg.SeriesInstanceUID != source[0].SeriesInstanceUID
    (reference,) = seg.ReferencedSeriesSequence
    assert reference.SeriesInstanceUID == source[0].SeriesInstanceUID
    referenced = {item.ReferencedSOPInstanceUID for item in reference.ReferencedInstanceSequence}
    assert referenced == {each.SOPInstanceUID for each in source}
    for description, segment in zip(seg.SegmentSequence, BOTH, strict=True):
        assert description.SegmentLabel == segment.name
        assert description.SegmentAlgorithmType == "AUTOMATIC"
        assert description.SegmentedPropertyTypeCodeSequence[0].CodeValue == segment.code
        assert description.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
        (algorithm,) = description.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmName == "SpineSeg"
    # Each frame lies where the instance it was derived from lies, and shows the label map there.
    positions = {each.SOPInstanceUID: each.ImagePositionPatient for each in source}
    order = [each.SOPInstanceUID for each in source]
    array = sitk.GetArrayFromImage(labelmap)
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        image = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_allclose(frame.PlanePositionSequence[0].ImagePositionPatient, positions[image], atol=1e-4)
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        np.testing.assert_array_equal(pixels, array[order.index(image)] == BOTH[number - 1].label)


@pytest.mark.parametrize("per_frame", [True, False])
def test_dicom_seg_of_enhanced_ct(tmp_path, per_frame):
    """Frames stored in another order than that of the slices."""
    files = write_series(tmp_path / "s", sample_ct(oblique()))
    order = [3, 0, 6, 5, 1, 2, 4]
    (tmp_path / "e").mkdir()
    enhanced_ct(files, order, per_frame).save_as(tmp_path / "e" / "ct")
    volume = read_volume(tmp_path / "e")
    labelmap = labels_on(volume.image)
    write_segmentation(labelmap, BOTH, tmp_path / "x.dcm", volume)
    there = sitk.Resample(read_labelmap(tmp_path / "x.dcm"), labelmap, sitk.Transform(), sitk.sitkNearestNeighbor)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(there), sitk.GetArrayFromImage(labelmap))
    seg, array = pydicom.dcmread(tmp_path / "x.dcm"), sitk.GetArrayFromImage(labelmap)
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        (number,) = np.atleast_1d(frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber)
        label = BOTH[frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1].label
        np.testing.assert_array_equal(pixels, array[order[number - 1]] == label)


def test_dicom_seg_of_the_real_series(shared_data, tmp_path):
    """Its anonymisation emptied the identifiers of class, instance, study and series."""
    case = shared_data / "cases" / "ts_example_dicom"
    volume = read_volume(case / "dicom")
    mask = read_labelmap(case / "mask.nii.gz")
    spine = sitk.Cast(sitk.Resample(mask, volume.image, sitk.Transform(), sitk.sitkNearestNeighbor) > 0, sitk.sitkUInt8)
    write_segmentation(spine, (SPINE,), tmp_path / "x.dcm", volume)
    there = sitk.Resample(read_labelmap(tmp_path / "x.dcm"), spine, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert sitk.GetArrayViewFromImage(spine).sum() > 1000
    np.testing.assert_array_equal(sitk.GetArrayFromImage(there), sitk.GetArrayFromImage(spine))
    instances = pydicom.dcmread(tmp_path / "x.dcm").ReferencedSeriesSequence[0].ReferencedInstanceSequence
    stored = {pydicom.dcmread(file).file_meta.MediaStorageSOPInstanceUID for file in volume.dicom_files}
    assert {item.ReferencedSOPInstanceUID for item in instances} == stored


@pytest.mark.parametrize("ending", SEGMENTATION_ENDINGS)
def test_an_empty_result_is_a_result(tmp_path, ending):
    volume = from_dicom(tmp_path / "ct")
    write_segmentation(labels_on(volume.image) * 0, BOTH, tmp_path / f"x{ending}", volume)
    assert not sitk.GetArrayFromImage(read_labelmap(tmp_path / f"x{ending}")).any()


def test_dicom_seg_where_the_source_lacks_what_it_should_have(tmp_path):
    volume = from_dicom(tmp_path / "ct", StudyID=None, AccessionNumber=None, PatientID=None, SeriesNumber=None)
    labelmap = labels_on(volume.image)
    write_segmentation(labelmap, BOTH, tmp_path / "x.dcm", volume)
    assert sitk.GetArrayFromImage(read_labelmap(tmp_path / "x.dcm")).any()


@pytest.mark.parametrize(
    ("characters", "name"),
    [(["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"), (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
     ("ISO_IR 100", "Müller^Jörg"), ("ISO 2022 IR 6", "Doe^Jane"), ("ISO_IR 192", "Łoś^Ω")],
)  # fmt: skip
def test_dicom_seg_of_names_in_any_script(tmp_path, characters, name):
    volume = from_dicom(tmp_path / "ct", SpecificCharacterSet=characters, PatientName=name)
    labelmap = labels_on(volume.image)
    write_segmentation(labelmap, BOTH, tmp_path / "x.dcm", volume)
    assert str(pydicom.dcmread(tmp_path / "x.dcm").PatientName).rstrip("=") == name
    assert sitk.GetArrayFromImage(read_labelmap(tmp_path / "x.dcm")).any()


def test_dicom_seg_needs_a_dicom_series(tmp_path):
    volume = Volume(sample_ct(), "ct")
    for attempt in (
        lambda: check_output(tmp_path / "x.dcm", volume),
        lambda: write_segmentation(labels_on(volume.image), BOTH, tmp_path / "x.dcm", volume),
    ):
        with pytest.raises(OutputError, match="needs a CT read from a DICOM series") as error:
            attempt()
        assert_sentence(error)
    assert not list(tmp_path.iterdir())


def test_dicom_seg_of_a_straightened_series_is_refused(tmp_path):
    folder = tmp_path / "ct"
    for index, file in enumerate(write_series(folder)):
        x, y, z = pydicom.dcmread(file).ImagePositionPatient
        edit(file, ImagePositionPatient=[x, float(y) + 0.7 * index, z])
    volume = read_volume(folder, repair=True)
    assert "tilted" in volume.notes[0]
    for attempt in (
        lambda: check_output(tmp_path / "x.dcm", volume),  # before the work
        lambda: write_segmentation(labels_on(volume.image), BOTH, tmp_path / "x.dcm", volume),
    ):
        with pytest.raises(OutputError, match="gantry") as error:
            attempt()
        assert_sentence(error)
    assert list(tmp_path.iterdir()) == [folder]
    write_segmentation(labels_on(volume.image), BOTH, tmp_path / "x.seg.nrrd", volume)


def test_dicom_seg_of_slices_that_are_a_little_uneven(tmp_path):
    """More than half a pixel, but little of the distance between slices."""
    files = write_series(tmp_path / "ct")
    x, y, z = pydicom.dcmread(files[3]).ImagePositionPatient
    edit(files[3], ImagePositionPatient=[x, y, float(z) + 0.4])
    volume = read_volume(tmp_path / "ct")
    assert volume.grid.spacing == pytest.approx((2.5, 0.9, 0.7))
    check_output(tmp_path / "x.dcm", volume)
    labels = labels_on(volume.image)
    write_segmentation(labels, BOTH, tmp_path / "x.dcm", volume)
    found = pydicom.dcmread(tmp_path / "x.dcm").pixel_array
    assert np.count_nonzero(found) == np.count_nonzero(sitk.GetArrayFromImage(labels)) > 0


def test_damaged_dicom_seg(tmp_path):
    from SpineSegLib.engine.errors import InputError

    volume = from_dicom(tmp_path / "ct")
    write_segmentation(labels_on(volume.image), BOTH, tmp_path / "x.dcm", volume)
    data = (tmp_path / "x.dcm").read_bytes()
    for keep in (0.5, 0.8):
        (tmp_path / "x.dcm").write_bytes(data[: int(len(data) * keep)])
        with pytest.raises(InputError) as error:
            read_labelmap(tmp_path / "x.dcm")
        assert_sentence(error)


def test_a_fractional_dicom_seg_is_told_to_be_one(tmp_path):
    from SpineSegLib.engine.errors import InputError

    volume = from_dicom(tmp_path / "ct")
    write_segmentation(labels_on(volume.image), BOTH, tmp_path / "x.dcm", volume)
    edit(tmp_path / "x.dcm", SegmentationType="FRACTIONAL")
    with pytest.raises(InputError, match="fractional"):
        read_labelmap(tmp_path / "x.dcm")


def test_what_is_no_spine_hides_none_of_it_in_dicom_seg(tmp_path):
    """Segments that overlap, as other programs write them: half the vertebrae, the body around all, one vertebra."""
    import highdicom as hd

    volume = from_dicom(tmp_path / "ct")
    shape = volume.grid.shape
    masks = {name: np.zeros(shape, dtype=np.uint8) for name in ("L3 vertebra", "Vertebrae", "Body")}
    masks["Body"][:], masks["Vertebrae"][: shape[0] // 2], masks["L3 vertebra"][1] = 1, 1, 1
    described = [
        hd.seg.SegmentDescription(n, name, codes.SCT.AnatomicalStructure, codes.SCT.Bone, "MANUAL")
        for n, name in enumerate(masks, start=1)
    ]
    sources = sorted(map(pydicom.dcmread, volume.dicom_files), key=lambda each: each.ImagePositionPatient[2])
    pixels = np.stack([*masks.values()], axis=-1)
    seg = hd.seg.Segmentation(
        sources, pixels, "BINARY", described, hd.UID(), 1, hd.UID(), 1, "A", "B", "1", "1", omit_empty_frames=False
    )
    seg.save_as(tmp_path / "x.dcm")
    found = sitk.GetArrayFromImage(read_labelmap(tmp_path / "x.dcm"))
    expected = np.where(masks["L3 vertebra"], 1, np.where(masks["Vertebrae"], 2, 3))
    assert sorted(np.unique(found)) == [1, 2, 3]
    assert [np.count_nonzero(found == n) for n in (1, 2, 3)] == [np.count_nonzero(expected == n) for n in (1, 2, 3)]


# --- whole or not at all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x", "x.txt", "x.nrrd.bak", ".nii.gz", "x.hdr", "x.stl"])
def test_unknown_ending(tmp_path, name):
    for attempt in (check_output, lambda path: write_segmentation(labels_on(sample_ct()), BOTH, path, None)):
        with pytest.raises(OutputError, match="ending") as error:
            attempt(tmp_path / name)
        assert_sentence(error)
    assert not list(tmp_path.iterdir())


def test_places_that_can_not_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.nii.gz").mkdir()
    for path, reason in (
        (tmp_path / "folder.nii.gz", "is a folder"),
        (tmp_path / "file" / "x.nii.gz", "is not a folder"),
    ):
        with pytest.raises(OutputError, match=reason) as error:
            check_output(path)
        assert_sentence(error)
        with pytest.raises(OutputError) as error:
            write_segmentation(labels_on(sample_ct()), BOTH, path, Volume(sample_ct(), "ct"))
        assert_sentence(error)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder.nii.gz"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a file system nobody can write to")
def test_no_permission():
    with pytest.raises(OutputError) as error:
        check_output("/proc/self/x.nii.gz")
    assert_sentence(error)


@pytest.mark.parametrize("ending", SEGMENTATION_ENDINGS)
@pytest.mark.parametrize(
    ("problem", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError),
        (PermissionError(errno.EACCES, "Permission denied"), OutputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["disk full", "permission", "Ctrl-C"],
)
def test_the_old_file_stays_when_writing_fails(tmp_path, monkeypatch, ending, problem, raised):
    volume = from_dicom(tmp_path / "ct")
    path = tmp_path / "out" / f"x{ending}"
    path.parent.mkdir()
    path.write_bytes(b"the old result")

    def fail(*_):
        raise problem

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(raised) as error:
        write_segmentation(labels_on(volume.image), BOTH, path, volume)
    if raised is OutputError:
        assert_sentence(error)
    assert path.read_bytes() == b"the old result"
    assert list(path.parent.iterdir()) == [path]
    monkeypatch.undo()
    write_segmentation(labels_on(volume.image), BOTH, path, volume)
    assert sitk.GetArrayFromImage(read_labelmap(path)).any()


FULL_DISK = """
import resource, sys
import numpy as np, SimpleITK as sitk
from SpineSegLib.engine.errors import OutputError
from SpineSegLib.engine.files.reading import read_volume
from SpineSegLib.engine.segments import SPINE
from SpineSegLib.engine.files.writing import write_segmentation

volume = read_volume(sys.argv[2])
array = np.random.default_rng(0).integers(0, 2, volume.image.GetSize()[::-1]).astype(np.uint8)
labelmap = sitk.GetImageFromArray(array)
labelmap.CopyInformation(volume.image)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    write_segmentation(labelmap, (SPINE,), sys.argv[1], volume)
except OutputError as error:
    sys.exit(f"OutputError: {error}")
"""


@pytest.mark.skipif(os.name != "posix", reason="needs limits of the operating system")
@pytest.mark.parametrize("ending", SEGMENTATION_ENDINGS)
def test_disk_full(tmp_path, ending):
    """The operating system refuses to let files grow, as a full disk does: ITK must not leave half a file behind."""
    write_series(tmp_path / "ct", sample_ct(size=(120, 100, 20)))
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / f"x{ending}"
    path.write_bytes(b"old")
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), str(tmp_path / "ct"), "5000"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    message = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1
    assert message.startswith("OutputError:")
    assert "disk is full" in message
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("ending", [ending for ending in SEGMENTATION_ENDINGS if ending != ".dcm"])
@pytest.mark.parametrize("fault", ["cut", "changed"])
def test_what_was_not_written_as_it_should_is_no_result(tmp_path, monkeypatch, ending, fault):
    """ITK thinks that all went well, but the file is cut off, or holds something else near its end."""
    write = sitk.WriteImage

    def badly(image, path, **options):
        write(image, path, **options)
        data = bytearray(Path(path).read_bytes())
        if fault == "changed":
            data[-6] ^= 0x55
        Path(path).write_bytes(data if fault == "changed" else data[: len(data) // 2])

    monkeypatch.setattr(sitk, "WriteImage", badly)
    volume = Volume(sample_ct(), "ct")
    with pytest.raises(OutputError, match="completely") as error:
        write_segmentation(labels_on(volume.image), BOTH, tmp_path / f"x{ending}", volume)
    assert_sentence(error)
    assert not list(tmp_path.iterdir())


def test_atomic_output_of_any_writer(tmp_path):
    path = tmp_path / "a" / "metrics.json"
    with atomic_output(path) as temporary:
        temporary.write_text("{}")
        assert temporary.parent == path.parent
        assert temporary.suffix == ".json"
        assert not path.exists()
    assert path.read_text() == "{}"

    def fail_halfway():
        with atomic_output(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert path.read_text() == "{}"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["x.nii.gz.nii.gz", "x.hdr.nii.gz", "X.NII.GZ", f"{'x' * 240}.nii.gz"])
def test_a_name_that_itk_takes_for_another_is_written(tmp_path, name):
    write_image(sitk.Image(3, 3, 3, sitk.sitkUInt8), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_atomic_output_leaves_what_came_into_being_meanwhile(tmp_path):
    path = tmp_path / "spine.seg.nrrd"

    def too_late():
        with atomic_output(path, overwrite=False) as temporary:
            temporary.write_text("mine")
            path.write_text("of another program")

    with pytest.raises(ExistsError, match="exists already") as error:
        too_late()
    assert_sentence(error)
    assert path.read_text() == "of another program"
    path.unlink()
    with atomic_output(path, overwrite=False) as temporary:
        temporary.write_text("mine")
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_folder_fills_an_empty_one_and_follows_links(tmp_path):
    target, link = tmp_path / "disk" / "out", tmp_path / "link"
    target.mkdir(parents=True)
    try:
        link.symlink_to(target, target_is_directory=True)
    except OSError:
        link = target
    before = target.stat().st_ino

    def write(name, broken=False):
        with atomic_folder(link) as temporary:
            (temporary / name).write_text(name)
            if broken:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write("half", broken=True)
    assert list(target.iterdir()) == []
    write("one")
    assert [file.name for file in target.iterdir()] == ["one"]
    assert target.stat().st_ino == before  # the folder itself, which may be a mount
    write("two")
    assert [file.name for file in target.iterdir()] == ["two"]
    assert link == target or link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({"disk", link.name} - {"out"})


def test_atomic_folder_replaces_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a" / "case"
    with atomic_folder(path) as temporary:
        (temporary / "one").write_text("1")
        assert not path.exists()
    assert [file.name for file in path.iterdir()] == ["one"]

    def write_two():
        with atomic_folder(path) as temporary:
            (temporary / "two").write_text("2")

    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda self, to: fail() if (self / "two").exists() else rename(self, to))

    def fail():
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="disk is full"):
        write_two()
    assert [file.name for file in path.iterdir()] == ["one"]
    monkeypatch.undo()
    write_two()
    assert [file.name for file in path.iterdir()] == ["two"]
    assert list(path.parent.iterdir()) == [path]
