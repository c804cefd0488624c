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
from trame_slicer.views import SliceView

from SpineSegLib.web.compare_panel import ComparePanel
from SpineSegLib.web.control import Control
from SpineSegLib.web.display_panel import DisplayPanel
from SpineSegLib.web.downloads import Downloads
from SpineSegLib.web.layout import Frame
from SpineSegLib.web.open_panel import OpenPanel
from SpineSegLib.web.runner import Runner
from SpineSegLib.web.segment_panel import SegmentPanel
from SpineSegLib.web.training_panel import TrainingPanel
from SpineSegLib.web.workspace import Workspace

LAYOUT = "Quad View"


class Page:
    """`routes`: what the session's web server answers besides the page itself."""

    def __init__(self, server: Server, control: Control) -> None:
        self.server = server
        self.control = control
        self.routes: list[web.RouteDef] = []
        self.workspace = Workspace()
        server.enable_module(trame_slicer_module)
        server.state.trame__title = "SpineSeg"
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
        self.training = TrainingPanel(self)
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

    def axial_view(self) -> SliceView:
        """The view that shows axial slices."""
        views = self.workspace.app.view_manager.get_slice_views()
        return next(view for view in views if view.get_orientation() == "Axial")

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
        self._editor_ui = SegmentEditorUI()
