"""The page of one session: frame, panels and views on one workspace."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from aiohttp import web
from trame.widgets.html import Div
from trame.widgets.vuetify3 import VDivider
from trame_server import Server
from trame_slicer import module as trame_slicer_module
from trame_slicer.app.logic import LayoutButtonLogic, SegmentEditorLogic
from trame_slicer.app.ui import LayoutButton, SegmentEditorUI, SegmentEditorUndoRedoUI
from trame_slicer.rca_view import register_rca_factories

from SpineSegLib.scene.volumes import axial_position
from SpineSegLib.web.cases_panel import CasesPanel
from SpineSegLib.web.compare_panel import ComparePanel
from SpineSegLib.web.control import Control
from SpineSegLib.web.display_panel import DisplayPanel
from SpineSegLib.web.downloads import Downloads
from SpineSegLib.web.layout import Frame
from SpineSegLib.web.open_panel import OpenPanel
from SpineSegLib.web.review_panel import ReviewPanel
from SpineSegLib.web.runner import Runner
from SpineSegLib.web.segment_panel import SegmentPanel
from SpineSegLib.web.training_panel import TrainingPanel
from SpineSegLib.web.versions_panel import VersionsPanel
from SpineSegLib.web.workspace import Workspace

LAYOUT = "Quad View"
# once a second for an hour: who is behind a bad connection need not watch it
RECONNECTING = '<trame-reconnect message="Connection lost, trying again ..." :delay="1000" :max-retry="3600" />'


class Page:
    """`routes`: what the session's web server answers besides the page itself."""

    def __init__(self, server: Server, control: Control) -> None:
        self.server = server
        self.control = control
        self.routes: list[web.RouteDef] = []
        self.workspace = Workspace()
        server.enable_module(trame_slicer_module)
        server.state.trame__title = "SpineSeg"
        server.state.trame__template_error_reconnect = RECONNECTING
        app = self.workspace.app
        register_rca_factories(app.view_manager, server, rca_encoder="jpeg")
        self._editor = SegmentEditorLogic(server, app)
        layouts = LayoutButtonLogic(server, app)
        layouts.data.current_layout_id = LAYOUT
        layouts.layout_manager.set_layout(LAYOUT)

        self.runner = Runner(self)
        self.open = OpenPanel(self)
        self.segment = SegmentPanel(self)
        self.compare = ComparePanel(self)
        self.review = ReviewPanel(self)
        self.cases = CasesPanel(self)
        self.training = TrainingPanel(self)
        self.versions = VersionsPanel(self)
        self.display = DisplayPanel(self)
        self.downloads = Downloads(self)
        self._opened: slicer.vtkMRMLScalarVolumeNode | None = None
        self.workspace.changed.append(self._fit)

        self.frame = Frame(server)
        self.frame.add_panel("Segment", "mdi-human-handsdown", self._padded(self._draw_segment), needs_ct=False)
        self.frame.add_panel("Compare", "mdi-compare", self._padded(self.compare.draw))
        self.frame.add_panel("Edit", "mdi-brush", self._draw_edit)
        self.frame.add_panel("Re-train", "mdi-school", self._padded(self.training.draw), needs_ct=False)
        self.frame.add_panel("Display", "mdi-tune-variant", self.display.draw)
        self.frame.typed_state.bind_changes({self.frame.typed_state.name.tool: lambda _: self._look_again()})
        app.segmentation_editor.active_segment_id_changed.connect(lambda _: self.segment.update())
        with self.frame.view_buttons:
            layouts.set_ui(LayoutButton())
        with self.frame.undo_buttons:
            SegmentEditorUndoRedoUI(editor_ui=self._editor_ui)
        self._editor.set_ui(self._editor_ui)
        with self.frame.content:
            layouts.layout_manager.initialize_layout_grid(self.frame)

    async def close(self) -> None:
        """Stop what runs and end the worker."""
        await self.runner.stop()
        self.workspace.close()

    def flush(self) -> None:
        """Send the browser what changed."""
        self.server.state.flush()

    def shown_position(self) -> float:
        """Position in the CT (mm towards the head, see `axial_position`) of the slice that the axial view shows."""
        views = self.workspace.app.view_manager.get_slice_views()
        axial = next(view for view in views if view.get_orientation() == "Axial")
        to_ras = axial.get_view_node().GetSliceToRAS()
        return axial_position(self.workspace.ct, [to_ras.GetElement(row, 3) for row in range(3)])

    def reset_3d_view(self) -> None:
        """Bring what is shown in 3D into view."""
        for view in self.workspace.app.view_manager.get_threed_views():
            view.reset_view()

    def edit_anew(self) -> None:
        """Let the editor look at the segmentation again, which something else has changed; it can't undo that."""
        workspace = self.workspace
        workspace.app.segmentation_editor.set_active_segmentation(workspace.segmentation, workspace.ct)
        self.segment.state.data.surfaces = False

    def deactivate_tools(self) -> None:
        """Put the editor's tool away."""
        self.workspace.app.segmentation_editor.deactivate_effect()

    def _fit(self) -> None:
        """Let display and editor work on what is open now."""
        workspace = self.workspace
        if workspace.ct is not None and workspace.ct is not self._opened:
            self.display.look_at_ct()
            self.frame.typed_state.data.ct_open = True
            self._opened = workspace.ct
            self.edit_anew()

    def _look_again(self) -> None:
        """Show what other sessions have done to cases and models meanwhile."""
        self.segment.find_models(keep=True)
        self.workspace.tell()

    def _padded(self, draw: Callable[[], None]) -> Callable[[], None]:
        def drawn() -> None:
            with Div(classes="pa-3"):
                draw()

        return drawn

    def _draw_segment(self) -> None:
        self.open.draw_ct()
        VDivider(classes="my-3")
        self.segment.draw()
        self.downloads.draw()

    def _draw_edit(self) -> None:
        self.review.draw()
        with Div(style="flex: 1; min-height: 0"):
            self._editor_ui = SegmentEditorUI()
