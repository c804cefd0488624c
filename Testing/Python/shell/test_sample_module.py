"""A module in the shape of Slicer's template: loaded, shown, clicked, reloaded, closed."""

from pathlib import Path

import numpy as np
import pytest


def add_volume(name="CT", value=3, **kwargs):
    import slicer

    return slicer.util.addVolumeFromArray(np.full((4, 5, 6), value, np.int16), name=name, **kwargs)


def test_the_module_object(shell, panel):
    import slicer

    module = slicer.modules.shellsample
    assert module.title == "Shell sample"
    assert module.categories == ("Examples",)
    assert module.path.endswith("ShellSample.py")
    assert slicer.modules.ShellSampleInstance.starts == 1
    assert slicer.modules.ShellSampleWidget is panel
    assert slicer.util.getModuleWidget("ShellSample") is panel
    assert slicer.util.getModuleLogic("ShellSample") is panel.logic
    assert "ShellSample" in slicer.util.moduleNames()
    with pytest.raises(AttributeError):
        slicer.modules.shellsampl  # noqa: B018
    with pytest.raises(AttributeError):
        module.titel = "x"
    with pytest.raises(AttributeError):
        module.title = 5


def test_the_button_waits_for_a_volume(panel):
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Choose a volume first."
    volume = add_volume()
    assert panel.ui.inputSelector.currentNode() is volume
    assert panel._parameterNode.inputVolume is volume
    assert panel.ui.applyButton.enabled


def test_a_click(panel, shell):
    add_volume()
    panel.ui.applyButton.click()
    assert panel.ui.progressBar.value == 100
    assert "later" not in panel.calls
    shell.wait_until(lambda: "later" in panel.calls, 5)


def test_an_error_is_shown(panel, shell):
    add_volume(value=0)
    panel.ui.applyButton.click()
    (shown,) = shell.dialogs.shown
    assert shown.kind == "critical"
    assert "the volume is empty" in shown.text
    assert [str(each) for each in shell.take_errors()] == ["the volume is empty"]


def test_enter_and_exit(panel):
    import slicer

    assert panel.calls == ["enter"]
    slicer.util.selectModule("Volumes")
    assert panel.calls == ["enter", "exit"]
    assert slicer.util.selectedModule() == "Volumes"
    slicer.util.selectModule("ShellSample")
    assert panel.calls == ["enter", "exit", "enter"]
    with pytest.raises(RuntimeError, match="no module 'Nothing'"):
        slicer.util.selectModule("Nothing")


def test_closing_the_scene(panel):
    import slicer

    volume = add_volume()
    panel._parameterNode.threshold = 7
    del volume
    slicer.mrmlScene.Clear()
    assert panel.calls == ["enter", "start close", "end close"]
    assert panel._parameterNode.inputVolume is None
    assert panel._parameterNode.threshold == 100
    assert panel.ui.thresholdSlider.value == 100
    assert not panel.ui.applyButton.enabled


def test_parameters_are_saved_with_the_scene(panel, shell, tmp_path):
    import pathlib

    import slicer

    add_volume("first")
    panel._parameterNode.inputVolume = add_volume("second")
    panel._parameterNode.folder = pathlib.Path("/data")
    panel.ui.sliceRange.setValues(-5, 6)
    assert slicer.util.saveScene(str(tmp_path / "s.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "s.mrb"))
    panel.enter()
    assert panel._parameterNode.inputVolume.GetName() == "second"
    assert panel.ui.inputSelector.currentNode().GetName() == "second"
    assert panel._parameterNode.folder == pathlib.Path("/data")
    assert panel.ui.sliceRange.minimumValue == -5


def test_reload(panel, shell):
    import slicer

    slicer.util.reloadScriptedModule("ShellSample")
    fresh = slicer.modules.ShellSampleWidget
    assert fresh is not panel
    assert panel.calls[-1] == "cleanup"
    assert slicer.modules.shellsample.widgetRepresentation().self() is fresh
    volume = add_volume()
    assert fresh.ui.inputSelector.currentNode() is volume
    assert fresh.ui.applyButton.enabled


def test_the_end_calls_cleanup_once(panel, shell):
    shell.unload_module("ShellSample")
    assert panel.calls == ["enter", "exit", "cleanup"]


def test_the_modules_own_test(panel):
    import slicer

    add_volume()
    slicer.selfTests["ShellSample"](msec=1)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0  # it cleared the scene


def test_developer_mode(shell):
    import qt
    import slicer

    qt.QSettings().setValue("Developer/DeveloperMode", True)
    try:
        shell.load_module(Path(__file__).parent / "sample_module" / "ShellSample.py")
        slicer.util.selectModule("ShellSample")
        panel = slicer.modules.ShellSampleWidget
        panel.reloadButton.click()
        assert slicer.modules.ShellSampleWidget is not panel
    finally:
        qt.QSettings().remove("Developer/DeveloperMode")


def test_a_picture(panel, shell, tmp_path):
    import qt

    add_volume()
    picture = qt.QImage(str(shell.screenshot(panel.parent, tmp_path / "panel.png")))
    colours = {picture.pixel(x, y) for x in range(0, picture.width(), 3) for y in range(0, picture.height(), 3)}
    assert len(colours) > 20


def test_what_a_ui_file_folds_is_hidden(panel, shell):
    """`collapsed` is set before the section's widgets are made."""
    import slicer

    window = slicer.util.mainWindow()
    window.show()
    shell.process_events()
    assert panel.ui.advancedCollapsibleButton.collapsed
    assert not panel.ui.thresholdSlider.visible
    panel.ui.advancedCollapsibleButton.click()
    shell.process_events()
    assert panel.ui.thresholdSlider.visible
    window.hide()
