"""`slicer.app`, dialogs, packages, files and the subject hierarchy."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


def test_version_and_paths(shell):
    import slicer

    assert (slicer.app.majorVersion, slicer.app.minorVersion) == (5, 12)
    assert Path(slicer.app.temporaryPath).is_dir()
    assert slicer.app.mrmlScene() is slicer.mrmlScene
    assert slicer.app.applicationName == "Slicer"
    for name in ("majorversion", "layoutmanager", "getNode"):
        with pytest.raises(AttributeError):
            getattr(slicer.app, name)
    with pytest.raises(AttributeError):
        slicer.getNode  # noqa: B018


def test_the_logics_of_slicers_modules(shell):
    import slicer

    assert slicer.modules.volumes.logic().IsA("vtkSlicerVolumesLogic")
    assert slicer.modules.segmentations.logic().GetMRMLScene() is slicer.mrmlScene
    assert slicer.modules.segmenteditor.name == "SegmentEditor"
    with pytest.raises(RuntimeError, match="Nothing"):
        slicer.util.getModule("Nothing")


def test_messages_are_noted(shell):
    import slicer

    slicer.util.infoDisplay("All well.")
    slicer.util.errorDisplay("Too bad.", windowTitle="Failure", detailedText="details")
    first, second = shell.dialogs.shown
    assert (first.kind, first.text) == ("information", "All well.")
    assert (second.kind, second.title, second.details) == ("critical", "Failure", "details")


@pytest.mark.parametrize(("answer", "result"), [("Yes", True), ("No", False)])
def test_questions_are_answered(shell, answer, result):
    import slicer

    shell.dialogs.answer(answer)
    assert slicer.util.confirmYesNoDisplay("Really?") is result


def test_a_question_without_an_answer(shell):
    import slicer
    from SlicerShell import UnansweredDialog

    with pytest.raises(UnansweredDialog, match="Really"):
        slicer.util.confirmOkCancelDisplay("Really?")
    shell.dialogs.answer("Perhaps")
    with pytest.raises(UnansweredDialog, match="no button 'Perhaps'"):
        slicer.util.confirmOkCancelDisplay("Really?")


def test_buttons_of_the_modules_own(shell):
    import qt

    box = qt.QMessageBox()
    box.text = "Install 150 MB?"
    install = box.addButton("Install", qt.QMessageBox.AcceptRole)
    box.addButton("Later", qt.QMessageBox.RejectRole)
    shell.dialogs.answer("Install")
    box.exec_()
    assert box.clickedButton() is install


def test_static_and_file_dialogs(shell):
    import qt

    shell.dialogs.answer("No", "/a/b.txt", None)
    assert qt.QMessageBox.question(None, "t", "x?") == qt.QMessageBox.No
    assert qt.QFileDialog.getOpenFileName(None, "Open", "") == "/a/b.txt"
    assert qt.QFileDialog.getExistingDirectory(None, "Open", "") == ""


def test_a_dialog_that_a_function_works(shell):
    import qt

    dialog = qt.QDialog()
    line = qt.QLineEdit(dialog)
    shell.dialogs.answer(lambda each: (line.setText("typed"), each.accept()))
    assert dialog.exec_() == qt.QDialog.Accepted
    assert line.text == "typed"


def test_delay_display_closes_itself(shell):
    import slicer

    slicer.util.delayDisplay("wait", 450)
    assert shell.dialogs.shown


def test_packages_are_installed_only_in_name(shell):
    import slicer.packaging

    assert slicer.packaging.pip_check("numpy>=1")
    shell.pip.missing = {"numpy"}
    assert not slicer.packaging.pip_check(["numpy>=1"])
    shell.dialogs.answer("OK")
    slicer.packaging.pip_ensure("numpy>=1", requester="SpineSeg")
    assert shell.pip.installed == [["numpy>=1"]]
    assert shell.dialogs.shown[0].title == "SpineSeg - Install Python Packages"
    assert slicer.packaging.pip_check("numpy>=1")


def test_an_installation_may_be_declined_or_fail(shell):
    import slicer.packaging

    shell.pip.missing = {"numpy"}
    shell.dialogs.answer("Cancel")
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure("numpy")
    shell.pip.network = False
    with pytest.raises(subprocess.CalledProcessError):
        slicer.packaging.pip_install("numpy")
    codes = []
    slicer.packaging.pip_install("numpy", blocking=False, completedCallback=codes.append)
    assert codes == []
    shell.wait_until(lambda: codes == [1], 5)
    assert not slicer.packaging.pip_check("numpy")


def test_older_slicer_has_no_packaging(session):
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "import SlicerShell; shell = SlicerShell.start('5.10.0')\n"
        "import slicer\n"
        "assert slicer.app.minorVersion == 10 and not hasattr(slicer, 'packaging')\n"
        "slicer.util.pip_install('numpy>=1 scipy')\n"
        "assert shell.pip.installed == [['numpy>=1', 'scipy']]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_volumes_and_segmentations_get_their_place(shell):
    import slicer

    volume = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name="CT")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Spine")
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    for each in (volume, node):
        item = hierarchy.GetItemByDataNode(each)
        assert hierarchy.GetItemName(item) == each.GetName()
        assert hierarchy.GetItemParent(item) == hierarchy.GetSceneItemID()
    slicer.mrmlScene.RemoveNode(volume)
    assert hierarchy.GetNumberOfItems() == 1


def test_files(shell, tmp_path):
    import slicer

    volume = slicer.util.addVolumeFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4), name="CT")
    assert slicer.util.saveNode(volume, str(tmp_path / "ct.nrrd"))
    again = slicer.util.loadVolume(tmp_path / "ct.nrrd")
    assert (slicer.util.arrayFromVolume(again) == slicer.util.arrayFromVolume(volume)).all()
    with pytest.raises(RuntimeError, match="Failed to load"):
        slicer.util.loadVolume(str(tmp_path / "none.nrrd"))


def test_a_scene_with_a_segmentation(shell, tmp_path):
    import slicer

    volume = slicer.util.addVolumeFromArray(np.zeros((4, 5, 6), np.int16), name="CT")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Spine")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    identifier = node.GetSegmentation().AddEmptySegment("L1", "L1")
    mask = np.zeros((4, 5, 6), np.uint8)
    mask[1:3, 2:4, 1:5] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, identifier, volume)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    node, volume = slicer.util.getNode("Spine"), slicer.util.getNode("CT")
    assert (slicer.util.arrayFromSegmentBinaryLabelmap(node, "L1", volume) == mask).all()
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    assert hierarchy.GetItemName(hierarchy.GetItemByDataNode(node)) == "Spine"
    assert hierarchy.GetNumberOfItems() == 2


def test_nodes_are_translated_and_told(shell):
    import slicer
    from slicer.i18n import tr, translate

    assert tr("Apply") == translate("SpineSeg", "Apply") == "Apply"
    assert slicer.util.showStatusMessage("working", 1000)
    assert slicer.util.mainWindow().statusBar().currentMessage() == "working"
