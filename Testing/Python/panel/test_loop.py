"""The whole loop by the panel's real buttons: segment, correct, submit, re-train, segment again, compare."""

from importlib.util import find_spec

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
def small_model(monkeypatch, tmp_path, panel):
    """An untrained small model is the only one of the user's."""
    from small_models import write_model

    monkeypatch.setenv("SPINESEG_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    write_model(tmp_path / "models" / "small.weights.h5", inputs=1, outputs=1, width=8, depth=2)
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


def test_the_whole_loop(panel, shell, small_model, tmp_path):
    panel.logic.getParameterNode().trainingSet = tmp_path / "columns.cases.h5"
    volumes = []
    for seed in range(2):
        image, bone = column_of_bone(seed)
        volume = add_volume(image, f"CT {seed}")
        segment(panel, shell, volume)
        correct(panel, volume, bone)
        submit(panel, shell)
        volumes.append((volume, bone))
    assert [case.side for case in panel.correctSection.cases] == ["training", "validation"]
    assert panel.ui.casesTable.rowCount == 2

    panel.ui.epochsSpinBox.setValue(2)
    assert panel.ui.retrainButton.enabled, panel.ui.retrainButton.toolTip
    panel.ui.retrainButton.click()
    assert panel.ui.retrainButton.text == "Cancel"
    shell.wait_until(lambda: not panel.retrainSection.running, seconds=600)
    run = panel.retrainSection.run
    assert run.state == "finished", run.message
    assert len(run.epochs) == 2
    assert run.result["better"]
    assert run.result["parent"] == "small 1"
    assert panel.logic.getParameterNode().model == run.result["name"]
    names = [version.model.name for version in panel.retrainSection.versions]
    assert names.index(run.result["name"]) == names.index("small") + 1
    assert (small_model / "small.weights.h5").exists()

    volume, bone = volumes[1]
    segment(panel, shell, volume)
    found = marked(panel, volume)
    dice = 2 * np.count_nonzero(found & bone) / (np.count_nonzero(found) + bone.sum())
    assert dice > 0.8  # the untrained model finds nothing of use


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
