"""Live segments in real segmentation nodes: in the right place, nothing else touched, and back to the voxel."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from scene_samples import (
    OBLIQUE,
    PLACES,
    add_segment,
    add_transform,
    add_volume,
    assert_sentence,
    bent,
    ct_image,
    layer,
    mask_points,
    matrix_of,
    points_in,
    rigid,
    snapshot,
)
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.segments import SACRUM, SINGLE_VERTEBRAE, SPINE, VERTEBRAE
from SpineSegLib.scene.live_segments import LiveSegments
from SpineSegLib.scene.segmentations import new_segmentation, segmentation_problem, show_3d

BOTH = (VERTEBRAE, SACRUM)
SHAPE = (7, 8, 9)  # of ct_image, k, j, i
WHOLE = (0, 7, 0, 8, 0, 9)
STATUS = "Segmentation.Status"


def labels(seed: int = 0) -> np.ndarray:
    """Both structures in noise, nothing at some borders; what a worker's mask holds at the end."""
    mask = np.random.default_rng(seed).integers(0, 3, SHAPE).astype(np.uint8)
    mask[:, :2] = mask[..., -1] = 0
    return mask


def fill(node, volume, mask, segments=BOTH, keep=False) -> LiveSegments:
    live = LiveSegments(node, volume, segments, keep)
    live.write(mask, WHOLE)
    live.finish()
    return live


def array_of(segment) -> np.ndarray:
    image = segment.GetRepresentation("Binary labelmap")
    return vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


# --- place ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("transform", ["none", "rigid", "scaled", "bent"])
def test_voxels_are_where_those_of_the_ct_are(scene, place, transform):
    image = ct_image(PLACES[place])
    volume = add_volume(scene, image)
    if transform != "none":
        parents = {"rigid": {"matrix": rigid()}, "scaled": {"matrix": rigid(scale=1.5)}, "bent": {"general": bent()}}
        volume.SetAndObserveTransformNodeID(add_transform(scene, **parents[transform]).GetID())
    node, mask = new_segmentation(volume), labels()
    live = fill(node, volume, mask)
    for segment in BOTH:
        found = points_in(node, live.ids[segment.key])
        np.testing.assert_allclose(found, mask_points(image, mask == segment.label, volume), atol=2e-3)


def test_a_new_node_has_the_grid_of_the_ct_and_lies_beside_it(scene):
    volume = add_volume(scene, ct_image(OBLIQUE), name="5: Spine")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, volume)
    parent = add_transform(scene, rigid())
    volume.SetAndObserveTransformNodeID(parent.GetID())
    node = new_segmentation(volume)
    assert node.GetParentTransformNode() is parent
    assert node.GetDisplayNode() is not None
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume
    geometry = slicer.vtkOrientedImageData()
    serialized = node.GetSegmentation().GetConversionParameter("Reference image geometry")
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(serialized, geometry, False)
    assert geometry.GetExtent() == volume.GetImageData().GetExtent()
    matrix = vtk.vtkMatrix4x4()
    geometry.GetImageToWorldMatrix(matrix)
    np.testing.assert_allclose(np.array(matrix.GetData()).reshape(4, 4), matrix_of(ct_image(OBLIQUE)), atol=1e-6)
    assert new_segmentation(volume).GetName() != node.GetName()


def test_a_node_under_another_transform_gets_the_voxels_over_the_ct(scene):
    image, mask = ct_image(OBLIQUE), labels()
    volume = add_volume(scene, image)
    volume.SetAndObserveTransformNodeID(add_transform(scene, rigid()).GetID())
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    add_segment(node, "theirs", layer(np.ones((2, 2, 2), np.uint8), np.eye(4)), 1)
    node.SetAndObserveTransformNodeID(add_transform(scene, rigid(-60, (1, 2, 3))).GetID())
    before = snapshot(node)
    live = fill(node, volume, mask)
    np.testing.assert_allclose(
        points_in(node, live.ids["sacrum"]), mask_points(image, mask == SACRUM.label, volume), atol=2e-3
    )
    after = snapshot(node)
    assert all(after[name] == value for name, value in before.items())


@pytest.mark.parametrize("kind", ["bent", "sheared"])
def test_a_node_that_can_not_show_the_grid_is_refused(scene, kind):
    volume = add_volume(scene, ct_image(OBLIQUE))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    add_segment(node, "theirs", layer(np.ones((2, 2, 2), np.uint8), np.eye(4)), 1)
    sheared = np.eye(4)
    sheared[0, 1] = 0.5
    parent = add_transform(scene, general=bent()) if kind == "bent" else add_transform(scene, sheared)
    node.SetAndObserveTransformNodeID(parent.GetID())
    before = snapshot(node)
    assert_sentence(segmentation_problem(node, volume))
    with pytest.raises(InputError):
        LiveSegments(node, volume, BOTH)
    assert snapshot(node) == before


