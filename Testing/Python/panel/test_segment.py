"""Sections Input and Segment on a real CT and its re-oriented copies, by the real buttons."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from panel_samples import add_volume, marked, segment


@pytest.fixture(scope="module")
def real(shared_data):
    """A crop of the real CT and its mask."""
    from SpineSegLib.engine.files.reading import read_volume

    case = shared_data / "cases" / "ts_example_dicom"
    image = read_volume(case / "dicom").image
    mask = sitk.Resample(sitk.ReadImage(str(case / "mask.nii.gz")), image, sitk.Transform(), sitk.sitkNearestNeighbor)
    return image, sitk.GetArrayFromImage(mask) > 0


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def turned(image: sitk.Image, order, flips) -> sitk.Image:
    return sitk.Flip(sitk.PermuteAxes(image, order), flips)


@pytest.mark.parametrize(
    ("order", "flips"),
    [((0, 1, 2), (False, False, False)), ((2, 0, 1), (True, False, True)), ((1, 2, 0), (False, True, True))],
    ids=["as stored", "sagittal, flipped", "coronal, flipped"],
)
def test_real_ct_in_any_orientation(panel, shell, real, order, flips):
    image, truth = real
    node = add_volume(turned(image, order, flips))
    segment(panel, shell, node)
    found = sitk.GetImageFromArray(marked(panel, node).astype(np.uint8))
    back = sitk.PermuteAxes(sitk.Flip(found, flips), np.argsort(order).tolist())
    assert dice(sitk.GetArrayFromImage(back) > 0, truth) > 0.75  # the mask is coarse; the model reaches about 0.8


def test_under_a_parent_transform_the_result_lies_over_the_ct(panel, shell, real):
    import slicer

    image, truth = real
    node = add_volume(image)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(sitk.Euler3DTransform((0, 0, 0), 0.1, 0.0, 0.4).GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = 20, -35, 10
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    segment(panel, shell, node)
    assert panel.logic.getParameterNode().segmentation.GetParentTransformNode() is transform
    assert dice(marked(panel, node), truth) > 0.7


def test_another_ct_gets_a_segmentation_of_its_own(panel, shell, real):
    import slicer

    first, second = add_volume(real[0], "A"), add_volume(sitk.Flip(real[0], (True, False, False)), "B")
    segment(panel, shell, first)
    parameters = panel.logic.getParameterNode()
    segmentation = parameters.segmentation
    before = marked(panel, first)
    panel.ui.inputVolumeSelector.setCurrentNode(second)
    assert parameters.segmentation is None
    panel.ui.segmentationSelector.setCurrentNode(segmentation)  # whoever chooses it all the same
    assert not panel.ui.segmentButton.enabled
    assert "belongs to another CT" in panel.ui.segmentButton.toolTip
    segment(panel, shell, second)
    assert parameters.segmentation is not segmentation
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2
    parameters.segmentation = segmentation
    assert (marked(panel, first) == before).all()


def test_while_something_runs_nothing_else_can_begin(panel, shell, real):
    node = add_volume(real[0])
    segment(panel, shell, node)
    ui, parameters = panel.ui, panel.logic.getParameterNode()
    ui.comparedSelector.setCurrentNode(parameters.segmentation)
    other = panel.logic.segment(node)
    ui.referenceSelector.setCurrentNode(other)
    buttons = (ui.submitButton, ui.compareButton)
    panel.update()
    assert all(button.enabled for button in buttons), [button.toolTip for button in buttons]
    ui.segmentButton.click()  # into the segmentation that is there
    shell.wait_until(lambda: panel.segmentSection.run.done > 0, seconds=60)
    assert [button.enabled for button in buttons] == [False, False]
    assert all("Wait" in button.toolTip for button in (*buttons, ui.retrainButton))
    panel.compareSection._compare_or_cancel()  # a click that was on its way
    assert "Wait" in shell.dialogs.shown[-1].text
    shell.wait_until(lambda: not panel.segmentSection.run.running, seconds=60)
    assert all(button.enabled for button in buttons), [button.toolTip for button in buttons]


def test_a_label_map_is_not_chosen_as_the_ct(panel, real):
    import slicer

    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "manual")
    node = add_volume(real[0])
    panel.enter()
    assert panel.logic.getParameterNode().inputVolume is node


def test_current_slice_changes_only_that_slice(panel, shell, real):
    import slicer

    image, _ = real
    node = add_volume(image)
    segment(panel, shell, node)
    whole = marked(panel, node)
    parameters = panel.logic.getParameterNode()
    segmentation = parameters.segmentation
    for segment_id in segmentation.GetSegmentation().GetSegmentIDs():
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            np.zeros(whole.shape, np.uint8), segmentation, segment_id, node
        )
    assert not marked(panel, node).any()
    panel.ui.partSelector.setCurrentIndex(1)
    z = image.TransformIndexToPhysicalPoint((0, 0, 7))[2]
    slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().JumpSliceByCentering(0.0, 0.0, z)
    segment(panel, shell, node, segmentation)
    again = marked(panel, node)
    assert np.flatnonzero(again.any(axis=(1, 2))).tolist() == [7]
    assert dice(again[7], whole[7]) > 0.95  # tidying sees one slice instead of all


def test_a_range_of_slices(panel, shell, real):
    image, _ = real
    node = add_volume(image)
    panel.enter()
    panel.ui.inputVolumeSelector.setCurrentNode(node)
    panel.ui.partSelector.setCurrentIndex(2)
    assert not panel.ui.rangeWidget.isHidden()
    low, high = (image.TransformIndexToPhysicalPoint((0, 0, k))[2] for k in (0, image.GetSize()[2] - 1))
    assert (panel.ui.rangeWidget.minimum, panel.ui.rangeWidget.maximum) == pytest.approx((low, high), abs=0.01)
    panel.ui.rangeWidget.setValues(low + 3.9, low + 10.1)  # 2 mm slices: 2, 3, 4, 5
    segment(panel, shell, node)
    assert np.flatnonzero(marked(panel, node).any(axis=(1, 2))).tolist() == [2, 3, 4, 5]


def test_parameters_and_result_are_saved_with_the_scene(panel, shell, real, tmp_path):
    import slicer

    image, _ = real
    node = add_volume(image)
    segment(panel, shell, node)
    panel.ui.show3DCheckBox.setChecked(True)
    before = marked(panel, node)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    panel.enter()
    parameters = panel.logic.getParameterNode()
    assert parameters.show3D
    assert parameters.inputVolume.GetName() == node.GetName()
    assert (marked(panel, parameters.inputVolume) == before).all()
    assert panel.ui.segmentationSelector.currentNode() is parameters.segmentation
    checked = json.loads(parameters.segmentation.GetAttribute("SpineSeg.Uncertainties"))
    assert len(checked) == image.GetSize()[2]


def no_ct(kind):
    rng = np.random.default_rng(0)
    if kind == "mr":
        return sitk.GetImageFromArray(rng.integers(0, 900, (5, 40, 40)).astype(np.int16))
    if kind == "one slice":
        return sitk.GetImageFromArray(np.full((1, 40, 40), -1000, np.int16))
    array = rng.normal(0, 300, (5, 40, 40)).astype(np.float32)
    array[2, 3, 4] = np.nan
    return sitk.GetImageFromArray(array)


@pytest.mark.parametrize("kind", ["mr", "one slice", "nan"])
def test_what_is_no_ct_is_refused_with_a_sentence(panel, kind):
    node = add_volume(no_ct(kind))
    panel.enter()
    panel.ui.inputVolumeSelector.setCurrentNode(node)
    assert not panel.ui.segmentButton.enabled
    assert panel.ui.inputProblemLabel.text.endswith(".")
    assert panel.ui.segmentButton.toolTip == panel.ui.inputProblemLabel.text


def test_without_a_volume_the_button_says_so(panel):
    assert not panel.ui.segmentButton.enabled
    assert "CT" in panel.ui.segmentButton.toolTip
    assert not panel.ui.exportButton.enabled


def test_a_volume_that_goes_in_mid_run(panel, shell, real):
    import slicer

    node = add_volume(real[0])
    panel.enter()
    panel.ui.inputVolumeSelector.setCurrentNode(node)
    panel.ui.segmentButton.click()
    shell.wait_until(lambda: panel.segmentSection.run.done > 0, seconds=60)
    slicer.mrmlScene.RemoveNode(node)
    shell.wait_until(lambda: not panel.segmentSection.run.running, seconds=10)
    assert panel.segmentSection.run.state == "cancelled"
    assert "removed" in panel.ui.statusLabel.text
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_export_writes_what_the_segments_show(panel, shell, real, tmp_path):
    image, _ = real
    node = add_volume(image)
    segment(panel, shell, node)
    path = tmp_path / "spine.nii.gz"
    shell.dialogs.answer(str(path))
    panel.ui.exportButton.click()
    written = sitk.ReadImage(str(path))
    assert ((sitk.GetArrayFromImage(written) > 0) == marked(panel, node)).all()
    assert written.GetOrigin() == pytest.approx(image.GetOrigin(), abs=1e-3)
