"""Section Correct: the Segment Editor on the right segment, the slices most worth checking, and the training set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.engine.training.training_set import CaseInfo, TrainingSet
from SpineSegLib.panel.parameters import SpineSegParameterNode
from SpineSegLib.panel.slice_views import shown_position
from SpineSegLib.scene import review
from SpineSegLib.scene.segmentations import drawn_on_another
from SpineSegLib.scene.submission import SubmitRun

STEP_MS = 50
BONE_HU = 150, 3000  # where painting is allowed while it is limited to bone
_CHOOSE = "Select a case in the table first."
COLUMNS = ("Case", "Patient", "Used for", "Slices", "Locked")


class CorrectSection:
    """`logic`: the module's, which has the worker; `busy` tells whether anything is under way in the panel; `changed`
    is called when a case was stored or removed."""

    def __init__(self, ui: Any, logic: Any, busy: Callable[[], bool], changed: Callable[[], None]) -> None:
        self.ui = ui
        self.parameters: SpineSegParameterNode | None = None
        self.run: SubmitRun | None = None
        self.cases: list[CaseInfo] = []
        self._logic = logic
        self._busy = busy
        self._changed = changed
        self._listed: tuple[str, float] | None = None  # which state of which file the table shows
        self._identity: str | None = None  # of that training set
        self._timer = qt.QTimer()
        self._timer.setInterval(STEP_MS)
        self._timer.connect("timeout()", self._step)
        ui.editButton.connect("clicked(bool)", self._edit)
        ui.nextSliceButton.connect("clicked(bool)", self._next_slice)
        ui.checkedButton.connect("clicked(bool)", self._mark_checked)
        ui.completedButton.connect("clicked(bool)", self._mark_completed)
        ui.submitSelector.addItem("Whole volume")
        ui.submitSelector.addItem("Checked slices only")
        ui.submitButton.connect("clicked(bool)", self._submit)
        ui.removeCaseButton.connect("clicked(bool)", self._remove)
        ui.lockCaseButton.connect("clicked(bool)", self._lock)
        ui.casesTable.setColumnCount(len(COLUMNS))
        ui.casesTable.setHorizontalHeaderLabels(list(COLUMNS))
        ui.casesTable.connect("itemSelectionChanged()", self._update_case_buttons)
        self._update_case_buttons()

    @property
    def running(self) -> bool:
        """Whether a case is being stored."""
        return self.run is not None and self.run.running

    def update(self) -> None:
        """Show what the parameter node says and what can be done."""
        ui, node = self.ui, self.parameters.segmentation
        empty = node is None or node.GetSegmentation().GetNumberOfSegments() == 0
        lacking = "Segment first, or choose a segmentation." if empty else ""
        ui.editButton.enabled = not empty
        ui.editButton.toolTip = lacking or "Open the Segment Editor on this segmentation and its CT."
        ui.completedButton.enabled = not empty
        ui.completedButton.toolTip = lacking or "Give all its segments the status Completed."
        known = 0 if empty else review.slices_known(node)
        coming = None if not known else review.next_to_check(node)
        ui.nextSliceButton.enabled = coming is not None
        ui.nextSliceButton.toolTip = (
            lacking
            or ("" if known else "Segment with SpineSeg first: the network tells where it is unsure.")
            or ("Show the slice the network is least sure of." if coming else "All slices are checked.")
        )
        ui.checkedButton.enabled = bool(known) and self.parameters.inputVolume is not None
        ui.checkedButton.toolTip = (
            ui.nextSliceButton.toolTip
            if not known
            else "Mark the shown slice as checked."
            if ui.checkedButton.enabled
            else "Choose the CT whose slices are shown."
        )
        if known:
            ui.checkedLabel.text = f"{len(review.checked_positions(node))} of {known} slices checked"
        else:
            ui.checkedLabel.text = ""
        problem = self._submit_problem(empty)
        ui.submitButton.enabled = problem is None
        ui.submitButton.toolTip = problem or "Store the CT and the corrected segments in the training set."
        self._list_cases()

    def stop(self) -> None:
        """Forget a submission under way: it is stored or not, the file is whole in any case."""
        if self.running:
            self.run.cancel()
        self._timer.stop()
        self.run = None

    def _edit(self, _checked: bool = False) -> None:
        parameters = self.parameters
        segmentation = parameters.segmentation.GetSegmentation()
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        ids = segmentation.GetSegmentIDs()
        left = [each for each in ids if logic.GetSegmentStatus(segmentation.GetSegment(each)) != logic.Completed]
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(parameters.segmentation)
        editor.setSourceVolumeNode(parameters.inputVolume)
        editor.setCurrentSegmentID((left or ids)[0])
        for each in left[:1]:
            logic.SetSegmentStatus(segmentation.GetSegment(each), logic.InProgress)
        settings = editor.mrmlSegmentEditorNode()
        settings.SetSourceVolumeIntensityMask(self.ui.boneCheckBox.checked)
        settings.SetSourceVolumeIntensityMaskRange(*BONE_HU)
        editor.setActiveEffectByName("Paint")

    def _next_slice(self, _checked: bool = False) -> None:
        self.ui.correctStatusLabel.text = review.show_next_to_check(
            self.parameters.segmentation, self.parameters.inputVolume
        )

    def _mark_checked(self, _checked: bool = False) -> None:
        marked = review.mark_checked(self.parameters.segmentation, shown_position(self.parameters.inputVolume))
        self.ui.correctStatusLabel.text = f"S {marked:.1f} mm is checked."
        self._changed()

    def _mark_completed(self, _checked: bool = False) -> None:
        segmentation = self.parameters.segmentation.GetSegmentation()
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        for segment_id in segmentation.GetSegmentIDs():
            logic.SetSegmentStatus(segmentation.GetSegment(segment_id), logic.Completed)
        self.ui.correctStatusLabel.text = "All segments are marked as completed."

    def _submit_problem(self, empty: bool) -> str | None:
        if empty or self.parameters.inputVolume is None:
            return "Choose the CT and its corrected segmentation."
        if not self._path().name:
            return "Choose the file of the training set, an existing or a new one."
        return "Wait until the computation that runs now is finished." if self._busy() else None

    def _submit(self, _checked: bool = False) -> None:
        node = self.parameters.segmentation
        only_checked = self.ui.submitSelector.currentIndex == 1
        if not self._volume_agreed() or not self._project_agreed():
            return
        try:
            self.run = SubmitRun(
                self._logic.worker,
                self.parameters.inputVolume,
                node,
                self._path(),
                review.checked_positions(node) if only_checked else None,
                self._identity,
            )
        except SpineSegError as error:
            self._fail(str(error))
            return
        self.ui.correctStatusLabel.text = "Storing the case..."
        self._timer.start()
        self._changed()

    def _volume_agreed(self) -> bool:
        """Whether the CT may be stored with this mask: one that was drawn on another CT is most likely a slip."""
        volume, node = self.parameters.inputVolume, self.parameters.segmentation
        if not drawn_on_another(node, volume):
            return True
        return slicer.util.confirmOkCancelDisplay(
            f"{node.GetName()} was drawn on another CT than {volume.GetName()}. Store it with this CT all the same?",
            "SpineSeg",
        )

    def _project_agreed(self) -> bool:
        """Whether cases of this scene may go to the chosen training set: a mistake there is hard to undo."""
        known = self.parameters.project
        if not known or self._identity in (None, known):
            return True
        return slicer.util.confirmOkCancelDisplay(
            "Cases of this scene went to the training set of another project so far. "
            f"Store this one in {self._path().name} all the same?",
            "SpineSeg",
        )

    def _step(self) -> None:
        try:
            self.run.step()
        except SpineSegError as error:
            self._timer.stop()
            self.run = None
            self._fail(str(error))
            return
        if self.run.running:
            return
        self._timer.stop()
        if self.run.state == "finished":
            result = self.run.result
            done = "replaced" if result["replaced"] else "stored"
            cases, patients = result["cases"], result["patients"]
            notes = "".join(f" Note: {note}." for note in self.run.notes)
            self.ui.correctStatusLabel.text = (
                f"{result['case']} {done}; the training set holds {cases} case{'s' * (cases != 1)} of {patients} "
                f"patient{'s' * (patients != 1)}.{notes}"
            )
            self.parameters.project = result["identity"]
            self._changed()
        else:
            self._changed()
            self._fail(self.run.message)

    def _list_cases(self) -> None:
        """Read the training set again where its file has changed."""
        path = self._path()
        state = (str(path), path.stat().st_mtime) if path.name and path.is_file() else None
        if state == self._listed:
            return
        self._listed, self.cases, self._identity = state, [], None
        if state is not None:
            try:
                training_set = TrainingSet(path)
                self.cases, self._identity = training_set.cases(), training_set.identity
            except SpineSegError as error:
                self.ui.correctStatusLabel.text = str(error)
        table = self.ui.casesTable
        table.setRowCount(len(self.cases))
        for row, case in enumerate(self.cases):
            texts = (case.case, case.patient[:8], case.side, str(case.slices), "yes" if case.locked else "")
            for column, text in enumerate(texts):
                table.setItem(row, column, qt.QTableWidgetItem(text))
        table.resizeColumnsToContents()
        self._update_case_buttons()

    def _update_case_buttons(self) -> None:
        chosen = self._chosen()
        self.ui.removeCaseButton.enabled = bool(chosen) and not any(case.locked for case in chosen)
        self.ui.lockCaseButton.enabled = bool(chosen)
        self.ui.lockCaseButton.text = "Unlock" if chosen and all(case.locked for case in chosen) else "Lock"
        self.ui.lockCaseButton.toolTip = "Locked cases can neither be removed nor replaced." if chosen else _CHOOSE
        self.ui.removeCaseButton.toolTip = (
            _CHOOSE
            if not chosen
            else "Take the selected cases out of the training set."
            if self.ui.removeCaseButton.enabled
            else "Unlock the case first."
        )

    def _chosen(self) -> list[CaseInfo]:
        rows = {index.row() for index in self.ui.casesTable.selectionModel().selectedRows()}
        return [self.cases[row] for row in sorted(rows) if row < len(self.cases)]

    def _remove(self, _checked: bool = False) -> None:
        names = [case.case for case in self._chosen()]
        if slicer.util.confirmOkCancelDisplay(
            f"Remove {', '.join(names)} from the training set? This can't be undone.", "SpineSeg"
        ):
            self._change(lambda training_set: training_set.remove(names))

    def _lock(self, _checked: bool = False) -> None:
        chosen = self._chosen()
        locked = not all(case.locked for case in chosen)
        self._change(lambda training_set: training_set.lock([case.case for case in chosen], locked))

    def _change(self, change: Callable[[TrainingSet], None]) -> None:
        try:
            change(TrainingSet(self._path()))
        except SpineSegError as error:
            self._fail(str(error))
        self._listed = None
        self._changed()

    def _path(self) -> Path:
        return self.parameters.trainingSet

    def _fail(self, sentence: str) -> None:
        self.ui.correctStatusLabel.text = sentence
        slicer.util.errorDisplay(sentence, windowTitle="SpineSeg")
