"""The whole loop by the panel's real buttons: segment, correct, submit, re-train, segment again, compare."""

from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from panel_samples import add_volume, marked, segment

# TensorFlow itself must not be imported here: in one process with it, Mesa's drawing crashes
pytestmark = pytest.mark.skipif(find_spec("tensorflow") is None, reason="training needs TensorFlow")


def column_of_bone(seed):
    """A CT of a leaning column of bone in soft tissue, and where the bone is (bool k, j, i)."""
    rng = np.random.default_rng(seed)
    k, j, i = np.indices((16, 80, 80))
    centre = 40 + seed + 0.5 * (k - 8)
    bone = (j - centre) ** 2 + (i - 40 + seed) ** 2 < (11 + seed) ** 2
    hu = np.where(bone, 450, 40) + rng.normal(0, 25, bone.shape)
    hu[:, :6] = -1000
    image = sitk.GetImageFromArray(hu.astype(np.int16))
    image.SetSpacing((1.0, 1.0, 2.0))
    return image, bone


@pytest.fixture
def small_model(monkeypatch, tmp_path, panel, request):
    """An untrained small model, for spine or for the labels that are asked for, is the only one of the user's."""
    from small_models import model_info, random_weights
    from SpineSegLib.engine.models.model_file import save_weights
    from SpineSegLib.engine.models.unet import Architecture

    monkeypatch.setenv("SPINESEG_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    architecture = Architecture(inputs=1, outputs=1, width=8, depth=2, normalization="batch")
    info = model_info(architecture, labels=getattr(request, "param", ("spine",)))
    save_weights(random_weights(architecture), info, tmp_path / "models" / "small.weights.h5")
    panel.enter()
    names = [model.name for model in panel.inputSection.models]
    panel.ui.modelSelector.setCurrentIndex(names.index("small"))
    return tmp_path / "models"


def correct(panel, volume, bone):
    """What a person does in the Segment Editor: the first segment becomes right."""
    import slicer

    node = panel.logic.getParameterNode().segmentation
    segment_id = node.GetSegmentation().GetNthSegmentID(0)
    slicer.util.updateSegmentBinaryLabelmapFromArray(bone.astype(np.uint8), node, segment_id, volume)


def submit(panel, shell):
    panel.enter()
    assert panel.ui.submitButton.enabled, panel.ui.submitButton.toolTip
    panel.ui.submitButton.click()
    shell.wait_until(lambda: not panel.correctSection.running, seconds=60)
    assert panel.correctSection.run.state == "finished", panel.correctSection.run.message


def real_case(place):
    """A CT of the shared data and its mask (bool k, j, i)."""
    from SpineSegLib.engine.comparison.grids import on_grid_of
    from SpineSegLib.engine.files.reading import read_labelmap, read_volume

    image = read_volume(place / "dicom" if (place / "dicom").is_dir() else place / "ct.nii.gz").image
    mask = on_grid_of(image, read_labelmap(place / "mask.nii.gz"))[0]
    return image, sitk.GetArrayFromImage(mask) > 0


def overlap(found, bone):
    return 2 * np.count_nonzero(found & bone) / max(np.count_nonzero(found) + np.count_nonzero(bone), 1)


def render_rehearsal(models):
    """Columns where an earlier re-training would have left its phantoms, which take two minutes."""
    from SpineSegLib.engine.training.retraining import PHANTOMS

    for number in PHANTOMS:
        folder = models / ".rehearsal" / f"phantom_{number:04d}"
        folder.mkdir(parents=True)
        image, bone = column_of_bone(number % 3)
        sitk.WriteImage(image, str(folder / "ct.nrrd"))
        mask = sitk.GetImageFromArray(bone.astype(np.uint8))
        mask.CopyInformation(image)
        sitk.WriteImage(mask, str(folder / "mask.nii.gz"))


# Where there is nothing but vertebrae, phantoms are no rehearsal.
@pytest.mark.parametrize(
    ("kind", "small_model"), [("made up", ("spine",)), ("real", ("vertebrae",))], indirect=["small_model"]
)
def test_the_whole_loop(panel, shell, small_model, tmp_path, request, kind):
    import slicer

    panel.logic.getParameterNode().trainingSet = tmp_path / "columns.cases.h5"
    if kind == "real":
        folder = request.getfixturevalue("shared_data") / "cases"
        cases = [real_case(folder / "tptbox_L3"), real_case(folder / "ts_example_ct")]
        # The untrained network draws thousands of islands, which take long to tidy.
        panel.logic.getParameterNode().postprocess = False
    else:
        render_rehearsal(small_model)
        cases = [column_of_bone(0), column_of_bone(1)]
    volumes = []
    for number, (image, bone) in enumerate(cases):
        volume = add_volume(image, f"CT {number}")
        segment(panel, shell, volume)
        before = overlap(marked(panel, volume), bone)
        correct(panel, volume, bone)
        submit(panel, shell)
        volumes.append((volume, bone))
    assert [case.side for case in panel.correctSection.cases] == ["training", "validation"]
    assert panel.ui.casesTable.rowCount == 2

    panel.ui.epochsSpinBox.setValue(2)
    assert panel.ui.retrainButton.enabled, panel.ui.retrainButton.toolTip
    panel.ui.retrainButton.click()
    assert panel.ui.retrainButton.text == "Cancel"
    run = panel.retrainSection.run
    if kind == "made up":  # training needs nothing of the scene, so that the next CT may come meanwhile
        shell.wait_until(lambda: run.epochs or not run.running, seconds=600)
        slicer.mrmlScene.Clear()
        assert panel.retrainSection.running
        assert not panel.ui.segmentButton.enabled
        volumes[1] = (add_volume(cases[1][0], "CT 1"), cases[1][1])
    shell.wait_until(lambda: not panel.retrainSection.running, seconds=600)
    assert run.state == "finished", run.message
    assert len(run.epochs) == 2
    assert all((epoch["rehearsal_dice"] is None) == (kind == "real") for epoch in run.epochs)
    assert run.result["better"]
    assert run.result["parent"] == "small 1"
    assert panel.logic.getParameterNode().model == run.result["name"]
    names = [version.model.name for version in panel.retrainSection.versions]
    assert names.index(run.result["name"]) == names.index("small") + 1
    assert (small_model / "small.weights.h5").exists()

    volume, bone = volumes[1]
    segment(panel, shell, volume)
    after = overlap(marked(panel, volume), bone)
    assert after > before + 0.2  # the untrained model finds nothing of use
    assert after > 0.8 or kind == "real"


def test_the_segment_editor_opens_on_what_is_left_to_correct(panel, shell, small_model, monkeypatch):
    """The editor itself is Slicer's; what it was told is noted here. Its node is the real one."""
    import slicer

    volume = add_volume(column_of_bone(0)[0])
    segment(panel, shell, volume)
    node = panel.logic.getParameterNode().segmentation
    node.GetSegmentation().AddEmptySegment("", "Sacrum")
    first, second = node.GetSegmentation().GetSegmentIDs()
    settings = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    told = {}

    def note(name):
        return lambda value: told.update({name: value})

    names = ("setSegmentationNode", "setSourceVolumeNode", "setCurrentSegmentID", "setActiveEffectByName")
    editor = SimpleNamespace(**{name: note(name) for name in names}, mrmlSegmentEditorNode=lambda: settings)
    widget = SimpleNamespace(editor=editor)
    module = SimpleNamespace(widgetRepresentation=lambda: SimpleNamespace(self=lambda: widget))
    monkeypatch.setattr(slicer.modules, "segmenteditor", module)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(node.GetSegmentation().GetSegment(first), logic.Completed)
    panel.ui.boneCheckBox.setChecked(True)
    panel.ui.editButton.click()
    assert told == dict(zip(names, (node, volume, second, "Paint"), strict=True))
    assert settings.GetSourceVolumeIntensityMask()
    assert settings.GetSourceVolumeIntensityMaskRange() == (150, 3000)
    statuses = [logic.GetSegmentStatus(node.GetSegmentation().GetSegment(each)) for each in (first, second)]
    assert statuses == [logic.Completed, logic.InProgress]
    slicer.util.selectModule("SpineSeg")
    panel.ui.completedButton.click()
    assert logic.GetSegmentStatus(node.GetSegmentation().GetSegment(second)) == logic.Completed


def test_cases_of_one_scene_do_not_slip_into_another_project(panel, shell, small_model, tmp_path):
    from SpineSegLib.engine.training.training_set import TrainingSet

    parameters = panel.logic.getParameterNode()
    parameters.trainingSet = tmp_path / "columns.cases.h5"
    image, bone = column_of_bone(0)
    volume = add_volume(image)
    segment(panel, shell, volume)
    correct(panel, volume, bone)
    submit(panel, shell)
    assert parameters.project == TrainingSet(tmp_path / "columns.cases.h5").identity
    other = TrainingSet.create(tmp_path / "hips.cases.h5", "hips", ("vertebrae", "sacrum"))
    parameters.trainingSet = other.path
    shell.dialogs.answer("Cancel")
    panel.ui.submitButton.click()
    assert "training set of another project" in shell.dialogs.shown[-1].text
    assert not panel.correctSection.running
    assert other.cases() == []
    shell.dialogs.answer("OK")
    submit(panel, shell)
    assert len(other.cases()) == 1
    assert parameters.project == other.identity


def test_a_mask_of_another_ct_is_stored_only_where_that_is_meant(panel, shell, small_model, tmp_path):
    parameters = panel.logic.getParameterNode()
    parameters.trainingSet = tmp_path / "columns.cases.h5"
    first, second = (add_volume(column_of_bone(seed)[0], f"CT {seed}") for seed in (0, 1))
    segment(panel, shell, first)
    correct(panel, first, column_of_bone(0)[1])
    segmentation = parameters.segmentation
    panel.ui.inputVolumeSelector.setCurrentNode(second)
    panel.ui.segmentationSelector.setCurrentNode(segmentation)
    shell.dialogs.answer("Cancel")
    panel.ui.submitButton.click()
    assert "drawn on another CT" in shell.dialogs.shown[-1].text
    assert not panel.correctSection.running
    assert not (tmp_path / "columns.cases.h5").exists()
    shell.dialogs.answer("OK")
    submit(panel, shell)
    assert len(panel.correctSection.cases) == 1


def test_slices_checked_before_the_ct_was_moved_are_not_mixed_up(panel, shell, small_model, tmp_path):
    import slicer

    panel.logic.getParameterNode().trainingSet = tmp_path / "columns.cases.h5"
    image, bone = column_of_bone(0)
    volume = add_volume(image)
    segment(panel, shell, volume)
    correct(panel, volume, bone)
    slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().JumpSliceByCentering(0, 0, 10.0)
    panel.ui.checkedButton.click()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[2, 3] = 8
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    for node in (volume, panel.logic.getParameterNode().segmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    panel.ui.submitSelector.setCurrentIndex(1)
    panel.ui.submitButton.click()
    assert "was moved" in shell.dialogs.shown[-1].text
    assert not (tmp_path / "columns.cases.h5").exists()
    matrix[2, 3] = 0
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    submit(panel, shell)
    assert panel.correctSection.cases[0].checked == (5,)
    panel.ui.submitSelector.setCurrentIndex(0)


def test_a_mask_on_another_grid_lies_where_it_was_drawn(panel):
    import slicer
    from SpineSegLib.scene.submission import training_mask

    volume = add_volume(column_of_bone(0)[0])  # 80 x 80 x 16 voxels of 1 x 1 x 2 mm
    coarse = sitk.GetImageFromArray(np.zeros((8, 40, 40), np.int16))
    coarse.SetSpacing((2.0, 2.0, 4.0))
    coarse.SetOrigin((0.5, 0.5, 1.0))
    marked = np.zeros((8, 40, 40), np.uint8)
    marked[2:5, 10:20, 12:30] = 1
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segment_id = node.GetSegmentation().AddEmptySegment("", "L3")
    slicer.util.updateSegmentBinaryLabelmapFromArray(marked, node, segment_id, add_volume(coarse, "coarse"))
    expected = marked.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(training_mask(node, volume), expected)


def test_without_its_ct_no_slice_is_marked(panel, shell, small_model):
    import slicer

    volume = add_volume(column_of_bone(0)[0])
    segment(panel, shell, volume)
    slicer.mrmlScene.RemoveNode(volume)
    panel.enter()
    assert not panel.ui.checkedButton.enabled


def test_submitting_again_replaces_and_locking_protects(panel, shell, small_model, tmp_path):
    panel.logic.getParameterNode().trainingSet = tmp_path / "columns.cases.h5"
    image, bone = column_of_bone(0)
    volume = add_volume(image)
    segment(panel, shell, volume)
    correct(panel, volume, bone)
    submit(panel, shell)
    submit(panel, shell)
    assert "replaced" in panel.ui.correctStatusLabel.text
    assert panel.ui.casesTable.rowCount == 1
    panel.ui.casesTable.selectRow(0)
    panel.ui.lockCaseButton.click()
    panel.ui.casesTable.selectRow(0)
    assert not panel.ui.removeCaseButton.enabled
    panel.ui.lockCaseButton.click()
    panel.ui.casesTable.selectRow(0)
    shell.dialogs.answer("OK")
    panel.ui.removeCaseButton.click()
    assert panel.ui.casesTable.rowCount == 0


def test_slices_to_check_come_by_uncertainty(panel, shell, small_model):
    import slicer

    volume = add_volume(column_of_bone(0)[0])
    segment(panel, shell, volume)
    node = panel.logic.getParameterNode().segmentation
    from SpineSegLib.scene import review

    position, _ = review.next_to_check(node)
    panel.ui.nextSliceButton.click()
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetSliceToRAS().GetElement(2, 3)
    assert red == pytest.approx(position)
    panel.ui.checkedButton.click()
    assert review.checked_positions(node) == [position]
    assert "1 of 16" in panel.ui.checkedLabel.text
    assert review.next_to_check(node)[0] != position


def test_an_empty_segmentation_is_not_submitted(panel, shell, small_model, tmp_path):
    panel.logic.getParameterNode().trainingSet = tmp_path / "columns.cases.h5"
    image, bone = column_of_bone(0)
    volume = add_volume(image)
    segment(panel, shell, volume)
    correct(panel, volume, np.zeros_like(bone))
    panel.enter()
    panel.ui.submitButton.click()
    assert "marks anything" in shell.dialogs.shown[-1].text
    assert not (tmp_path / "columns.cases.h5").exists()


def test_a_version_gets_another_name(panel, shell, small_model):
    names = [version.model.name for version in panel.retrainSection.versions]
    panel.ui.versionsTable.selectRow(names.index("small"))
    shell.dialogs.answer("mine")
    panel.ui.renameVersionButton.click()
    assert (small_model / "mine.weights.h5").exists()
    assert panel.logic.getParameterNode().model == "mine"


def test_closing_the_scene_while_a_case_is_stored_leaves_the_worker_free(panel, shell, small_model, tmp_path):
    import slicer

    panel.logic.getParameterNode().trainingSet = tmp_path / "columns.cases.h5"
    image, bone = column_of_bone(0)
    volume = add_volume(image)
    segment(panel, shell, volume)
    correct(panel, volume, bone)
    panel.enter()
    panel.ui.submitButton.click()
    shell.wait_until(lambda: panel.logic.worker.busy, seconds=10)
    slicer.mrmlScene.Clear()
    assert not panel.logic.worker.busy


def test_a_model_that_is_not_there_is_named(panel, shell, small_model):
    panel.logic.getParameterNode().model = "gone"
    assert "The model gone is not on this computer" in panel.ui.modelLabel.text
    assert "gone" in panel.ui.planLabel.text or "Submit" in panel.ui.planLabel.text
    assert not panel.ui.retrainButton.enabled


def test_a_place_where_no_training_set_can_be_is_one_sentence(panel, shell, small_model, tmp_path):
    (tmp_path / "file").write_text("no folder")
    panel.logic.getParameterNode().trainingSet = tmp_path / "file" / "columns.cases.h5"
    image, bone = column_of_bone(0)
    volume = add_volume(image)
    segment(panel, shell, volume)
    correct(panel, volume, bone)
    panel.enter()
    panel.ui.submitButton.click()
    assert shell.dialogs.shown[-1].kind == "critical"
    assert shell.dialogs.shown[-1].text.endswith(".")
    assert (tmp_path / "file").read_text() == "no folder"
