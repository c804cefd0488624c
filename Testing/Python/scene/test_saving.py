"""A scene with results, saved as .mrb and loaded into another one."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from scene_samples import OBLIQUE, add_transform, add_volume, ct_image, mask_points, points_in, rigid
from SpineSegLib.engine.segments import SACRUM, VERTEBRAE
from SpineSegLib.scene.live_segments import LiveSegments
from SpineSegLib.scene.segmentations import is_made_by_us, new_segmentation
from SpineSegLib.scene.volumes import ct_problem

BOTH = (VERTEBRAE, SACRUM)
WHOLE = (0, 7, 0, 8, 0, 9)


@pytest.fixture
def mrb(scene, tmp_path):
    """Saves the scene and fills it again from the file."""
    (tmp_path / "cache").mkdir()
    cache, transfers = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    cache.SetRemoteCacheDirectory(str(tmp_path / "cache"))
    cache.SetMRMLScene(scene)
    transfers.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(transfers)

    def save_and_load(clear: bool = True) -> None:
        path = str(tmp_path / "scene.mrb")
        assert scene.WriteToMRB(path)
        if clear:
            scene.Clear()
            assert scene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None
            assert scene.ReadFromMRB(path)

    return save_and_load


def labels() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 3, (7, 8, 9)).astype(np.uint8)


def test_all_comes_back(scene, mrb):
    image, mask = ct_image(OBLIQUE), labels()
    volume = add_volume(scene, image)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    hierarchy.CreateItem(hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study"), volume)
    volume.SetAndObserveTransformNodeID(add_transform(scene, rigid()).GetID())
    node = new_segmentation(volume)
    live = LiveSegments(node, volume, BOTH)
    live.write(mask, WHOLE)
    live.finish()
    geometry = node.GetSegmentation().GetConversionParameter("Reference image geometry")
    mrb()
    volume = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    node = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert ct_problem(volume) is None
    assert node.GetParentTransformNode() is volume.GetParentTransformNode() is not None
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume
    assert node.GetSegmentation().GetConversionParameter("Reference image geometry") == geometry
    for wanted in BOTH:
        segment = node.GetSegmentation().GetSegment(wanted.key)
        assert segment.GetName() == wanted.name
        assert segment.GetColor() == pytest.approx(wanted.colour, abs=1e-4)
        assert segment.GetTerminology() == wanted.terminology_entry
        assert is_made_by_us(segment, wanted)
        np.testing.assert_allclose(
            points_in(node, wanted.key), mask_points(image, mask == wanted.label, volume), atol=0.01
        )
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    items = [hierarchy.GetItemByDataNode(each) for each in (volume, node)]
    assert hierarchy.GetItemName(hierarchy.GetItemParent(items[0])) == "study"
    assert hierarchy.GetItemParent(items[0]) == hierarchy.GetItemParent(items[1])


def test_saved_in_the_middle_of_a_run(scene, mrb):
    """What is done so far is saved, and the run goes on."""
    image, mask = ct_image(), labels()
    volume = add_volume(scene, image)
    node = new_segmentation(volume)
    live = LiveSegments(node, volume, BOTH)
    live.write(mask, (0, 4, 0, 8, 0, 9))
    mrb(clear=False)
    assert not node.GetModifiedSinceRead()
    live.write(mask, WHOLE)
    live.finish()
    assert node.GetModifiedSinceRead()  # Slicer asks to save it
    for wanted in BOTH:
        np.testing.assert_allclose(points_in(node, wanted.key), mask_points(image, mask == wanted.label), atol=2e-3)
    mrb()
    node = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert len(points_in(node, "sacrum")) == np.count_nonzero(mask == SACRUM.label)


def test_a_loaded_result_is_replaced(scene, mrb):
    image, mask = ct_image(), labels()
    node = new_segmentation(add_volume(scene, image))
    volume = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    live = LiveSegments(node, volume, BOTH)
    live.write(mask, WHOLE)
    live.finish()
    mrb()
    volume = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    node = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    live = LiveSegments(node, volume, BOTH)
    live.write(3 - np.maximum(mask, 1), WHOLE)
    live.finish()
    assert node.GetSegmentation().GetNumberOfSegments() == 2
    assert len(points_in(node, "sacrum")) == np.count_nonzero(mask < 2)