def test_an_empty_node_takes_the_place_of_the_ct_and_gives_it_back(scene):
    volume = add_volume(scene, ct_image(OBLIQUE))
    parent = add_transform(scene, rigid())
    volume.SetAndObserveTransformNodeID(parent.GetID())
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    before = snapshot(node)
    live = LiveSegments(node, volume, BOTH)
    assert node.GetParentTransformNode() is parent
    live.revert()
    assert snapshot(node) == before
    assert node.GetParentTransformNode() is None
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is None


# --- what a segment says ----------------------------------------------------------------------------------------------


def test_names_colours_and_meaning(scene):
    volume = add_volume(scene, ct_image())
    node = new_segmentation(volume)
    live = LiveSegments(node, volume, (SPINE, SINGLE_VERTEBRAE[2], SACRUM))
    for wanted in live.segments:
        segment = node.GetSegmentation().GetSegment(live.ids[wanted.key])
        assert segment.GetName() == wanted.name
        assert segment.GetColor() == pytest.approx(wanted.colour)
        assert not segment.GetNameAutoGenerated()
        assert not segment.GetColorAutoGenerated()
        entry = slicer.vtkSlicerTerminologyEntry()
        logic = slicer.vtkSlicerTerminologiesModuleLogic
        assert logic.DeserializeTerminologyEntry(segment.GetTerminology(), entry)
        assert entry.GetTypeObject().GetCodeValue() == wanted.code
        assert entry.GetTypeObject().GetCodeMeaning() == wanted.meaning
        status = slicer.vtkSlicerSegmentationsModuleLogic.GetSegmentStatus(segment)
        assert status == slicer.vtkSlicerSegmentationsModuleLogic.InProgress


# --- live -------------------------------------------------------------------------------------------------------------


def test_boxes_appear_while_the_rest_is_computed(scene):
    image = ct_image()
    volume = add_volume(scene, image)
    node, mask, final = new_segmentation(volume), np.full(SHAPE, 255, np.uint8), labels()
    live = LiveSegments(node, volume, BOTH)
    seen = []
    node.AddObserver(slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, lambda *_: seen.append(1))
    for k in range(3):
        mask[k] = final[k]
        live.write(mask, (k, k + 1, 2, 8, 0, 8))
    assert len(seen) == 3
    shown = np.where(mask == 255, 0, mask)
    np.testing.assert_allclose(points_in(node, "sacrum"), mask_points(image, shown == 2), atol=1e-3)
    mask[:3, 2:] = 0  # tidied away at the end
    live.write(mask, WHOLE)
    assert len(points_in(node, "vertebrae")) == np.count_nonzero(final[:3, :2] == 1)


def test_only_the_box_is_written(scene):
    volume = add_volume(scene, ct_image())
    node = new_segmentation(volume)
    live = LiveSegments(node, volume, (SPINE,))
    live.write(np.ones(SHAPE, np.uint8), (2, 4, 1, 3, 5, 9))
    expected = np.zeros(SHAPE, np.uint8)
    expected[2:4, 1:3, 5:9] = 1
    np.testing.assert_array_equal(array_of(node.GetSegmentation().GetSegment("spine")), expected)


def test_a_finished_layer_is_no_larger_than_what_is_in_it(scene):
    volume = add_volume(scene, ct_image())
    node, mask = new_segmentation(volume), np.zeros(SHAPE, np.uint8)
    mask[2:4, 3:7, 1:3] = 1
    mask[5, 4, 6] = 2
    fill(node, volume, mask)
    image = node.GetSegmentation().GetSegment("sacrum").GetRepresentation("Binary labelmap")
    assert image.GetExtent() == (1, 6, 3, 6, 2, 5)
    assert node.GetSegmentation().GetSegment("vertebrae").GetRepresentation("Binary labelmap") is image


def test_nothing_found(scene):
    volume = add_volume(scene, ct_image())
    node = new_segmentation(volume)
    fill(node, volume, np.zeros(SHAPE, np.uint8))
    assert len(points_in(node, "vertebrae")) == 0
    show_3d(node, True)
    fill(node, volume, labels())
    assert len(points_in(node, "vertebrae")) == np.count_nonzero(labels() == 1)


