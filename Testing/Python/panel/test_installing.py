"""First use: nothing that Slicer doesn't bring is needed to open the panel, and nothing is installed unasked."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from panel_samples import add_volume

REPOSITORY = Path(__file__).resolve().parents[3]
BROUGHT_BY_PIP = ("filelock", "h5py", "highdicom", "keras", "matplotlib", "openvino", "rich", "tensorflow", "torch")
OPEN_THE_PANEL = """
import sys
sys.path[:0] = [{testing!r}, {source!r}]
import SlicerShell
shell = SlicerShell.start()
for name in {missing!r}:
    sys.modules[name] = None
import slicer
from SpineSegLib.panel import installation
installation._satisfied = lambda requirement: requirement.startswith(("scipy", "pydicom"))
module = shell.load_module({source!r} + "/SpineSeg.py")
slicer.util.selectModule("SpineSeg")
panel = module.widgetRepresentation().self()
print("opened" if not shell.take_errors() and not panel.ui.installButton.isHidden() else "errors")
"""


@pytest.fixture
def nothing_installed(monkeypatch, panel):
    """As in a new Slicer: of what SpineSeg needs only what Slicer brings is there."""
    from SlicerShell.packaging_module import PIP
    from SpineSegLib.panel import installation

    there = set()
    PIP.clear()
    PIP.then = lambda arguments: there.update(arguments)
    satisfied = installation._satisfied
    slicers_own = ("scipy", "pydicom")
    monkeypatch.setattr(
        installation, "_satisfied", lambda each: each in there or (satisfied(each) and each.startswith(slicers_own))
    )
    add_volume(sitk.GetImageFromArray(np.random.default_rng(0).normal(-200, 400, (4, 30, 30)).astype(np.int16)))
    panel.enter()
    yield PIP
    monkeypatch.undo()
    PIP.clear()
    panel.enter()


def test_the_panel_opens_without_what_pip_brings(run_python):
    said = run_python(
        OPEN_THE_PANEL.format(
            testing=str(REPOSITORY / "Testing"), source=str(REPOSITORY / "SpineSeg"), missing=BROUGHT_BY_PIP
        )
    )
    assert said.split()[-1] == "opened"


def test_nothing_is_installed_when_the_user_declines(panel, shell, nothing_installed):
    assert not panel.ui.installButton.isHidden()
    assert panel.ui.segmentButton.enabled  # pressing it asks
    shell.dialogs.answer("Cancel")
    panel.ui.segmentButton.click()
    question = shell.dialogs.shown[-1].text
    assert "OpenVINO" in question
    assert "140 MB" in question
    assert nothing_installed.installed == []
    assert panel.segmentSection.run is None


def test_what_is_missing_is_installed_when_the_user_agrees(panel, shell, nothing_installed):
    shell.dialogs.answer("OK")
    panel.ui.installButton.click()
    names = [each.split(">")[0].split("[")[0] for each in nothing_installed.installed[-1]]
    assert {"keras", "openvino", "h5py"} <= set(names)
    assert "tensorflow-cpu" not in names
    assert panel.ui.installButton.isHidden()
    assert [model.name for model in panel.inputSection.models]


def test_a_model_that_is_not_there_after_installing_is_not_replaced_by_another(panel, shell, nothing_installed):
    panel._parameterNode.model = "gone"
    assert panel.ui.segmentButton.enabled
    shell.dialogs.answer("OK")
    panel.ui.segmentButton.click()
    assert "gone is not on this computer" in shell.dialogs.shown[-1].text
    assert panel.segmentSection.run is None


def test_without_network_one_sentence_says_so(panel, shell, nothing_installed):
    nothing_installed.network = False
    shell.dialogs.answer("OK")
    panel.ui.installButton.click()
    assert "check the network connection" in shell.dialogs.shown[-1].text
    assert not panel.ui.installButton.isHidden()
