"""The panel that compares with a reference: metrics, slices and charts, each slice a click away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import slicer
from trame.widgets.html import Div, Tbody, Td, Th, Thead, Tr
from trame.widgets.vuetify3 import VDivider, VTable
from trame_server.utils.typed_state import TypedState

from SpineSegLib.scene import comparison_nodes
from SpineSegLib.scene.compare_run import CompareRun
from SpineSegLib.web.chart import Series, chart, draw_chart
from SpineSegLib.web.widgets import (
    choice,
    download_button,
    heading,
    hint,
    icon_button,
    job,
    number,
    number_field,
    switch,
)

if TYPE_CHECKING:
    from SpineSegLib.web.page import Page

TOLERANCE = 0.1, 10.0  # mm
ALL = {"title": "All segments", "value": ""}
BLUE, GREY, RED = "#3f8ae0", "#888888", "#d0524a"


@dataclass
class CompareState:
    """`segment`, `reference_segment`: IDs, empty for all. `rows` of the table of metrics below `heads`. `shown`: index
    of the slice last jumped to; `worst`: which of the worst slices that is, of `differing`."""

    ready: bool = False
    segments: list[dict[str, str]] = field(default_factory=lambda: [ALL])
    segment: str = ""
    reference_segments: list[dict[str, str]] = field(default_factory=lambda: [ALL])
    reference_segment: str = ""
    tolerance: float = 1.0
    compared: bool = False
    dice_all: str = ""
    heads: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    dice: dict[str, Any] | None = None
    agreement: dict[str, Any] | None = None
    shown: int = -1
    worst: int = -1
    differing: int = 0
    slice_text: str = ""
    differences: bool = False


class ComparePanel:
    """Drives `scene.compare_run.CompareRun`, as the panel in Slicer does."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.state = TypedState(page.server.state, CompareState)
        self.state.bind_changes({self.state.name.differences: self._show_differences})
        self.result: dict[str, Any] | None = None
        self._difference: slicer.vtkMRMLSegmentationNode | None = None
        self._opened: tuple[Any, Any] = (None, None)
        page.workspace.changed.append(self._fit)

    def draw(self) -> None:
        """Draw the panel."""
        names, runner = self.state.name, self.page.runner
        self.page.open.draw_reference()
        with Div(v_if=(names.ready,)):
            choice(names.segment, names.segments, "Segment")
            choice(names.reference_segment, names.reference_segments, "Segment of the reference")
            number_field(names.tolerance, "Tolerance of the surface Dice (mm)", *TOLERANCE, 0.1)
        job(runner.names, "compare", "Compare", names.ready, self._compare, runner.cancel)
        with Div(v_if=(names.compared,)):
            Div(f"Dice {{{{ {names.dice_all} }}}}", classes="text-h6 mt-2")
            with Div(classes="d-flex align-center ga-1 mt-2"):
                self._worst_button("mdi-chevron-left", "Slice that differs more", -1, f"{names.worst} <= 0")
                title = "Slice that differs most, then the next"
                self._worst_button("mdi-chevron-right", title, 1, f"{names.worst} + 1 >= {names.differing}")
                hint(f"{{{{ {names.slice_text} }}}}", live=True)
            switch(names.differences, "Show what differs")
            for title, points in (("Dice by slice", names.dice), ("Bland-Altman: area per slice", names.agreement)):
                heading(title)
                draw_chart(points, f"{title}; click or arrow keys show a slice", self._jump, names.shown)
            VDivider(classes="my-2")
            with VTable(density="compact", classes="spineseg-table"):
                with Thead(), Tr():
                    Th("{{ head }}", v_for=f"head in {names.heads}", key="head")
                with Tbody(), Tr(v_for=f"(row, i) in {names.rows}", key="i"):
                    Td("{{ cell }}", v_for="(cell, n) in row", key="n")
            download_button("Report", "report.zip", classes="mt-3")

    def _worst_button(self, icon: str, title: str, step: int, disabled: str) -> None:
        icon_button(icon, title, disabled=(disabled,), click=lambda: self._show_worst(self.state.data.worst + step))

    def _fit(self) -> None:
        data, workspace = self.state.data, self.page.workspace
        data.ready = workspace.segmented and workspace.reference is not None
        data.segments, data.segment = _segments(workspace.segmentation, data.segment)
        data.reference_segments, data.reference_segment = _segments(workspace.reference, data.reference_segment)
        if (workspace.ct, workspace.reference) != self._opened:
            self._opened = (workspace.ct, workspace.reference)
            self._show_differences(False)
            self.result = self._difference = None
            data.compared = data.differences = False

    def _compare(self) -> None:
        runner = self.page.runner
        runner.start(
            "compare",
            self._begin,
            lambda run: (100 * run.done / run.of, "Comparing..." if run.running else run.message),
            self._show,
        )

    def _begin(self) -> CompareRun:
        data, workspace = self.state.data, self.page.workspace
        return CompareRun(
            workspace.worker,
            workspace.segmentation,
            workspace.reference,
            prediction_segment=_segments(workspace.segmentation, data.segment)[1],
            reference_segment=_segments(workspace.reference, data.reference_segment)[1],
            tolerance_mm=number(data.tolerance, "The tolerance", *TOLERANCE),
        )

    def _show(self, run: CompareRun) -> None:
        if run.state != "finished":
            return
        data, result = self.state.data, run.result
        self.result = result
        columns = [("All", result["metrics"])] + [(s["key"].capitalize(), s["metrics"]) for s in result["structures"]]
        data.dice_all = _shown(result["metrics"]["dice"])
        data.heads = ["", *(name for name, _ in columns)]
        data.rows = [
            [f"{name} ({unit})" if unit else name, *(_shown(metrics.get(key)) for _, metrics in columns)]
            for key, name, unit in comparison_nodes.METRICS
        ]
        self._draw_charts(result)
        data.shown, data.worst, data.differing = -1, -1, len(result["worst_slices"])
        data.slice_text = f"{data.differing} slices differ" if data.differing else "No slice differs"
        if run.difference is not None:
            self._difference = comparison_nodes.difference_segmentation(run.difference)
            self._difference.GetDisplayNode().SetVisibility(False)
        data.differences, data.compared = False, True
        if result["notes"]:
            self.page.frame.say(" ".join(f"{note[:1].upper()}{note[1:]}." for note in result["notes"]))

    def _draw_charts(self, result: dict[str, Any]) -> None:
        slices = result["slices"]
        titles = [f"S {row['position_mm']:.1f} mm, Dice {_shown(row['dice'])}" for row in slices]
        dice = [(row["position_mm"], row["dice"] or 0.0) for row in slices]
        self.state.data.dice = chart("S (mm)", "Dice", [Series(dice, BLUE, line=True, titles=titles)])
        areas = [(row["area_mm2"], row["reference_area_mm2"]) for row in slices]
        points = [((own + drawn) / 2, own - drawn) for own, drawn in areas]
        agreement = result["bland_altman"]["mm2"]
        levels = [
            (agreement[key], f"{name} {agreement[key]:.0f}", colour)
            for key, name, colour in (
                ("bias", "bias", GREY),
                ("lower", "-1.96 SD", RED),
                ("upper", "+1.96 SD", RED),
            )
            if agreement[key] is not None
        ]
        self.state.data.agreement = chart(
            "Mean area (mm²)", "Difference (mm²)", [Series(points, BLUE, titles=titles)], levels
        )

    def _jump(self, index: int) -> None:
        """Show a slice; points of both charts are in the order of the slices."""
        data, slices = self.state.data, self.result["slices"]
        data.shown = min(max(int(index), 0), len(slices) - 1)
        row = slices[data.shown]
        comparison_nodes.jump_to(row["focus"])
        data.slice_text = (
            f"S {row['position_mm']:.1f} mm: Dice {_shown(row['dice'])}, {row['false_negatives']} pixels missed,"
            f" {row['false_positives']} extra"
        )

    def _show_worst(self, place: int) -> None:
        data = self.state.data
        data.worst = min(max(place, 0), data.differing - 1)
        wanted = self.result["worst_slices"][data.worst]
        self._jump(next(n for n, row in enumerate(self.result["slices"]) if row["index"] == wanted))
        data.slice_text = f"{data.worst + 1} of {data.differing}, {data.slice_text}"

    def _show_differences(self, shown: bool) -> None:
        if self._difference is not None and self._difference.GetScene() is not None:  # else it went with its CT
            self._difference.GetDisplayNode().SetVisibility(shown)


def _shown(value: float | None) -> str:
    """A number of a table."""
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _segments(node: slicer.vtkMRMLSegmentationNode | None, chosen: str) -> tuple[list[dict[str, str]], str]:
    """The segments that can be chosen, and the chosen one where it is among them, else all."""
    segmentation = None if node is None else node.GetSegmentation()
    ids = segmentation.GetSegmentIDs() if segmentation is not None else []
    items = [ALL, *({"title": segmentation.GetSegment(each).GetName(), "value": each} for each in ids)]
    return items, chosen if chosen in ids else ""