def test_an_image_that_starts_elsewhere(scene):
    image, mask = ct_image(OBLIQUE), labels()
    volume = add_volume(scene, image)
    data = vtk.vtkImageData()
    data.DeepCopy(volume.GetImageData())
    data.SetExtent(4, 12, -2, 5, 1, 7)
    volume.SetAndObserveImageData(data)
    start = volume.GetImageData().GetExtent()[::2]
    shift = matrix_of(image) @ [*start, 1] - matrix_of(image)[:, 3]
    live = fill(new_segmentation(volume), volume, mask)
    expected = mask_points(image, mask == 1) + shift[:3]
    np.testing.assert_allclose(points_in(live.node, "vertebrae"), expected, atol=2e-3)


# --- other segments ---------------------------------------------------------------------------------------------------


def with_others(scene, volume, shared: bool = True, surfaces: bool = False):
    """A node with an earlier result of ours and two segments of a person, in one layer or in two."""
    image = ct_image(OBLIQUE)
    theirs = np.zeros(SHAPE, np.uint8)
    theirs[1:4, 2:5, 3:6] = 4
    theirs[5, 2:6, 1:8] = 7
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    ours = np.zeros(SHAPE, np.uint8)
    ours[3:, 5:, :4] = 9
    ours[theirs != 0] = 0
    together = layer(theirs + ours if shared else theirs, matrix_of(image))
    add_segment(node, "first", together, 4)
    fill_node = together if shared else layer(ours, matrix_of(image))
    segment = add_segment(node, "vertebrae", fill_node, 9, VERTEBRAE.name)
    segment.SetTag("TerminologyEntry", VERTEBRAE.terminology_entry)
    segment.SetTag("SpineSeg.Key", "vertebrae")
    segment.SetTag(STATUS, "flagged")
    add_segment(node, "second", together, 7, "Spine")
    if surfaces:
        node.CreateClosedSurfaceRepresentation()
    return node, ours != 0


def of_others(found: dict) -> dict:
    """What must not change whatever happens to our segments, which may share a layer with them."""
    return {id_: (found[id_]["segment"], found[id_]["place"]) for id_ in ("first", "second")}


@pytest.mark.parametrize("surfaces", [False, True], ids=["", "with surfaces"])
@pytest.mark.parametrize("shared", [False, True], ids=["own layer", "shared layer"])
@pytest.mark.parametrize("keep", [False, True], ids=["whole", "region"])
def test_back_to_the_voxel(scene, shared, surfaces, keep):
    volume = add_volume(scene, ct_image(OBLIQUE))
    node, _ = with_others(scene, volume, shared, surfaces)
    before, points = snapshot(node), {id_: points_in(node, id_) for id_ in ("first", "second", "vertebrae")}
    live = LiveSegments(node, volume, BOTH, keep)
    live.write(labels(), (1, 5, 0, 8, 0, 9))
    for id_ in ("first", "second"):
        np.testing.assert_array_equal(points_in(node, id_), points[id_])
    assert of_others(snapshot(node)) == of_others(before)
    live.revert()
    assert snapshot(node) == before
    for id_, expected in points.items():
        np.testing.assert_array_equal(points_in(node, id_), expected)


@pytest.mark.parametrize("surfaces", [False, True], ids=["", "with surfaces"])
@pytest.mark.parametrize("shared", [False, True], ids=["own layer", "shared layer"])
def test_a_new_result_replaces_ours_and_nothing_else(scene, shared, surfaces):
    image = ct_image(OBLIQUE)
    volume = add_volume(scene, image)
    node, _ = with_others(scene, volume, shared, surfaces)
    before, mask = snapshot(node), labels()
    surface = node.GetSegmentation().GetSegment("first").GetRepresentation("Closed surface")
    points = {id_: points_in(node, id_) for id_ in ("first", "second")}
    live = fill(node, volume, mask)
    assert live.ids == {"vertebrae": "vertebrae", "sacrum": "sacrum"}
    assert list(snapshot(node))[2:] == ["first", "vertebrae", "second", "sacrum"]
    for segment in BOTH:
        found = points_in(node, segment.key)
        np.testing.assert_allclose(found, mask_points(image, mask == segment.label), atol=2e-3)
    for id_, expected in points.items():
        np.testing.assert_array_equal(points_in(node, id_), expected)
    assert of_others(snapshot(node)) == of_others(before)
    assert node.GetSegmentation().GetSegment("first").GetRepresentation("Closed surface") is surface
    made = node.GetSegmentation().GetSegment("sacrum").GetRepresentation("Closed surface")
    assert (made is not None and made.GetNumberOfPoints() > 0) == surfaces


