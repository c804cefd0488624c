"""The panel for how the CT is shown: window, presets, and the CT itself in 3D."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trame.widgets.html import Div
from trame_server.utils.typed_state import TypedState
from trame_slicer.app.logic import VolumePropertyLogic
from trame_slicer.app.ui import VolumePropertyUI

from SpineSegLib.web.widgets import switch

if TYPE_CHECKING:
    from SpineSegLib.web.page import Page

PRESET = "CT-Bone"
BONE_WINDOW, BONE_LEVEL = 1200.0, 300.0  # HU; soft tissue still shows


@dataclass
class DisplayState:
    """`rendering`: the CT is shown in 3D."""

    rendering: bool = False


class DisplayPanel:
    """trame-slicer's own panel, and a switch for what it changes in 3D."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._state = TypedState(page.server.state, DisplayState)
        self._state.bind_changes({self._state.name.rendering: self._show_rendering})
        self._logic = VolumePropertyLogic(page.server, page.workspace.app)
        self._logic.data.preset_3d_name = PRESET

    def draw(self) -> None:
        """Draw the panel."""
        with Div(classes="px-4 pt-2"):
            switch(self._state.name.rendering, "Show the CT in 3D")
        self._logic.set_ui(VolumePropertyUI())

    def look_at_ct(self) -> None:
        """Begin with another CT: in a window for bone, not in 3D."""
        ct = self._page.workspace.ct
        rendering = self._page.workspace.app.volume_rendering
        rendering.create_display_node(ct, PRESET).SetVisibility(False)
        self._state.data.rendering = False
        self._logic.on_volume_changed(ct)
        ct.GetDisplayNode().SetAutoWindowLevel(False)
        ct.GetDisplayNode().SetWindowLevel(BONE_WINDOW, BONE_LEVEL)

    def _show_rendering(self, shown: bool) -> None:
        ct, app = self._page.workspace.ct, self._page.workspace.app
        if ct is None:
            return
        if shown:
            app.display_manager.show_volume(ct)
        else:
            app.volume_rendering.get_vr_display_node(ct).SetVisibility(False)
        self._page.reset_3d_view()
