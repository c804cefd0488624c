"""Opening a CT or a reference: from this computer by upload, or from the server's folder."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from trame.widgets.html import Div, Input
from trame_server.utils.typed_state import TypedState

from SpineSegLib.engine.errors import InputError
from SpineSegLib.web.served_cases import find_cases
from SpineSegLib.web.uploads import read_apart, receive
from SpineSegLib.web.widgets import alert, button, choice, progress

if TYPE_CHECKING:
    from SpineSegLib.web.page import Page


@dataclass
class OpenState:
    """`cases`: names of what the server's folder holds. `sent`: percent uploaded, -1 while nothing is sent."""

    cases: list[str] = field(default_factory=list)
    case: str | None = None
    reference_case: str | None = None
    sent: float = -1.0
    reading: bool = False
    problem: str = ""
    notes: list[str] = field(default_factory=list)


class OpenPanel:
    """Draws where to choose a CT (`draw_ct`) or a reference (`draw_reference`), and opens what is chosen."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._state = TypedState(page.server.state, OpenState)
        self._data = page.control.settings["data"] and Path(page.control.settings["data"])
        self._cases = dict(find_cases(self._data)) if self._data else {}
        self._state.data.cases = list(self._cases)
        self._upload_in_use: Path | None = None  # the DICOM files of the CT, which DICOM SEG refers to
        page.routes.append(web.post("/upload", self._upload))

    def begin(self) -> None:
        """Open the case that the server begins with, if there is one."""
        if name := self.page.control.settings["open"]:
            self._state.data.case = name
            self._beginning = asyncio.create_task(self._open_case("ct", name))

    def draw_ct(self) -> None:
        """Where to choose a CT."""
        self._draw("ct", self._state.name.case, "Open a case of the server")

    def draw_reference(self) -> None:
        """Where to choose a reference."""
        self._draw("reference", self._state.name.reference_case, "Open a reference of the server")

    def _draw(self, kind: str, case: str, label: str) -> None:
        names = self._state.name
        busy = f"{names.sent} >= 0 || {names.reading}"
        with Div(classes="d-flex ga-2"):
            if kind == "ct":
                self._upload_button(kind, "Files", "mdi-file-upload", busy)
                self._upload_button(kind, "Folder", "mdi-folder-upload", busy, folder=True)
            else:
                self._upload_button(kind, "Upload a reference", "mdi-file-upload", busy)
        choice(
            case,
            names.cases,
            label,
            v_if=(f"{names.cases}.length",),
            disabled=(busy,),
            update_modelValue=(self._open_case, f"['{kind}', $event]"),
        )
        progress(busy, f"Math.max({names.sent}, 0)", f"{names.reading} || {names.sent} >= 100", "Uploading")
        alert(names.problem)
        if kind == "ct":
            alert("note", "warning", v_for=f"note in {names.notes}", key="note")

    def _upload_button(self, kind: str, text: str, icon: str, busy: str, folder: bool = False) -> None:
        names = self._state.name
        identity = f"{kind}-folder" if folder else f"{kind}-files"
        Input(
            type="file",
            id=identity,
            multiple=True,
            raw_attrs=["webkitdirectory"] if folder else [],
            style="display: none",
            change=(
                f"{names.sent} = 0; {names.problem} = '';"
                f" window.spinesegUpload('{kind}', $event.target.files, {self.page.control.settings['upload_mb']},"
                f" (n) => {{ {names.sent} = n; }})"
                f".then((problem) => {{ {names.sent} = -1; {names.problem} = problem; $event.target.value = ''; }})"
            ),
        )
        button(
            text,
            prepend_icon=icon,
            disabled=(busy,),
            click=f"window.document.getElementById('{identity}').click()",
        )

    async def _upload(self, request: web.Request) -> web.Response:
        settings = self.page.control.settings
        try:
            kind, source = await receive(request, Path(settings["folder"]) / "uploads", settings["upload_mb"])
        except InputError as error:
            return web.Response(status=422, text=str(error))
        place = source.parent if source.is_file() else source
        try:
            size = sum(path.stat().st_size for path in place.iterdir())
            self.page.control.audit("upload", kind=kind, megabytes=round(size / 2**20, 1))
            await self._open(kind, source, "CT", place)
        except InputError as error:
            return web.Response(status=422, text=str(error))
        finally:
            if place != self._upload_in_use:
                shutil.rmtree(place, ignore_errors=True)
        return web.Response(text="opened")

    async def _open_case(self, kind: str, name: str) -> None:
        try:
            source = self._cases.get(name)
            if source is None:
                raise InputError("This case is no longer on the server; choose another one.")
            self.page.control.audit("case opened", kind=kind)
            await self._open(kind, source, name)
        except InputError as error:
            self._state.data.problem = str(error)
            self.page.flush()

    async def _open(self, kind: str, source: Path, name: str, upload: Path | None = None) -> None:
        """`upload`: the session's folder that holds it; cases of the server lie elsewhere, and stay."""
        data = self._state.data
        self._refuse_while_busy()
        if kind == "reference" and self.page.workspace.ct is None:
            raise InputError("Open the CT first; the reference is shown over it.")
        data.reading, data.problem = True, ""
        self.page.flush()
        try:
            with tempfile.TemporaryDirectory(dir=self.page.control.settings["folder"]) as folder:
                taken = await read_apart(kind, source, Path(folder))
                self._refuse_while_busy()  # something may have been started meanwhile
                if kind == "reference":
                    self.page.workspace.show_reference(Path(folder))
                else:
                    before, self._upload_in_use = self._upload_in_use, upload if taken["dicom"] else None
                    self.page.workspace.show_ct(Path(folder), name, taken["dicom"])
                    data.notes = taken["notes"]
                    if before is not None:
                        shutil.rmtree(before, ignore_errors=True)
        finally:
            data.reading = False
            self.page.flush()

    def _refuse_while_busy(self) -> None:
        if self.page.runner.busy:
            raise InputError("Wait until what is computed now is done, or cancel it, before opening something else.")