def test_a_region_is_merged_into_the_earlier_result(scene):
    image = ct_image(OBLIQUE)
    volume = add_volume(scene, image)
    node, earlier = with_others(scene, volume)
    mask, region = labels(), np.s_[2:5]
    part = np.full(SHAPE, 255, np.uint8)
    part[region] = mask[region]
    fill(node, volume, part, keep=True)
    expected = earlier.copy()
    expected[region] = mask[region] == 1
    np.testing.assert_allclose(points_in(node, "vertebrae"), mask_points(image, expected), atol=2e-3)
    np.testing.assert_allclose(points_in(node, "sacrum"), mask_points(image, part == 2), atol=2e-3)


def test_a_region_is_merged_into_a_result_on_a_coarser_grid(scene):
    """An earlier result that lies on another grid keeps its place to half of the CT's voxels."""
    volume = add_volume(scene, ct_image(spacing=(1, 1, 1)))
    matrix = matrix_of(ct_image(spacing=(1, 1, 1)))
    coarse = matrix @ np.diag([2.0, 2.0, 2.0, 1.0])
    coarse[:3, 3] += matrix[:3, :3] @ [0.5, 0.5, 0.5]  # voxel 0 covers voxels 0 and 1
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    segment = add_segment(node, "spine", layer(np.ones((2, 1, 3), np.uint8), coarse, (1, 2, 0)), 1, SPINE.name)
    segment.SetTag("TerminologyEntry", SPINE.terminology_entry)
    segment.SetTag("SpineSeg.Key", "spine")
    before = snapshot(node)
    live = LiveSegments(node, volume, (SPINE,), keep=True)
    expected = np.zeros(SHAPE, bool)
    expected[0:4, 4:6, 2:8] = True
    np.testing.assert_array_equal(array_of(node.GetSegmentation().GetSegment("spine")) == 1, expected)
    live.revert()
    assert snapshot(node) == before


@pytest.mark.parametrize("made_theirs", ["renamed", "other meaning", "completed", "never ours"])
def test_what_a_person_made_theirs_is_not_replaced(scene, made_theirs):
    volume = add_volume(scene, ct_image())
    node = new_segmentation(volume)
    fill(node, volume, labels(), (SPINE,))
    segment = node.GetSegmentation().GetSegment("spine")
    if made_theirs == "renamed":
        segment.SetName("Spine, corrected")
    elif made_theirs == "other meaning":
        segment.SetTag("TerminologyEntry", SACRUM.terminology_entry)
    elif made_theirs == "completed":
        segment.SetTag(STATUS, "completed")
    else:
        segment.RemoveTag("SpineSeg.Key")
    before = snapshot(node)
    live = fill(node, volume, labels(1), (SPINE,))
    assert live.ids["spine"] != "spine"
    assert node.GetSegmentation().GetNumberOfSegments() == 2
    assert snapshot(node)["spine"] == before["spine"]


def test_surfaces_as_source_are_refused(scene):
    volume = add_volume(scene, ct_image())
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    ball = vtk.vtkSphereSource()
    ball.Update()
    segment = slicer.vtkSegment()
    segment.AddRepresentation("Closed surface", ball.GetOutput())
    node.GetSegmentation().AddSegment(segment, "ball")
    assert "surfaces" in assert_sentence(segmentation_problem(node, volume))
    with pytest.raises(InputError):
        LiveSegments(node, volume, BOTH)


# --- what Slicer and people do meanwhile ------------------------------------------------------------------------------


def paint(node, id_: str, start) -> None:
    """As the Segment Editor's Paint does: merges a box of voxels into a segment."""
    value = node.GetSegmentation().GetSegment(id_).GetLabelValue()
    brush = layer(np.full((2, 2, 2), value, np.uint8), matrix_of(ct_image(OBLIQUE)), start)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(brush, node, id_, logic.MODE_MERGE_MAX)


def test_a_segment_added_meanwhile_stays_apart(scene):
    """Slicer puts a new, empty segment into a layer that is there, with a value of its own."""
    image = ct_image(OBLIQUE)
    volume = add_volume(scene, image)
    node, mask = new_segmentation(volume), labels()
    live = LiveSegments(node, volume, BOTH)
    live.write(mask, (0, 3, 0, 8, 0, 9))
    id_ = node.GetSegmentation().AddEmptySegment("new")
    assert set(node.GetSegmentation().GetSegmentIDsForLayer(0)) == {"vertebrae", "sacrum", id_}
    paint(node, id_, (3, 0, 1))
    live.write(mask, WHOLE)
    live.finish()
    drawn = np.zeros(SHAPE, bool)
    drawn[1:3, 0:2, 3:5] = True
    np.testing.assert_allclose(points_in(node, id_), mask_points(image, drawn), atol=2e-3)
    for segment in BOTH:
        np.testing.assert_allclose(points_in(node, segment.key), mask_points(image, mask == segment.label), atol=2e-3)


