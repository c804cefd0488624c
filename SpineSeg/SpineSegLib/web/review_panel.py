"""The part of the panel for editing that leads to the slices most worth checking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trame.widgets.html import Div
from trame_server.utils.typed_state import TypedState

from SpineSegLib.scene import review
from SpineSegLib.web.widgets import button, hint

if TYPE_CHECKING:
    from SpineSegLib.web.page import Page


@dataclass
class ReviewState:
    """`known`: how many slices have an uncertainty, `checked` so many of them; `left`: some are worth a look."""

    known: int = 0
    checked: int = 0
    left: bool = False
    said: str = ""


class ReviewPanel:
    """Drives `scene.review`, as the panel in Slicer does."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.state = TypedState(page.server.state, ReviewState)
        page.workspace.changed.append(self.update)

    def draw(self) -> None:
        """Draw the part."""
        names = self.state.name
        with Div(v_if=(names.known,), classes="pa-3"):
            with Div(classes="d-flex flex-wrap ga-2"):
                button("Next slice to check", disabled=(f"!{names.left}",), click=self._show_next)
                button("Checked", click=self._mark)
            hint(
                f"{{{{ {names.checked} }}}} of {{{{ {names.known} }}}} slices checked. {{{{ {names.said} }}}}",
                live=True,
            )

    def update(self) -> None:
        """Show what is known of the segmentation."""
        data, node = self.state.data, self.page.workspace.segmentation
        known = 0 if node is None else review.slices_known(node)
        if known != data.known:
            data.said = ""
        data.known = known
        data.checked = len(review.checked_positions(node)) if known else 0
        data.left = bool(known) and review.next_to_check(node) is not None

    def _show_next(self) -> None:
        workspace = self.page.workspace
        self.state.data.said = review.show_next_to_check(workspace.segmentation, workspace.ct)

    def _mark(self) -> None:
        marked = review.mark_checked(self.page.workspace.segmentation, self.page.shown_position())
        self.state.data.said = f"S {marked:.1f} mm is checked."
        self.page.workspace.tell()
