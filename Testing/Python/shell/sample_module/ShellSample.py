"""A scripted module in the shape of Slicer's template, for the tests of the shell."""
# ruff: noqa: N802, N815 (names are Slicer's)

import enum
import pathlib
from typing import Annotated, Optional

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, Default, FloatRange, RangeBounds, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class ShellSample(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Shell sample")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Examples")]
        self.parent.dependencies = ["Segmentations"]
        self.parent.contributors = ["SpineSeg"]
        self.parent.helpText = _("Tests the shell.")
        slicer.app.connect("startupCompleted()", self.started)
        self.starts = 0

    def started(self):
        self.starts += 1


class Side(enum.Enum):
    LEFT = 1
    RIGHT = 2


@parameterNodeWrapper
class ShellSampleParameterNode:
    inputVolume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    threshold: Annotated[float, WithinRange(-100, 500)] = 100
    count: Annotated[int, WithinRange(1, 9)] = 3
    inverted: bool = False
    side: Side = Side.RIGHT
    model: Annotated[str, Choice(["small", "large"]), Default("large")]
    folder: pathlib.Path = pathlib.Path("/tmp")
    slices: Annotated[FloatRange, RangeBounds(-1000, 1000), Default(FloatRange(-10, 20))]
    other: Optional[slicer.vtkMRMLScalarVolumeNode]  # noqa: UP045 (Slicer takes no other spelling)


class ShellSampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._guiTag = None
        self.calls = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ShellSample.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ShellSampleLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.initializeParameterNode()

    def cleanup(self):
        self.calls.append("cleanup")
        self.removeObservers()

    def enter(self):
        self.calls.append("enter")
        self.initializeParameterNode()

    def exit(self):
        self.calls.append("exit")
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._guiTag)
            self._guiTag = None
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)

    def onSceneStartClose(self, caller, event):
        self.calls.append("start close")
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        self.calls.append("end close")
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if first:
                self._parameterNode.inputVolume = first

    def setParameterNode(self, node):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
        self._parameterNode = node
        if self._parameterNode:
            self._guiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
            self._checkCanApply()

    def _checkCanApply(self, caller=None, event=None):
        can = bool(self._parameterNode and self._parameterNode.inputVolume)
        self.ui.applyButton.enabled = can
        self.ui.applyButton.toolTip = _("Segment") if can else _("Choose a volume first.")

    def onApplyButton(self):
        with slicer.util.tryWithErrorDisplay(_("Failed to compute results."), waitCursor=True):
            self.ui.progressBar.value = self.logic.process(self._parameterNode.inputVolume)
            qt.QTimer.singleShot(0, lambda: self.calls.append("later"))


class ShellSampleLogic(ScriptedLoadableModuleLogic):
    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)

    def getParameterNode(self):
        return ShellSampleParameterNode(super().getParameterNode())

    def process(self, volume):
        if slicer.util.arrayFromVolume(volume).max() == 0:
            raise ValueError("the volume is empty")
        return 100


class ShellSampleTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.delayDisplay("Starting the test")
        assert ShellSampleLogic().getParameterNode().count == 3