@pytest.mark.parametrize("end", ["finish", "revert"])
def test_layers_merged_meanwhile_as_by_saving(scene, end):
    image = ct_image(OBLIQUE)
    volume = add_volume(scene, image)
    node, _ = with_others(scene, volume)
    points = {id_: points_in(node, id_) for id_ in ("first", "second", "vertebrae")}
    mask = labels()
    live = LiveSegments(node, volume, BOTH)
    live.write(mask, (0, 2, 0, 8, 0, 9))
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    live.write(mask, (2, 6, 0, 8, 0, 9))
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    if end == "finish":
        live.write(mask, WHOLE)
        live.finish()
        points["vertebrae"] = mask_points(image, mask == 1)
        points["sacrum"] = mask_points(image, mask == 2)
    else:
        live.revert()
        assert node.GetSegmentation().GetSegment("sacrum") is None
    for id_, expected in points.items():
        np.testing.assert_allclose(points_in(node, id_), expected, atol=2e-3)


def test_what_a_person_paints_meanwhile_stays(scene):
    image = ct_image(OBLIQUE)
    volume = add_volume(scene, image)
    node, mask = new_segmentation(volume), np.zeros(SHAPE, np.uint8)
    mask[0:3, 2:6, 2:6] = 1
    live = LiveSegments(node, volume, (SPINE,))
    live.write(mask, (0, 3, 0, 8, 0, 9))
    paint(node, "spine", (6, 6, 1))
    live.write(mask, WHOLE)
    live.finish()
    expected = mask == 1
    expected[1:3, 6:8, 6:8] = True
    np.testing.assert_allclose(points_in(node, "spine"), mask_points(image, expected), atol=2e-3)


@pytest.mark.parametrize("what", ["node", "segment", "locked node", "completed segment"])
def test_removed_or_locked_meanwhile(scene, what):
    volume = add_volume(scene, ct_image(OBLIQUE))
    node, _ = with_others(scene, volume)
    before = snapshot(node)
    live = LiveSegments(node, volume, BOTH)
    assert live.problem() is None
    if what == "node":
        scene.RemoveNode(node)
    elif what == "segment":
        node.GetSegmentation().RemoveSegment("sacrum")
    elif what == "locked node":
        node.SetSelectable(False)
    else:
        node.GetSegmentation().GetSegment("sacrum").SetTag(STATUS, "completed")
    assert_sentence(live.problem())
    live.revert()
    assert snapshot(node) == before


def test_removing_a_replaced_segment_is_respected(scene):
    volume = add_volume(scene, ct_image(OBLIQUE))
    node, _ = with_others(scene, volume)
    before = snapshot(node)
    live = LiveSegments(node, volume, BOTH)
    node.GetSegmentation().RemoveSegment("vertebrae")
    assert_sentence(live.problem())
    live.revert()
    after = snapshot(node)
    assert "vertebrae" not in after
    assert of_others(after) == of_others(before)


def test_undo_of_the_segment_editor_takes_the_result_back(scene):
    volume = add_volume(scene, ct_image(OBLIQUE))
    node, _ = with_others(scene, volume)
    points = {id_: points_in(node, id_) for id_ in ("first", "second", "vertebrae")}
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(node.GetSegmentation())
    assert history.SaveState()
    fill(node, volume, labels())
    assert history.RestorePreviousState()
    assert node.GetSegmentation().GetSegment("sacrum") is None
    for id_, expected in points.items():
        np.testing.assert_array_equal(points_in(node, id_), expected)
    assert history.RestoreNextState()
    np.testing.assert_allclose(
        points_in(node, "sacrum"), mask_points(ct_image(OBLIQUE), labels() == SACRUM.label), atol=2e-3
    )


def test_surfaces_only_when_asked(scene):
    volume = add_volume(scene, ct_image())
    node = new_segmentation(volume)
    fill(node, volume, labels())
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")
    show_3d(node, True)
    assert node.GetSegmentation().GetSegment("sacrum").GetRepresentation("Closed surface").GetNumberOfPoints() > 0
    assert node.GetDisplayNode().GetVisibility3D()
    show_3d(node, False)
    assert not node.GetDisplayNode().GetVisibility3D()
