"""Section Segment: the run of the worker, with progress, Cancel, 3D and export."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer

from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.panel.input_section import InputSection
from SpineSegLib.panel.parameters import FARTHEST, Part, SpineSegParameterNode
from SpineSegLib.panel.slice_views import shown_position
from SpineSegLib.scene import review
from SpineSegLib.scene.export import export_segmentation
from SpineSegLib.scene.segmentations import drawn_on_another, segmentation_problem
from SpineSegLib.scene.volumes import axial_limits

if TYPE_CHECKING:
    from SpineSegLib.scene.segment_run import SegmentRun

STEP_MS = 40  # how often finished slices are fetched
FORMATS = {
    "Segmentation for 3D Slicer": ".seg.nrrd",
    "NIfTI label map": ".nii.gz",
    "DICOM segmentation object": ".dcm",
}


class SegmentSection:
    """`logic`: the module's, which has the worker; `busy` tells whether anything is under way in the panel; `changed`
    is called when a run began or ended."""

    def __init__(
        self, ui: Any, chosen: InputSection, logic: Any, busy: Callable[[], bool], changed: Callable[[], None]
    ) -> None:
        self.ui = ui
        self.chosen = chosen
        self.parameters: SpineSegParameterNode | None = None
        self.run: SegmentRun | None = None
        self._logic = logic
        self._busy = busy
        self._changed = changed
        self._volume: str | None = None  # ID of the CT that was chosen last
        self._limits: tuple[str, float, float] | None = None
        self._warmed: tuple[Path, str] | None = None  # what the worker was told to load
        self._timer = qt.QTimer()
        self._timer.setInterval(STEP_MS)
        self._timer.connect("timeout()", self._step)
        ui.segmentButton.connect("clicked(bool)", self._segment_or_cancel)
        ui.exportButton.connect("clicked(bool)", self._export)

    @property
    def running(self) -> bool:
        """Whether a run is under way; one that was cancelled only winds down."""
        return self.run is not None and self.run.running and self.run.state != "cancelled"

    def update(self) -> None:
        """Show what the parameter node says and what can be done."""
        ui, parameters = self.ui, self.parameters
        self._let_go_of_others()
        whole_range = parameters.part is Part.RANGE
        ui.rangeWidget.visible = whole_range
        ui.labelRangeWidget.visible = whole_range
        self._fit_range()
        problem = self._problem()
        ui.segmentButton.text = "Cancel" if self.running else "Segment"
        ui.segmentButton.enabled = self.running or problem is None
        if self.running:
            ui.segmentButton.toolTip = "Stop, and put the segmentation back as it was."
        else:
            ui.segmentButton.toolTip = problem or "Segment the spine."
        ui.progressBar.visible = self.running
        if problem is None and not self.running:
            self._warm()
        nothing = parameters.segmentation is None or not parameters.segmentation.GetSegmentation().GetNumberOfSegments()
        ui.exportButton.enabled = not nothing and not self.running
        ui.exportButton.toolTip = (
            "Wait until all slices are segmented."
            if self.running
            else "Segment first, or choose a segmentation."
            if nothing
            else "Save the segmentation as .seg.nrrd, NIfTI or DICOM SEG."
        )

    def stop(self) -> None:
        """End a run at once, putting back the segmentation."""
        if self.running:
            self.run.cancel()
        self._timer.stop()
        self.run = self._warmed = None

    def _segment_or_cancel(self, _checked: bool = False) -> None:
        if self.running:
            self.run.cancel()
            self._show_progress()
            self._changed()
            return
        if not self.chosen.ready():
            return
        if problem := self._problem():  # what has been installed may lack the model that is asked for
            slicer.util.errorDisplay(problem, windowTitle="SpineSeg")
            return
        parameters = self.parameters
        try:
            self.run = self._logic.startSegment(
                parameters.inputVolume,
                parameters.segmentation,
                model=self.chosen.model().path,
                device=parameters.device.value,
                region=self._region(),
                postprocess=parameters.postprocess,
                wholeField=parameters.wholeField,
                show3D=parameters.show3D,
            )
        except SpineSegError as error:
            slicer.util.errorDisplay(str(error), windowTitle="SpineSeg")
            return
        self._timer.start()
        self._show_progress()
        self._changed()

    def _problem(self) -> str | None:
        """Why no run can begin."""
        if self._busy() and not (self.run is not None and self.run.running):
            return "Wait until the computation that runs now is finished."
        parameters = self.parameters
        return self.chosen.problem() or segmentation_problem(parameters.segmentation, parameters.inputVolume)

    def _let_go_of_others(self) -> None:
        """Another CT gets a segmentation of its own: in the one before, earlier results would be replaced."""
        volume, node = self.parameters.inputVolume, self.parameters.segmentation
        if volume is None or volume.GetID() == self._volume:
            return
        self._volume = volume.GetID()
        if node is not None and drawn_on_another(node, volume):
            self.parameters.segmentation = None

    def _warm(self) -> None:
        """Let the worker load the network while the user still looks at the CT, once for each model and device."""
        if self.chosen.lacking:
            return
        wanted = (self.chosen.model().path, self.parameters.device.value)
        if wanted != self._warmed:
            self._warmed = wanted
            self._logic.worker.warm(*wanted)

    def _step(self) -> None:
        self.run.step()
        node = self.run.segmentation_node
        if node is not None and self.parameters is not None and self.parameters.segmentation is not node:
            self.parameters.segmentation = node
        self._show_progress()
        if not self.run.running:
            self._timer.stop()
            if self.run.state == "finished":
                review.remember_run(node, self.run.started["model"], self.run.uncertainties)
                if self.run.shows_3d:
                    slicer.util.resetThreeDViews()
                if self.parameters is not None and self.parameters.comparedSegmentation is None:
                    self.parameters.comparedSegmentation = node
            self._changed()
            if self.run.state == "failed":
                slicer.util.errorDisplay(self.run.message, windowTitle="SpineSeg")

    def _show_progress(self) -> None:
        run, bar = self.run, self.ui.progressBar
        self.ui.statusLabel.text = run.status
        if run.of:
            bar.setRange(0, run.of)
            bar.value = run.done
        else:
            bar.setRange(0, 0)  # busy

    def _region(self) -> tuple[float, float] | None:
        """Which axial positions (mm, towards the head) to segment; None for all."""
        parameters = self.parameters
        if parameters.part is Part.WHOLE:
            return None
        if parameters.part is Part.RANGE:
            return parameters.sliceRange.minimum, parameters.sliceRange.maximum
        position = shown_position(parameters.inputVolume)
        return position, position

    def _fit_range(self) -> None:
        """Let the range end where the CT ends; another CT starts with all of it."""
        volume = self.parameters.inputVolume
        if volume is None or volume.GetImageData() is None:
            return
        low, high = axial_limits(volume)
        # the widget rounds to hundredths, and no slice may fall out by that
        limits = (volume.GetID(), floor(low * 100) / 100, ceil(high * 100) / 100)
        widget = self.ui.rangeWidget
        if limits == self._limits and widget.maximum < FARTHEST:  # binding the panel anew gives it the widest range
            return
        widget.setRange(*limits[1:])
        if self._limits is not None and self._limits[0] != limits[0]:
            widget.setValues(*limits[1:])
        self._limits = limits

    def _export(self, _checked: bool = False) -> None:
        node = self.parameters.segmentation
        filters = ";;".join(f"{title} (*{ending})" for title, ending in FORMATS.items())
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), "Export segmentation", f"{node.GetName()}.seg.nrrd", filters
        )
        if not path:
            return
        try:
            # the file dialog has asked whether an existing file shall be replaced
            export_segmentation(node, Path(path), overwrite=True)
        except SpineSegError as error:
            slicer.util.errorDisplay(str(error), windowTitle="SpineSeg")
        else:
            self.ui.statusLabel.text = f"Exported to {Path(path).name}."
