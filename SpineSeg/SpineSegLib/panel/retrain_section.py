"""Section Re-train: a new version of the model from the training set, and the versions there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer

from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.engine.training.training_set import TrainingSet
from SpineSegLib.panel import installation
from SpineSegLib.panel.input_section import InputSection
from SpineSegLib.panel.parameters import SpineSegParameterNode
from SpineSegLib.scene.retrain_run import RetrainRun

if TYPE_CHECKING:
    from SpineSegLib.engine.models.model_catalogue import Version

STEP_MS = 100
_CHOOSE = "Select a version in the table first."
COLUMNS = ("Model", "Version", "From", "Dice", "Current")


class RetrainSection:
    """`chosen`: the section that knows the model; `logic`: the module's; `busy` tells whether anything is under way in
    the panel; `changed` is called when versions changed."""

    def __init__(
        self, ui: Any, chosen: InputSection, logic: Any, busy: Callable[[], bool], changed: Callable[[], None]
    ) -> None:
        self.ui = ui
        self.chosen = chosen
        self.parameters: SpineSegParameterNode | None = None
        self.run: RetrainRun | None = None
        self.versions: list[Version] = []
        self._logic = logic
        self._busy = busy
        self._changed = changed
        self._planned: tuple | None = None
        self._problem: str | None = None
        self._offer: str | None = None
        self._epochs_shown = 0
        self._timer = qt.QTimer()
        self._timer.setInterval(STEP_MS)
        self._timer.connect("timeout()", self._step)
        ui.retrainButton.connect("clicked(bool)", self._retrain_or_cancel)
        ui.versionsTable.setColumnCount(len(COLUMNS))
        ui.versionsTable.setHorizontalHeaderLabels(list(COLUMNS))
        ui.versionsTable.connect("itemSelectionChanged()", self._update_version_buttons)
        ui.makeCurrentButton.connect("clicked(bool)", self._make_current)
        ui.renameVersionButton.connect("clicked(bool)", self._rename)
        ui.exportVersionButton.connect("clicked(bool)", self._export)
        ui.deleteVersionButton.connect("clicked(bool)", self._delete)
        self.find_versions()

    @property
    def running(self) -> bool:
        """Whether the worker trains."""
        return self.run is not None and self.run.running

    def find_versions(self) -> None:
        """Read which versions there are."""
        self.versions = []
        if not self.chosen.lacking:
            from SpineSegLib.engine.models.model_catalogue import lineage

            self.versions = lineage()
        table = self.ui.versionsTable
        table.setRowCount(len(self.versions))
        for row, version in enumerate(self.versions):
            info = version.model.info
            dice = None if info is None else info.metrics.get("validation_dice")
            texts = (
                "    " * version.depth + version.model.name,
                "" if info is None else str(info.version),
                version.parent or "",
                "" if dice is None else f"{dice:.3f}",
                "yes" if version.current else "",
            )
            for column, text in enumerate(texts):
                table.setItem(row, column, qt.QTableWidgetItem(text))
        table.resizeColumnsToContents()
        self._update_version_buttons()

    def update(self) -> None:
        """Show what can be done with the training set and the chosen model."""
        if not self.versions and not self.chosen.lacking:
            self.find_versions()  # what reads models was installed meanwhile
        self._plan()
        ui = self.ui
        problem = "Wait until the computation that runs now is finished." if self._busy() else self._problem
        possible = problem is None or (self._offer is not None and not self._busy())
        ui.retrainButton.text = "Cancel" if self.running else "Re-train"
        ui.retrainButton.enabled = self.running or possible
        ui.retrainButton.toolTip = (
            "Stop, and keep the best so far." if self.running else problem or "Make a new version of the model."
        )
        ui.retrainProgressBar.visible = self.running

    def stop(self) -> None:
        """Forget a run under way: the worker is told to stop. The same re-training goes on from its last epoch."""
        if self.running:
            self.run.cancel()
        self._timer.stop()
        self.run = None

    def _plan(self) -> None:
        """Ask the engine what re-training with this set and this model would be; only where one of them has changed."""
        path = self.parameters.trainingSet
        problem = self.chosen.model_problem()
        if self.chosen.lacking:
            problem = "Install what is missing first, in the section Input."
        elif not path.name or not path.is_file():
            problem = "Submit corrected cases to a training set first, in the section Correct."
        if problem:
            self._planned, self._offer, self._problem = None, None, problem
            self.ui.planLabel.text = problem
            return
        state = (str(path), path.stat().st_mtime, self.parameters.model)
        if state == self._planned:
            return
        self._planned = state
        from SpineSegLib.engine.training.retraining import plan

        try:
            planned = plan(TrainingSet(path), self.chosen.model().info)
        except SpineSegError as error:
            self._problem, self._offer, sentences = str(error), None, (str(error),)
        else:
            self._problem, self._offer = planned.problem, planned.offer
            sentences = [*planned.sentences, *(text for text in (planned.problem, planned.offer) if text)]
        self.ui.planLabel.text = " ".join(sentences)

    def _retrain_or_cancel(self, _checked: bool = False) -> None:
        if self.running:
            self.run.cancel()
            return
        without_validation = False
        if self._problem is not None:
            if not slicer.util.confirmOkCancelDisplay(f"{self._problem} {self._offer}", "SpineSeg"):
                return
            without_validation = True
        if not installation.ask_to_install(installation.kit_for("train"), "Re-training"):
            return
        parameters = self.parameters
        self.run = RetrainRun(
            self._logic.worker,
            parameters.trainingSet,
            self.chosen.model().path,
            device=parameters.device.value,
            without_validation=without_validation,
            epochs=parameters.epochs,
        )
        self._epochs_shown = 0
        self.ui.retrainProgressBar.setRange(0, 0)
        self._timer.start()
        self._changed()

    def _step(self) -> None:
        run, ui = self.run, self.ui
        try:
            run.step()
        except SpineSegError as error:
            slicer.util.errorDisplay(str(error), windowTitle="SpineSeg")
        ui.retrainStatusLabel.text = run.said
        if len(run.epochs) > self._epochs_shown:
            first = self._epochs_shown == 0
            self._epochs_shown = len(run.epochs)
            ui.retrainProgressBar.setRange(0, run.epochs[-1]["epochs"])
            ui.retrainProgressBar.value = run.epochs[-1]["epoch"]
            chart = run.show_curve()
            if first:
                slicer.modules.plots.logic().ShowChartInLayout(chart)
        if run.running:
            return
        self._timer.stop()
        ui.retrainStatusLabel.text = run.result.get("sentence") or run.message or "Re-training was cancelled."
        self.chosen.find_models()
        self.find_versions()
        if run.result.get("made_current") and self.parameters is not None:
            self.parameters.model = run.result["name"]
        self._changed()
        if run.state == "failed":
            slicer.util.errorDisplay(run.message, windowTitle="SpineSeg")

    def _update_version_buttons(self) -> None:
        version = self._selected()
        usable = version is not None and version.model.info is not None
        own = version is not None and not version.model.shipped
        ui = self.ui
        ui.makeCurrentButton.enabled = usable and not version.current
        ui.exportVersionButton.enabled = usable
        ui.renameVersionButton.enabled = own
        ui.deleteVersionButton.enabled = own
        for button in (ui.renameVersionButton, ui.deleteVersionButton):
            button.toolTip = (
                "" if own else _CHOOSE if version is None else "Models that come with SpineSeg stay as they are."
            )
        ui.makeCurrentButton.toolTip = _CHOOSE if version is None else "Make the selected version the current one."
        ui.exportVersionButton.toolTip = _CHOOSE if version is None else "Save a copy of the model file."

    def _selected(self) -> Version | None:
        rows = [index.row() for index in self.ui.versionsTable.selectionModel().selectedRows()]
        return self.versions[rows[0]] if rows and rows[0] < len(self.versions) else None

    def _make_current(self, _checked: bool = False) -> None:
        from SpineSegLib.engine.models.model_catalogue import make_current

        name = self._selected().model.name
        if self._try(lambda: make_current(name)):
            self.parameters.model = name

    def _rename(self, _checked: bool = False) -> None:
        from SpineSegLib.engine.models.model_catalogue import rename_model

        old = self._selected().model.name
        new = qt.QInputDialog.getText(
            slicer.util.mainWindow(), "SpineSeg", f"New name of {old}:", qt.QLineEdit.Normal, old
        )
        if new and new != old and self._try(lambda: rename_model(old, new)) and self.parameters.model == old:
            self.parameters.model = new

    def _export(self, _checked: bool = False) -> None:
        from SpineSegLib.engine.models.model_catalogue import export_model

        name = self._selected().model.name
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), "Export model", f"{name}.weights.h5", "Model (*.weights.h5)"
        )
        if path and self._try(lambda: export_model(name, Path(path))):
            self.ui.retrainStatusLabel.text = f"Exported to {Path(path).name}."

    def _delete(self, _checked: bool = False) -> None:
        from SpineSegLib.engine.models.model_catalogue import delete_model

        version = self._selected()
        heirs = ", ".join(version.children)
        children = f" It is the parent of {heirs}, which will be without one." if heirs else ""
        question = f"Delete the model {version.model.name}?{children} This can't be undone."
        if slicer.util.confirmOkCancelDisplay(question, "SpineSeg"):
            self._try(lambda: delete_model(version.model.name, even_parent=True))

    def _try(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except SpineSegError as error:
            slicer.util.errorDisplay(str(error), windowTitle="SpineSeg")
            return False
        self.chosen.find_models()
        self.find_versions()
        self._changed()
        return True
