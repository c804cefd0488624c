"""Files from the scene, read back by SimpleITK, the engine and Slicer's own classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import slicer
from ct_samples import sample_ct, write_series
from scene_samples import (
    AXIAL,
    OBLIQUE,
    PLACES,
    add_segment,
    add_transform,
    add_volume,
    assert_sentence,
    ct_image,
    layer,
    mask_points,
    matrix_of,
    points_in,
    rigid,
)
from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.engine.files.reading import read_labelmap, read_volume, segment_names
from SpineSegLib.engine.segments import SACRUM, SPINE, VERTEBRAE
from SpineSegLib.scene.export import dicom_files_of, export_segmentation
from SpineSegLib.scene.live_segments import LiveSegments
from SpineSegLib.scene.segmentations import new_segmentation

LABEL_MAPS = (".nii.gz", ".nii", ".nrrd", ".mha")


def segmented(scene, image: sitk.Image, segments=(VERTEBRAE, SACRUM)):
    """A volume, its segmentation with a person's segment above ours, and the labels that are expected."""
    volume = add_volume(scene, image)
    size = image.GetSize()[::-1]
    mask = np.random.default_rng(5).integers(0, len(segments) + 1, size).astype(np.uint8)
    mask[:2] = 0
    node = new_segmentation(volume)
    live = LiveSegments(node, volume, segments)
    live.write(mask, (0, size[0], 0, size[1], 0, size[2]))
    live.finish()
    add_segment(node, "theirs", layer(np.ones((2, 3, 4), np.uint8), matrix_of(image), (1, 2, 3)), 1, "Tumour")
    expected = mask.copy()
    expected[3:5, 2:5, 1:5] = 3
    return volume, node, mask, expected


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("ending", LABEL_MAPS)
def test_label_maps_lie_on_the_grid_of_the_ct(scene, tmp_path, place, ending):
    image = ct_image(PLACES[place])
    volume, node, mask, expected = segmented(scene, image)
    parent = add_transform(scene, rigid())  # files hold what the CT's own file holds
    for each in (volume, node):
        each.SetAndObserveTransformNodeID(parent.GetID())
    # theirs has the label 1 in its own layer, which is taken
    path = export_segmentation(node, tmp_path / f"x{ending}")
    read = sitk.ReadImage(str(path))
    np.testing.assert_allclose(matrix_of(read), matrix_of(image), atol=1e-4)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), expected)
    path = export_segmentation(node, path, ["vertebrae", "sacrum"], overwrite=True)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), mask)


def test_only_visible_segments(scene, tmp_path):
    _, node, mask, _ = segmented(scene, ct_image())
    node.GetDisplayNode().SetSegmentVisibility("theirs", False)
    node.GetDisplayNode().SetSegmentVisibility("vertebrae", False)
    path = export_segmentation(node, tmp_path / "x.nii.gz", "visible")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), np.where(mask == 2, 2, 0))


@pytest.mark.parametrize("place", PLACES)
def test_as_slicer_saves(scene, tmp_path, place):
    image = ct_image(PLACES[place])
    _, node, mask, _ = segmented(scene, image)
    path = export_segmentation(node, tmp_path / "x.seg.nrrd", ["vertebrae", "sacrum"])
    assert [each.name for each in tmp_path.iterdir()] == ["x.seg.nrrd"]
    labelmap = read_labelmap(path)
    assert sorted(segment_names(labelmap).values()) == ["Sacrum", "Vertebrae"]
    there = sitk.Resample(labelmap, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(there), mask)
    back = slicer.vtkMRMLSegmentationNode()
    scene.AddNode(back)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(back)
    segment = back.GetSegmentation().GetSegment("sacrum")
    assert segment.GetTerminology() == SACRUM.terminology_entry
    np.testing.assert_allclose(points_in(back, "sacrum"), mask_points(image, mask == 2), atol=2e-3)


def test_saving_leaves_the_scene_alone(scene, tmp_path):
    _, node, _, _ = segmented(scene, ct_image())
    layers = [node.GetSegmentation().GetLayerDataObject(n) for n in range(node.GetSegmentation().GetNumberOfLayers())]
    count = scene.GetNumberOfNodes()
    export_segmentation(node, tmp_path / "x.seg.nrrd")
    export_segmentation(node, tmp_path / "x.nii.gz")
    assert scene.GetNumberOfNodes() == count
    after = [node.GetSegmentation().GetLayerDataObject(n) for n in range(node.GetSegmentation().GetNumberOfLayers())]
    assert all(one is other for one, other in zip(layers, after, strict=True))


class Database:
    """Slicer's DICOM database, as far as it is asked."""

    def __init__(self, files: list[Path]) -> None:
        self.files = {str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID): str(file) for file in files}

    def fileForInstance(self, uid: str) -> str:  # noqa: N802 - Slicer's name
        return self.files.get(uid, "")


@pytest.mark.parametrize("source", ["database", "folder"])
@pytest.mark.parametrize("direction", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
def test_dicom_seg(scene, tmp_path, monkeypatch, source, direction):
    files = write_series(tmp_path / "ct", sample_ct(direction))
    image = read_volume(tmp_path / "ct").image
    volume, node, mask, _ = segmented(scene, image)
    folder = tmp_path / "ct"
    if source == "database":
        database = Database(files)
        monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
        volume.SetAttribute("DICOM.instanceUIDs", " ".join(reversed(database.files)))
        assert set(dicom_files_of(volume)) == set(files)
        folder = None
    path = export_segmentation(node, tmp_path / "x.dcm", ["vertebrae", "sacrum"], dicom_folder=folder)
    labelmap = read_labelmap(path)
    assert segment_names(labelmap) == {1: "Vertebrae", 2: "Sacrum"}
    there = sitk.Resample(labelmap, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(there), mask)
    written = pydicom.dcmread(path)
    assert [each.SegmentedPropertyTypeCodeSequence[0].CodeValue for each in written.SegmentSequence] == [
        VERTEBRAE.code,
        SACRUM.code,
    ]
    export_segmentation(node, path, overwrite=True, dicom_folder=tmp_path / "ct")
    theirs = pydicom.dcmread(path).SegmentSequence[2]
    assert theirs.SegmentLabel == "Tumour"
    assert theirs.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"


def test_dicom_seg_without_files(scene, tmp_path, monkeypatch):
    volume, node, _, _ = segmented(scene, ct_image())
    monkeypatch.setattr(slicer, "dicomDatabase", Database([]), raising=False)
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    with pytest.raises(OutputError) as error:
        export_segmentation(node, tmp_path / "x.dcm")
    assert_sentence(str(error.value))
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_unasked(scene, tmp_path):
    _, node, _, _ = segmented(scene, ct_image())
    path = tmp_path / "x.nii.gz"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError) as error:
        export_segmentation(node, path)
    assert_sentence(str(error.value))
    assert path.read_bytes() == b"precious"


def test_what_can_not_be_exported(scene, tmp_path):
    volume, node, _, _ = segmented(scene, ct_image(), (SPINE,))
    for path, ids in ((tmp_path / "x.txt", "all"), (tmp_path, "all")):
        with pytest.raises(OutputError):
            export_segmentation(node, path, ids)
    with pytest.raises(InputError):
        export_segmentation(node, tmp_path / "x.nii.gz", ["unknown"])
    scene.RemoveNode(volume)
    with pytest.raises(InputError) as error:
        export_segmentation(node, tmp_path / "x.nii.gz")
    assert_sentence(str(error.value))
    assert export_segmentation(node, tmp_path / "x.seg.nrrd").is_file()
