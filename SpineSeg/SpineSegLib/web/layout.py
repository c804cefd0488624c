"""The page's frame: bar on top, panels at the left with a strip of buttons to choose them, views in the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import client
from trame.widgets.html import Form
from trame.widgets.vuetify3 import (
    VAppBar,
    VBtn,
    VDivider,
    VIcon,
    VMain,
    VNavigationDrawer,
    VProgressLinear,
    VSnackbar,
    VSpacer,
    VToolbarTitle,
)
from trame_server import Server
from trame_server.utils.typed_state import TypedState
from trame_slicer.app.ui.flex_container import FlexContainer

STYLE = """
html { overflow-y: auto; }
.spineseg-hint { opacity: .75; font-size: .8125rem; line-height: 1.35; }
.spineseg-table td, .spineseg-table th { padding: 0 6px !important; height: 26px !important; font-size: .8125rem; }
:focus-visible { outline: 2px solid rgb(var(--v-theme-primary)) !important; outline-offset: 1px; }
"""


@dataclass
class FrameState:
    """`tool`: which panel is open. `theme`: "dark" or "light", once the browser has said which. `note`: what the bar
    below says."""

    tool: str = "Segment"
    theme: str = ""
    note: str = ""
    note_shown: bool = False
    ct_open: bool = False


class Frame(VAppLayout):
    """Panels are added by `add_panel`, views into `content`, buttons for the views into `view_buttons`."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.typed_state = TypedState(self.state, FrameState)
        names = self.typed_state.name
        self.root.theme = (f"{names.theme} || 'dark'",)
        with self:
            client.Style(STYLE)
            light = "window.matchMedia('(prefers-color-scheme: light)').matches"
            client.ClientTriggers(mounted=f"{names.theme} = {names.theme} || ({light} ? 'light' : 'dark')")
            with VAppBar(density="compact"):
                VIcon("mdi-human-handsdown", classes="ml-4")
                VToolbarTitle("SpineSeg")
                VSpacer()
                with Form(method="post", action="logout"):
                    title = "End the session and remove what was uploaded"
                    VBtn(
                        icon="mdi-logout",
                        title=title,
                        raw_attrs=['type="submit"'],
                        click=f"window.confirm('{title}?') || $event.preventDefault()",
                    )
                VBtn(
                    icon="mdi-theme-light-dark",
                    click=f"{names.theme} = {names.theme} === 'dark' ? 'light' : 'dark'",
                    title="Dark or light",
                )
            VProgressLinear(
                active=("!!trame__busy",), indeterminate=True, absolute=True, height=2, style="z-index: 2000"
            )
            with (
                VNavigationDrawer(permanent=True, width=48, disable_resize_watcher=True),
                FlexContainer(fill_height=True),
            ):
                self.buttons = FlexContainer(classes="py-2", align="center")
                VDivider()
                self.view_buttons = FlexContainer(classes="py-2", align="center")
                VSpacer()
                self.undo_buttons = FlexContainer(classes="py-2", align="center")
            self.drawer = VNavigationDrawer(permanent=True, width=340, disable_resize_watcher=True)
            with VMain():
                self.content = FlexContainer(row=True, fill_height=True)
            with VSnackbar(v_model=(names.note_shown,), timeout=8000, location="bottom right"):
                FlexContainer(children=[f"{{{{ {names.note} }}}}"], raw_attrs=["role='status'"])

    def add_panel(self, name: str, icon: str, build: Callable[[], None], needs_ct: bool = True) -> None:
        """A panel called `name`, filled by `build`, and the button that opens it."""
        names = self.typed_state.name
        with self.buttons:
            VBtn(
                icon=icon,
                variant="text",
                size="small",
                click=f"{names.tool} = '{name}'",
                active=(f"{names.tool} === '{name}'",),
                disabled=(f"!{names.ct_open}",) if needs_ct else False,
                title=name,
            )
        with (
            self.drawer,
            FlexContainer(v_if=(f"{names.tool} === '{name}'",), fill_height=True, style="overflow-y: auto"),
        ):
            build()

    def say(self, sentence: str) -> None:
        """Show one sentence for a while."""
        self.typed_state.data.note = sentence
        self.typed_state.data.note_shown = True
