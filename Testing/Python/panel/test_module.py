"""What Slicer does with the module besides its sections: reloads it, leaves it, installs what it needs."""

import sys

import numpy as np
import pytest
import SimpleITK as sitk
from panel_samples import add_volume


def ct(slices=5):
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(-300, 500, (slices, 40, 40)).astype(np.int16))
    image.SetSpacing((1.0, 1.0, 1.2345))
    image.SetOrigin((0.0, 0.0, 100.006))
    return image


def test_reload_reads_the_library_again(panel, module):
    import SpineSegLib.panel.segment_section as before

    panel.onReload()
    after = module.widgetRepresentation().self()
    assert after is not panel
    assert sys.modules["SpineSegLib.panel.segment_section"] is not before
    assert type(after.segmentSection) is sys.modules["SpineSegLib.panel.segment_section"].SegmentSection
    assert type(after) is sys.modules["SpineSeg"].SpineSegWidget


def test_the_range_fits_the_ct_again_after_leaving_the_module(panel):
    import slicer

    node = add_volume(ct())
    panel.enter()
    panel.ui.inputVolumeSelector.setCurrentNode(node)
    panel.ui.partSelector.setCurrentIndex(2)
    panel.ui.rangeWidget.setValues(101, 103)
    slicer.util.selectModule("Data")
    slicer.util.selectModule("SpineSeg")
    widget = panel.ui.rangeWidget
    assert (widget.minimum, widget.maximum) == pytest.approx((100.0, 104.95))  # outwards, so that no slice falls out
    assert (widget.minimumValue, widget.maximumValue) == (101, 103)
    panel.ui.partSelector.setCurrentIndex(0)


def test_a_panel_that_was_left_changes_no_parameters(panel):
    import slicer

    parameters = panel.logic.getParameterNode()
    slicer.util.selectModule("Data")
    panel.ui.show3DCheckBox.setChecked(True)
    assert not parameters.show3D
    slicer.util.selectModule("SpineSeg")
    assert not panel.ui.show3DCheckBox.checked


def test_slicer_5_10_gets_each_requirement_whole(shell, monkeypatch):
    from SlicerShell.packaging_module import PIP
    from SpineSegLib.panel import installation

    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    wanted = ['tensorflow-cpu>=2.19; sys_platform != "darwin"', "pylibjpeg[openjpeg]>=2.0"]
    installation._install(wanted)
    assert PIP.installed[-1] == wanted
    PIP.clear()


@pytest.mark.parametrize("reason", ["openvino", "tensorflow", "torch"])
def test_backends_are_called_by_their_names(panel, monkeypatch, reason):
    from SpineSegLib.engine.models.backends import Choice
    from SpineSegLib.panel import input_section

    monkeypatch.setattr(input_section, "choose_backend", lambda _: Choice(reason, "cpu", f"{reason} on the CPU."))
    panel.update()
    assert panel.ui.deviceLabel.text.split()[0] == input_section.TITLES[reason]


def test_the_model_card_is_shown(panel):
    panel.enter()
    panel.ui.modelCardButton.click()
    text = panel.inputSection._card.toPlainText()
    assert "CC BY-SA 4.0" in text
    panel.inputSection._card.close()
