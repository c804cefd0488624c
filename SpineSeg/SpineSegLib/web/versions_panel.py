"""The panel's part for the versions of the model: which is in use, renaming, taking home, deleting."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from trame.widgets.html import Tbody, Td, Th, Thead, Tr
from trame.widgets.vuetify3 import VTable
from trame_server.utils.typed_state import TypedState

from SpineSegLib.engine.errors import ModelError, SpineSegError
from SpineSegLib.engine.models.model_catalogue import (
    Version,
    delete_model,
    export_model,
    lineage,
    make_current,
    rename_model,
)
from SpineSegLib.engine.models.model_file import ENDING
from SpineSegLib.web.widgets import heading, icon_button

if TYPE_CHECKING:
    from SpineSegLib.web.page import Page


@dataclass
class VersionsState:
    """`versions`: one row each."""

    versions: list[dict[str, Any]] = field(default_factory=list)


class VersionsPanel:
    """Drives `engine.models.model_catalogue`, as the panel in Slicer does; all sessions share the models."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.state = TypedState(page.server.state, VersionsState)
        page.routes.append(web.get("/download/models/{name}", self._give))
        page.workspace.changed.append(self.update)

    def draw(self) -> None:
        """Draw the part."""
        heading("Models")
        with VTable(density="compact", classes="spineseg-table"):
            with Thead(), Tr():
                for head in ("Name", "From", "Dice", ""):
                    Th(head)
            with Tbody(), Tr(v_for=f"each in {self.state.name.versions}", key="each.name"):
                Td("{{ each.name }}")
                Td("{{ each.parent }}")
                Td("{{ each.dice }}")
                with Td(classes="text-no-wrap"):
                    self._draw_buttons()

    def update(self) -> None:
        """Show which versions there are."""
        self.state.data.versions = [_row(version) for version in lineage()]

    def _draw_buttons(self) -> None:
        icon_button(
            ("each.current ? 'mdi-check-circle' : 'mdi-check-circle-outline'",),
            ("each.current ? each.name + ' is in use' : 'Use ' + each.name",),
            size="x-small",
            disabled=("each.current || !each.usable",),
            click=(self._make_current, "[each.name]"),
        )
        icon_button(
            "mdi-pencil-outline",
            ("'Rename ' + each.name",),
            size="x-small",
            disabled=("!each.own",),
            click=(self._rename, "[each.name, window.prompt('New name of ' + each.name + ':', each.name)]"),
        )
        file = f"encodeURIComponent(each.name) + '{ENDING}'"
        icon_button(
            "mdi-download",
            ("'Download ' + each.name",),
            size="x-small",
            disabled=("!each.usable",),
            href=(f"'download/models/' + {file}",),
            raw_attrs=[f':download="{file}"'],
        )
        icon_button(
            "mdi-delete-outline",
            ("'Delete ' + each.name",),
            size="x-small",
            disabled=("!each.own",),
            click=(self._delete, "[window.confirm(each.question) && each.name]"),
        )

    def _make_current(self, name: str) -> None:
        self._change("made current", name, make_current)

    def _rename(self, name: str, new: str | None) -> None:
        if new and new != name:
            self._change("renamed", name, lambda name: rename_model(name, new))

    def _delete(self, name: str | bool) -> None:
        if name:
            self._change("deleted", name, lambda name: delete_model(name, even_parent=True))

    def _change(self, what: str, name: str, change: Callable[[str], object]) -> None:
        try:
            change(_known(name))
        except SpineSegError as error:
            self.page.frame.say(str(error))
        else:
            self.page.control.audit(f"model {what}")
        self.page.segment.find_models()
        self.page.workspace.tell()

    async def _give(self, request: web.Request) -> web.Response:
        try:
            name = _known(request.match_info["name"].removesuffix(ENDING))
            with tempfile.TemporaryDirectory(dir=self.page.control.settings["folder"]) as folder:
                path = await asyncio.to_thread(export_model, name, Path(folder))
                data = await asyncio.to_thread(path.read_bytes)
        except SpineSegError as error:
            raise web.HTTPNotFound(text=str(error)) from None
        return self.page.downloads.file(f"{name}{ENDING}", "model", data)


def _known(name: str) -> str:
    """A name that a browser sent, if a model has it: it is not taken for a path. Raises ModelError."""
    if name not in [version.model.name for version in lineage()]:
        raise ModelError("This model is not on the server; choose another one.")
    return name


def _row(version: Version) -> dict[str, Any]:
    name, info = version.model.name, version.model.info
    dice = None if info is None else info.metrics.get("validation_dice")
    heirs = ", ".join(version.children)
    children = f" It is the parent of {heirs}, which will be without one." if heirs else ""
    return {
        "name": name,
        "parent": version.parent or "",
        "dice": "" if dice is None else f"{dice:.3f}",
        "current": version.current,
        "usable": info is not None,
        "own": not version.model.shipped,
        "question": f"Delete the model {name}?{children} This can't be undone.",
    }
