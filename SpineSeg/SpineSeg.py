"""SpineSeg, the scripted module of 3D Slicer: only wiring, the work is in SpineSegLib."""

from __future__ import annotations

import shutil
import sys
import unittest
from pathlib import Path
from typing import TYPE_CHECKING

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin
from SpineSegLib.late_import import import_later
from SpineSegLib.resources import resources_dir

if TYPE_CHECKING:
    from SpineSegLib.panel.parameters import SpineSegParameterNode
    from SpineSegLib.scene.segment_run import SegmentRun
    from SpineSegLib.worker_client import WorkerProcess


class SpineSeg(ScriptedLoadableModule):
    """What Slicer shows about the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("SpineSeg")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Plots", "Segmentations", "SubjectHierarchy", "Tables", "Terminologies", "Volumes"]
        self.parent.contributors = ["The SpineSeg developers"]
        self.parent.icon = qt.QIcon(str(resources_dir() / "Icons" / "SpineSeg.png"))
        self.parent.helpText = _(
            "Segments the spine in CT slice by slice with a U-Net on this computer, compares the result with manual "
            "segments and learns from corrections. Nothing leaves the computer. Research use only."
        )
        self.parent.acknowledgementText = _(
            "After the web system of Kim, Ganbold and Kim, Web-Based Spine Segmentation Using Deep Learning in "
            "Computed Tomography Images, Healthcare Informatics Research 2020."
        )


class SpineSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: loads the .ui, hands its parts to the sections and keeps them in step with the parameter node."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.working = []  # the sections that may have something under way
        self._parameterNode = None
        self._guiTag = None

    def setup(self):
        """Called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        import_later("SimpleITK")  # takes half of the time in which the panel opens, and is not needed to show it
        from SpineSegLib.panel.compare_section import CompareSection
        from SpineSegLib.panel.correct_section import CorrectSection
        from SpineSegLib.panel.input_section import InputSection
        from SpineSegLib.panel.retrain_section import RetrainSection
        from SpineSegLib.panel.segment_section import SegmentSection
        from SpineSegLib.scene.terminology import load_terminology

        widget = slicer.util.loadUI(self.resourcePath("UI/SpineSeg.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        load_terminology()
        self.logic = SpineSegLogic()
        self.inputSection = InputSection(self.ui, self.update)
        busy = self.busy
        self.segmentSection = SegmentSection(self.ui, self.inputSection, self.logic, busy, self.update)
        self.compareSection = CompareSection(self.ui, self.logic, busy, self.update)
        self.correctSection = CorrectSection(self.ui, self.logic, busy, self.update)
        self.retrainSection = RetrainSection(self.ui, self.inputSection, self.logic, busy, self.update)
        self.working = [self.segmentSection, self.compareSection, self.correctSection, self.retrainSection]
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self._onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self._onSceneEndClose)
        self.initializeParameterNode()

    def resourcePath(self, filename):
        """Where a resource is: Resources stands at the top of the source tree, beside this file when installed."""
        return str(resources_dir() / filename)

    def enter(self):
        """Called each time the module is opened."""
        self.inputSection.find_models()
        self.retrainSection.find_versions()
        self.initializeParameterNode()

    def exit(self):
        """Called each time the user leaves the module. A run goes on."""
        if not any(section.running for section in self.working):
            self.setParameterNode(None)

    def busy(self):
        """Whether something is under way, so that nothing else can begin: also before and after the worker is at it."""
        return self.logic.worker.busy or any(section.running for section in self.working)

    def cleanup(self):
        """Called when Slicer ends or the module is reloaded."""
        if self.logic is not None:  # else it was never opened
            for section in self.working:
                section.stop()
            self.setParameterNode(None)
            self.logic.close()
        self.removeObservers()

    def onReload(self):
        """The button Reload: SpineSegLib is read again, too."""
        for name in [name for name in sys.modules if name.split(".")[0] == "SpineSegLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def initializeParameterNode(self):
        """Show the parameters of this scene; a CT that is loaded is chosen, so that Segment is one click away."""
        from SpineSegLib.engine.models.model_catalogue import user_models_dir

        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.trainingSet.name:
            self._parameterNode.trainingSet = user_models_dir().parent / "corrections.cases.h5"
        if self._parameterNode.inputVolume is None:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")  # label maps are of this class, too
            volume = next((each for each in volumes if not each.IsA("vtkMRMLLabelMapVolumeNode")), None)
            if volume is not None:
                self._parameterNode.inputVolume = volume

    def setParameterNode(self, parameterNode: SpineSegParameterNode | None):
        """Bind the panel to a parameter node, or to none."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.update)
        self._parameterNode = parameterNode
        for section in (self.inputSection, *self.working):
            section.parameters = parameterNode
        if parameterNode is not None:
            # connectGui of Slicer 5.10 gives no tag, so that nothing could be disconnected (Slicer's issue 7547)
            widgets = vars(self.ui).values()
            bound = {name: each for each in widgets if (name := each.property("SlicerParameterName"))}
            self._guiTag = parameterNode.connectParametersToGui(bound)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.update)
            self.update()

    def update(self, _caller=None, _event=None):
        """Let every section show what is chosen and what can be done now."""
        if self._parameterNode is not None:
            for section in (self.inputSection, *self.working):
                section.update()

    def _onSceneStartClose(self, _caller, _event):
        training = self.retrainSection.running  # which needs nothing of the scene, and goes on
        for section in self.working:
            if not (training and section is self.retrainSection):
                section.stop()
        self.setParameterNode(None)
        if training:
            self.logic.forgetVolume()
        else:
            self.logic.close()  # its temporary files hold the CT that goes

    def _onSceneEndClose(self, _caller, _event):
        if self.parent.isEntered:
            self.initializeParameterNode()


class SpineSegLogic(ScriptedLoadableModuleLogic):
    """What scripts can use without the panel. The network runs in a worker process that stays warm until `close`."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self._worker: WorkerProcess | None = None

    def getParameterNode(self) -> SpineSegParameterNode:
        """The parameters in the scene, typed."""
        from SpineSegLib.panel.parameters import SpineSegParameterNode

        return SpineSegParameterNode(super().getParameterNode())

    def startSegment(
        self,
        volumeNode,
        segmentationNode=None,
        *,
        model: str | Path = "default",
        device: str = "auto",
        region: tuple[float, float] | None = None,
        postprocess: bool = True,
        wholeField: bool = False,
        show3D: bool = False,
    ) -> SegmentRun:
        """Begin to segment a CT; call `step()` of what is returned about 20 times a second while it is `running`.

        `region`: lowest and highest S (mm) to segment, None for the whole volume. Raises the errors of SpineSegLib,
        each one sentence, and changes nothing in the scene then.
        """
        from SpineSegLib.engine.models.model_catalogue import resolve_model
        from SpineSegLib.scene.segment_run import SegmentRun

        return SegmentRun(
            self.worker,
            volumeNode,
            segmentationNode,
            resolve_model(model),
            device=device,
            region=region,
            postprocess=postprocess,
            whole=wholeField,
            show_3d=show3D,
            before_change=_saveUndoState,
        )

    def segment(self, volumeNode, segmentationNode=None, **options):
        """Segment a CT and wait for it, keeping Slicer alive. Returns the segmentation node.

        Options as for `startSegment`. Raises RuntimeError with one sentence if it fails.
        """
        run = self.startSegment(volumeNode, segmentationNode, **options)
        while run.running:
            run.step()
            slicer.app.processEvents()
        if run.state != "finished":
            raise RuntimeError(run.message)
        return run.segmentation_node

    @property
    def worker(self) -> WorkerProcess:
        """The process that computes; it starts with the first job."""
        if self._worker is None:
            from SpineSegLib.worker_client import WorkerProcess

            # inside Slicer sys.executable is Slicer itself
            self._worker = WorkerProcess(python=shutil.which("PythonSlicer") or sys.executable)
        return self._worker

    def forgetVolume(self):
        """Remove the worker's copy of the CT that was segmented last."""
        if self._worker is not None:
            from SpineSegLib.scene.segment_run import forget_volume

            forget_volume(self._worker)

    def close(self):
        """End the worker process."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def _saveUndoState(segmentationNode) -> None:
    """Let the Segment Editor undo what comes, if it shows this segmentation."""
    editorWidget = getattr(slicer.modules, "SegmentEditorWidget", None)  # there once that module was opened
    if editorWidget is not None and editorWidget.editor.segmentationNode() is segmentationNode:
        editorWidget.editor.saveStateForUndo()


class SpineSegTest(ScriptedLoadableModuleTest):
    """The button Reload and Test: the panel on a synthetic CT."""

    def runTest(self):
        """Run the panel's tests; raises AssertionError if one fails."""
        from SpineSegLib.panel.selftest import PanelTest

        result = unittest.TextTestRunner(verbosity=2).run(unittest.defaultTestLoader.loadTestsFromTestCase(PanelTest))
        self.assertTrue(result.wasSuccessful())
