"""The panel that segments: which model and part, progress with Cancel."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trame.widgets.vuetify3 import VAlert, VRadio, VRadioGroup, VRangeSlider, VSelect, VSwitch
from trame_server.utils.typed_state import TypedState

from SpineSegLib.engine.errors import ModelError
from SpineSegLib.engine.models.model_catalogue import find_models, resolve_model
from SpineSegLib.scene.segment_run import SegmentRun
from SpineSegLib.scene.volumes import axial_limits, axial_position, ct_problem
from SpineSegLib.web.widgets import draw_job

if TYPE_CHECKING:
    from SpineSegLib.web.page import Page


@dataclass
class SegmentState:
    """What the panel shows. `span`: chosen slices, mm from the feet, within `limits`."""

    models: list[str] = field(default_factory=list)
    model: str = ""
    part: str = "whole"
    span: list[float] = field(default_factory=lambda: [0.0, 1.0])
    limits: list[float] = field(default_factory=lambda: [0.0, 1.0])
    postprocess: bool = True
    surfaces: bool = False
    problem: str = ""
    can_segment: bool = False
    segmented: bool = False


class SegmentPanel:
    """Drives `scene.segment_run.SegmentRun`, as the panel in Slicer does."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.state = TypedState(page.server.state, SegmentState)
        self.state.bind_changes({self.state.name.surfaces: self._show_surfaces})
        self.find_models()
        page.workspace.changed.append(self.update)

    def find_models(self) -> None:
        """Look for models anew: re-training may have made one. The current one is chosen."""
        data = self.state.data
        self._models = {model.name: model.path for model in find_models() if model.problem is None}
        data.models = list(self._models)
        now = resolve_model().name.removesuffix(".weights.h5")
        data.model = now if now in data.models else next(iter(data.models), "")

    def model(self) -> Path:
        """The file of the chosen model. What the browser says is not taken for a path. Raises ModelError."""
        path = self._models.get(self.state.data.model)
        if path is None:
            raise ModelError("This model is not on the server; choose another one.")
        return path

    def draw(self) -> None:
        """Draw the panel."""
        names, running = self.state.name, f"!!{self.page.runner.names.kind}"
        VSelect(
            v_model=(names.model,),
            items=(names.models,),
            label="Model",
            density="compact",
            hide_details=True,
            disabled=(running,),
        )
        with VRadioGroup(v_model=(names.part,), density="compact", hide_details=True, disabled=(running,)):
            VRadio(label="Whole volume", value="whole")
            VRadio(label="Slice shown in the axial view", value="current")
            VRadio(label="Slices from ... to ...", value="range")
        VRangeSlider(
            v_if=(f"{names.part} === 'range'",),
            v_model=(names.span,),
            min=(f"{names.limits}[0]",),
            max=(f"{names.limits}[1]",),
            step=1,
            thumb_label=True,
            density="compact",
            hide_details=True,
            disabled=(running,),
            raw_attrs=['aria-label="Slices, mm from the feet"'],
        )
        VSwitch(
            v_model=(names.postprocess,),
            label="Remove specks and fill holes",
            density="compact",
            hide_details=True,
            color="primary",
            disabled=(running,),
        )
        draw_job(
            self.page.runner.names, "segment", "Segment", names.can_segment, self._segment, self.page.runner.cancel
        )
        VAlert(
            v_if=(names.problem,),
            text=(names.problem,),
            type="error",
            density="compact",
            variant="tonal",
            classes="mt-2",
        )
        VSwitch(
            v_model=(names.surfaces,),
            label="Show in 3D",
            density="compact",
            hide_details=True,
            color="primary",
            disabled=(f"!{names.segmented} || {running}",),
        )

    def update(self) -> None:
        """Show what can be done with what is open."""
        data, workspace = self.state.data, self.page.workspace
        data.problem = (workspace.ct is not None and ct_problem(workspace.ct)) or ""
        data.can_segment = workspace.ct is not None and not data.problem
        data.segmented = workspace.segmented
        if not data.segmented:
            data.surfaces = False
        if workspace.ct is not None and [*axial_limits(workspace.ct)] != data.limits:
            data.limits = data.span = [*axial_limits(workspace.ct)]

    def _segment(self) -> None:
        self.page.deactivate_tools()
        self.page.runner.start("segment", self._begin, describe, lambda _: self.page.edit_anew())

    def _begin(self) -> SegmentRun:
        data, workspace = self.state.data, self.page.workspace
        return SegmentRun(
            workspace.worker,
            workspace.ct,
            workspace.segmentation,
            model=self.model(),
            region=self._region(),
            postprocess=data.postprocess,
        )

    def _region(self) -> tuple[float, float] | None:
        data, workspace = self.state.data, self.page.workspace
        if data.part == "whole":
            return None
        if data.part == "range":
            return tuple(data.span)
        to_ras = self.page.axial_view().get_view_node().GetSliceToRAS()
        position = axial_position(workspace.ct, [to_ras.GetElement(row, 3) for row in range(3)])
        return position, position

    def _show_surfaces(self, shown: bool) -> None:
        # by the editor, which else hides them again
        self.page.workspace.app.segmentation_editor.set_surface_representation_enabled(shown)
        self.page.reset_3d_view()


def describe(run: SegmentRun) -> tuple[float, str]:
    """Percent and a sentence on a run."""
    return (100 * run.done / run.of if run.of else 0.0), run.status
