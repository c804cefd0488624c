"""The panel that compares with a reference: metrics, slices and charts, each slice a click away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import slicer
from trame.widgets.html import Div, Tbody, Td, Th, Thead, Tr
from trame.widgets.vuetify3 import VBtn, VDivider, VSwitch, VTable
from trame_server.utils.typed_state import TypedState

from SpineSegLib.scene import comparison_nodes
from SpineSegLib.scene.compare_run import CompareRun
from SpineSegLib.web.chart import Series, chart, draw_chart
from SpineSegLib.web.widgets import draw_job

if TYPE_CHECKING:
    from SpineSegLib.web.page import Page

BLUE, GREY, RED = "#3f8ae0", "#888888", "#d0524a"


@dataclass
class CompareState:
    """`rows` of the table of metrics below `heads`; `worst`: which of the worst slices is shown, of `differing`."""

    ready: bool = False
    compared: bool = False
    dice_all: str = ""
    heads: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    dice: dict[str, Any] | None = None
    agreement: dict[str, Any] | None = None
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
        names = self.state.name
        self.page.open.draw_reference()
        draw_job(self.page.runner.names, "compare", "Compare", names.ready, self._compare, self.page.runner.cancel)
        with Div(v_if=(names.compared,)):
            Div(f"Dice {{{{ {names.dice_all} }}}}", classes="text-h6 mt-2")
            with Div(classes="d-flex align-center ga-1 mt-2"):
                self._step_button("mdi-chevron-left", "Slice that differs more", -1, f"{names.worst} <= 0")
                self._step_button(
                    "mdi-chevron-right",
                    "Slice that differs most, then the next",
                    1,
                    f"{names.worst} + 1 >= {names.differing}",
                )
                Div(f"{{{{ {names.slice_text} }}}}", classes="spineseg-hint", raw_attrs=["role='status'"])
            VSwitch(
                v_model=(names.differences,),
                label="Show what differs",
                density="compact",
                hide_details=True,
                color="primary",
            )
            Div("Dice by slice", classes="text-subtitle-2 mt-2")
            draw_chart(names.dice, "Dice by slice; a click shows the slice", self._jump)
            Div("Bland-Altman: area per slice", classes="text-subtitle-2 mt-2")
            draw_chart(names.agreement, "Bland-Altman; a click shows the slice", self._jump)
            VDivider(classes="my-2")
            with VTable(density="compact", classes="spineseg-table"):
                with Thead(), Tr():
                    Th("{{ head }}", v_for=f"head in {names.heads}", key="head")
                with Tbody(), Tr(v_for=f"(row, i) in {names.rows}", key="i"):
                    Td("{{ cell }}", v_for="(cell, n) in row", key="n")
            VBtn(
                "Report",
                prepend_icon="mdi-download",
                variant="tonal",
                size="small",
                classes="mt-3",
                href="download/report.zip",
                raw_attrs=['download="report.zip"'],
            )

    def _step_button(self, icon: str, title: str, step: int, disabled: str) -> None:
        VBtn(
            icon=icon,
            variant="text",
            size="small",
            title=title,
            disabled=(disabled,),
            click=lambda: self._show_worst(self.state.data.worst + step),
        )

    def _fit(self) -> None:
        workspace = self.page.workspace
        self.state.data.ready = workspace.segmented and workspace.reference is not None
        if (workspace.ct, workspace.reference) != self._opened:
            self._opened = (workspace.ct, workspace.reference)
            self.result = self._difference = None
            self.state.data.compared = self.state.data.differences = False

    def _compare(self) -> None:
        workspace = self.page.workspace
        self.page.runner.start(
            "compare",
            lambda: CompareRun(workspace.worker, workspace.segmentation, workspace.reference),
            lambda run: (100 * run.done / run.of, "Comparing..." if run.running else run.message),
            self._show,
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
        data.worst, data.differing = -1, len(result["worst_slices"])
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
        row = self.result["slices"][int(index)]
        comparison_nodes.jump_to(row["focus"])
        self.state.data.slice_text = (
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
        if self._difference is not None:
            self._difference.GetDisplayNode().SetVisibility(shown)


def _shown(value: float | None) -> str:
    """A number of a table."""
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
