"""Section Compare: how well a segmentation agrees with a reference, and where it doesn't."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk

from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.panel.parameters import SpineSegParameterNode
from SpineSegLib.scene import comparison_nodes
from SpineSegLib.scene.compare_run import CompareRun

STEP_MS = 50
ALL = "All segments"


class CompareSection:
    """`logic`: the module's, which has the worker; `busy` tells whether anything is under way in the panel; `changed`
    is called when a comparison began or ended."""

    def __init__(self, ui: Any, logic: Any, busy: Callable[[], bool], changed: Callable[[], None]) -> None:
        self.ui = ui
        self.parameters: SpineSegParameterNode | None = None
        self.run: CompareRun | None = None
        self.result: dict[str, Any] | None = None
        self._logic = logic
        self._busy = busy
        self._changed = changed
        self._difference: slicer.vtkMRMLSegmentationNode | None = None  # that was shown last
        self._worst: list[int] = []
        self._shown = -1  # which of the worst slices the views show
        self._tables: list[slicer.vtkMRMLTableNode] = []
        self._order: list[int] = []  # the slices as the table shows them, from top to bottom
        self._sorted_by: tuple[str, bool] = ("position_mm", False)
        self._segments: dict[Any, list[tuple[str, str]]] = {}  # name and ID of those a selector offers
        self._timer = qt.QTimer()
        self._timer.setInterval(STEP_MS)
        self._timer.connect("timeout()", self._step)
        self._plot_view: Any = None  # where a click on a point jumps
        # the parameter node's own binding would offer only one kind of node
        ui.referenceSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._choose_reference)
        ui.compareButton.connect("clicked(bool)", self._compare_or_cancel)
        ui.tableSelector.addItem("Metrics")
        ui.tableSelector.addItem("Slices")
        ui.plotSelector.addItem("Dice by slice")
        ui.plotSelector.addItem("Bland-Altman")
        ui.tableSelector.connect("currentIndexChanged(int)", self._show_table)
        ui.comparisonTable.connect("clicked(QModelIndex)", self._jump_to_row)
        ui.comparisonTable.horizontalHeader().connect("sectionClicked(int)", self._sort)
        ui.previousWorstButton.connect("clicked(bool)", lambda _: self._show_worst(self._shown - 1))
        ui.nextWorstButton.connect("clicked(bool)", lambda _: self._show_worst(self._shown + 1))
        ui.differenceCheckBox.connect("toggled(bool)", self._show_difference)
        ui.plotsButton.connect("clicked(bool)", self._show_plots)
        ui.exportTablesButton.connect("clicked(bool)", self._export_tables)

    @property
    def running(self) -> bool:
        """Whether a comparison is under way."""
        return self.run is not None and self.run.running

    def update(self) -> None:
        """Show what the parameter node says and what can be done."""
        ui, parameters = self.ui, self.parameters
        ui.referenceSelector.setCurrentNode(parameters.reference)
        self._list_segments(ui.predictionSegmentSelector, parameters.comparedSegmentation)
        self._list_segments(ui.referenceSegmentSelector, parameters.reference)
        problem = self._problem()
        ui.compareButton.text = "Cancel" if self.running else "Compare"
        ui.compareButton.enabled = self.running or problem is None
        ui.compareButton.toolTip = "Stop comparing." if self.running else problem or "Compare the two."
        done = self.result is not None
        for widget, toolTip in (
            (ui.tableSelector, "Which table to show; in that of the slices, a click on a row jumps to the slice."),
            (ui.plotSelector, "Which plot to show; a click on a point jumps to the slice."),
            (ui.plotsButton, "Show the plot beside the slice views."),
            (ui.exportTablesButton, "Save both tables as files for spreadsheets."),
        ):
            widget.enabled = done
            widget.toolTip = toolTip if done else "Compare first."
        ui.comparisonTable.visible = done
        differs = done and self.run is not None and self.run.difference is not None
        for widget, enabled, toolTip in (
            (ui.differenceCheckBox, differs, "Show what only one of the two marks as coloured segments."),
            (ui.previousWorstButton, self._shown > 0, "Show the slice before in the order of error."),
            (ui.nextWorstButton, self._shown + 1 < len(self._worst), "Show the next slice in the order of error."),
        ):
            widget.enabled = done and enabled
            widget.toolTip = toolTip if done else "Compare first."

    def stop(self) -> None:
        """Forget the comparison; one under way is cancelled. The nodes of a finished one stay in the scene."""
        if self.running:
            self.run.cancel()
        self._timer.stop()
        self.run = self.result = None
        self._worst, self._shown, self._tables = [], -1, []
        self.ui.comparisonTable.setMRMLTableNode(None)

    def _choose_reference(self, node: Any) -> None:
        if self.parameters is not None:
            self.parameters.reference = node

    def _problem(self) -> str | None:
        parameters = self.parameters
        if parameters.comparedSegmentation is None:
            return "Choose the segmentation to compare."
        if parameters.reference is None:
            return "Choose the reference: a manual segmentation or a label map."
        if parameters.reference is parameters.comparedSegmentation and self._segment("prediction") == self._segment(
            "reference"
        ):
            return "Choose a reference that is not the segmentation itself."
        return "Wait until the computation that runs now is finished." if self._busy() else None

    def _compare_or_cancel(self, _checked: bool = False) -> None:
        if self.running:
            self.run.cancel()
            return
        if problem := self._problem():
            slicer.util.errorDisplay(problem, windowTitle="SpineSeg")
            return
        self.ui.differenceCheckBox.checked = False  # what the comparison before showed goes with it
        try:
            self.run = CompareRun(
                self._logic.worker,
                self.parameters.comparedSegmentation,
                self.parameters.reference,
                prediction_segment=self._segment("prediction"),
                reference_segment=self._segment("reference"),
                tolerance_mm=self.parameters.tolerance,
            )
        except SpineSegError as error:
            slicer.util.errorDisplay(str(error), windowTitle="SpineSeg")
            return
        self.result = None
        self.ui.compareStatusLabel.text = "Comparing..."
        self._timer.start()
        self._changed()

    def _step(self) -> None:
        self.run.step()
        if self.run.running:
            self.ui.compareStatusLabel.text = f"Comparing... {100 * self.run.done // self.run.of} %"
            return
        self._timer.stop()
        if self.run.state == "finished":
            self._show_result(self.run.result)
        else:
            self.ui.compareStatusLabel.text = self.run.message or "The comparison was cancelled."
            if self.run.state == "failed":
                slicer.util.errorDisplay(self.run.message, windowTitle="SpineSeg")
        self._changed()

    def _show_result(self, result: dict[str, Any]) -> None:
        self.result = result
        self._order = list(range(len(result["slices"])))
        self._tables = [comparison_nodes.metrics_table(result), comparison_nodes.slices_table(result, self._order)]
        self._show_table(self.ui.tableSelector.currentIndex)
        positions = {row["index"]: n for n, row in enumerate(result["slices"])}
        self._worst = [positions[index] for index in result["worst_slices"]]
        self._shown = -1
        dice = result["metrics"]["dice"]
        said = "Nothing to compare" if dice is None else f"Dice {dice:.3f}"
        self.ui.compareStatusLabel.text = ". ".join([said, *(n[:1].upper() + n[1:] for n in result["notes"])]) + "."
        self.ui.worstLabel.text = f"{len(self._worst)} slices differ" if self._worst else "No slice differs"

    def _show_table(self, index: int) -> None:
        if self._tables and index >= 0:
            self.ui.comparisonTable.setMRMLTableNode(self._tables[index])

    def _sort(self, column: int) -> None:
        """A click on a column's head sorts the slices by it, a second one the other way round."""
        if self.ui.tableSelector.currentIndex != 1 or self.result is None:
            return
        key = comparison_nodes.SLICE_COLUMNS[column][0]
        self._sorted_by = (key, self._sorted_by == (key, False))
        self._order.sort(key=lambda n: self.result["slices"][n][key], reverse=self._sorted_by[1])
        comparison_nodes.slices_table(self.result, self._order)

    def _jump_to_row(self, model_index: Any) -> None:
        if self.ui.tableSelector.currentIndex == 1:
            comparison_nodes.jump_to(self.result["slices"][self._order[model_index.row()]]["focus"])

    def _show_worst(self, n: int) -> None:
        self._shown = n
        row = self.result["slices"][self._worst[n]]
        comparison_nodes.jump_to(row["focus"])
        self.ui.worstLabel.text = (
            f"{n + 1} of {len(self._worst)}: S {row['position_mm']:.1f} mm, Dice {row['dice']:.2f}, "
            f"{row['false_negatives']} missed, {row['false_positives']} extra"
        )
        self._changed()

    def _show_difference(self, shown: bool) -> None:
        if shown:
            self._difference = comparison_nodes.difference_segmentation(self.run.difference)
        if self._difference is not None and self._difference.GetScene() is not None:
            self._difference.GetDisplayNode().SetVisibility(shown)

    def _show_plots(self, _checked: bool = False) -> None:
        charts = [
            comparison_nodes.dice_chart(self.result),
            comparison_nodes.bland_altman_chart(self.result),
        ]
        slicer.modules.plots.logic().ShowChartInLayout(charts[self.ui.plotSelector.currentIndex])
        view = slicer.app.layoutManager().plotWidget(0).plotView()
        # by itself the view only pans, and selects no more than what a box is drawn around
        view.chart().SetClickActionToButton(vtk.vtkChart.SELECT, vtk.vtkContextMouseEvent.LEFT_BUTTON)
        if self._plot_view is not view:
            self._plot_view = view
            view.connect("dataSelected(vtkStringArray*,vtkCollection*)", self._jump_to_point)

    def _jump_to_point(self, series: Any, selections: Any) -> None:
        """Points are in the order of the slices, in the series that have a point for each."""
        if self.result is None:
            return
        for n in range(series.GetNumberOfValues()):
            if comparison_nodes.has_slices(series.GetValue(n)):
                index = selections.GetItemAsObject(n).GetValue(0)
                comparison_nodes.jump_to(self.result["slices"][index]["focus"])
                return

    def _export_tables(self, _checked: bool = False) -> None:
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), "Export comparison", "comparison.csv", "Comma-separated values (*.csv)"
        )
        if not path:
            return
        target = Path(path)
        files = (target, target.with_name(f"{target.stem}-slices.csv"))
        try:
            for table, file in zip(self._tables, files, strict=True):
                _write_csv(table, file)
        except OSError as error:
            slicer.util.errorDisplay(
                f"The tables could not be written ({error.strerror}); choose another place.", windowTitle="SpineSeg"
            )
        else:
            self.ui.compareStatusLabel.text = f"Exported to {files[0].name} and {files[1].name}."

    def _list_segments(self, selector: Any, node: Any) -> None:
        """Let the user choose one of the node's segments, or all."""
        segments = [(ALL, "")]
        if node is not None and node.IsA("vtkMRMLSegmentationNode"):
            segmentation = node.GetSegmentation()
            segments += [(segmentation.GetSegment(each).GetName(), each) for each in segmentation.GetSegmentIDs()]
        if self._segments.get(selector) != segments:
            chosen = self._id_in(selector)
            self._segments[selector] = segments
            selector.clear()
            for name, _ in segments:
                selector.addItem(name)
            selector.setCurrentIndex(next((n for n, (_, each) in enumerate(segments) if each == chosen), 0))
        selector.enabled = len(segments) > 1

    def _segment(self, which: str) -> str:
        return self._id_in(getattr(self.ui, f"{which}SegmentSelector"))

    def _id_in(self, selector: Any) -> str:
        index = selector.currentIndex
        return self._segments[selector][index][1] if index > 0 else ""


def _write_csv(node: slicer.vtkMRMLTableNode, path: Path) -> None:
    """A table as the node holds it, its units in the first line."""
    table = node.GetTable()
    names = [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
    units = [node.GetColumnUnitLabel(name) for name in names]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([f"{name} ({unit})" if unit else name for name, unit in zip(names, units, strict=True)])
        for row in range(table.GetNumberOfRows()):
            writer.writerow([table.GetValue(row, column).ToString() for column in range(len(names))])
