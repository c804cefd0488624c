"""The panel that segments: which model and part, progress with Cancel."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trame.widgets.vuetify3 import VRadio, VRadioGroup, VRangeSlider
from trame_server.utils.typed_state import TypedState

from SpineSegLib.engine.errors import ModelError
from SpineSegLib.engine.models.model_catalogue import find_models, resolve_model
from SpineSegLib.engine.models.model_file import ENDING
from SpineSegLib.scene.review import remember_run
from SpineSegLib.scene.segment_run import SegmentRun
from SpineSegLib.scene.volumes import axial_limits, ct_problem
from SpineSegLib.web.widgets import alert, choice, job, switch

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

    def find_models(self, keep: bool = False) -> None:
        """Look for models anew: re-training may have made one. The current one is chosen, or to `keep` what was."""
        data = self.state.data
        self._models = {model.name: model.path for model in find_models() if model.problem is None}
        data.models = list(self._models)
        if keep and data.model in self._models:
            return
        now = resolve_model().name.removesuffix(ENDING)
        data.model = now if now in self._models else next(iter(self._models), "")

    def model(self) -> Path:
        """The file of the chosen model. What the browser says is not taken for a path. Raises ModelError."""
        path = self._models.get(self.state.data.model)
        if path is None:
            raise ModelError("This model is not on the server; choose another one.")
        return path

    def draw(self) -> None:
        """Draw the panel."""
        names, runner = self.state.name, self.page.runner
        while_free = {"disabled": (f"!!{runner.names.kind}",)}
        choice(names.model, names.models, "Model", **while_free)
        with VRadioGroup(v_model=(names.part,), density="compact", hide_details=True, **while_free):
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
            raw_attrs=['aria-label="Slices, mm from the feet"'],
            **while_free,
        )
        switch(names.postprocess, "Remove specks and fill holes", **while_free)
        job(runner.names, "segment", "Segment", names.can_segment, self._segment, runner.cancel)
        alert(names.problem)
        switch(names.surfaces, "Show in 3D", disabled=(f"!{names.segmented} || !!{runner.names.kind}",))

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
        self.page.runner.start("segment", self._begin, describe, self._segmented)

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

    def _segmented(self, run: SegmentRun) -> None:
        if run.state == "finished":
            remember_run(run.segmentation_node, run.started["model"], run.uncertainties)
        self.page.edit_anew()

    def _region(self) -> tuple[float, float] | None:
        data = self.state.data
        if data.part == "whole":
            return None
        if data.part == "range":
            return tuple(data.span)
        return (self.page.shown_position(),) * 2

    def _show_surfaces(self, shown: bool) -> None:
        # by the editor, which else hides them again
        self.page.workspace.app.segmentation_editor.set_surface_representation_enabled(shown)
        self.page.reset_3d_view()


def describe(run: SegmentRun) -> tuple[float, str]:
    """Percent and a sentence on a run."""
    return (100 * run.done / run.of if run.of else 0.0), run.status
