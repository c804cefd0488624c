"""Opening a CT or a reference: from this computer by upload, or from the server's folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from trame.widgets.html import Div, Input
from trame.widgets.vuetify3 import VAlert, VBtn, VProgressLinear, VSelect
from trame_server.utils.typed_state import TypedState

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.dicom_frames import read_header
from SpineSegLib.engine.files.reading import volume_ending
from SpineSegLib.web.uploads import read_apart, receive

if TYPE_CHECKING:
    from SpineSegLib.web.page import Page

MAX_CASES = 500
DEPTH = 3


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
        page.routes.append(web.post("/upload", self._upload))

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
            for text, icon, folder in (("Files", "mdi-file-upload", False), ("Folder", "mdi-folder-upload", True)):
                identity = f"{kind}-{text.lower()}"
                if folder and kind == "reference":
                    continue
                Input(
                    type="file",
                    id=identity,
                    multiple=True,
                    raw_attrs=["webkitdirectory"] if folder else [],
                    style="display: none",
                    change=(
                        f"{names.sent} = 0; {names.problem} = '';"
                        f" window.spinesegUpload('{kind}', $event.target.files, (n) => {{ {names.sent} = n; }})"
                        f".then((problem) => {{ {names.sent} = -1; {names.problem} = problem;"
                        f" $event.target.value = ''; }})"
                    ),
                )
                VBtn(
                    text if kind == "ct" else "Upload a reference",
                    prepend_icon=icon,
                    variant="tonal",
                    size="small",
                    disabled=(busy,),
                    click=f"window.document.getElementById('{identity}').click()",
                )
        VSelect(
            v_if=(f"{names.cases}.length",),
            v_model=(case,),
            items=(names.cases,),
            label=label,
            density="compact",
            hide_details=True,
            clearable=False,
            classes="mt-3",
            disabled=(busy,),
            update_modelValue=(self._open_case, f"['{kind}', $event]"),
        )
        VProgressLinear(
            v_if=(busy,),
            model_value=(f"Math.max({names.sent}, 0)",),
            indeterminate=(f"{names.reading} || {names.sent} >= 100",),
            classes="mt-3",
            height=6,
            raw_attrs=['aria-label="Uploading"'],
        )
        VAlert(
            v_if=(names.problem,),
            text=(names.problem,),
            type="error",
            density="compact",
            variant="tonal",
            classes="mt-3",
        )
        if kind == "ct":
            VAlert(
                v_for=f"note in {names.notes}",
                key="note",
                text=("note",),
                type="warning",
                density="compact",
                variant="tonal",
                classes="mt-3",
            )

    async def _upload(self, request: web.Request) -> web.Response:
        settings = self.page.control.settings
        try:
            kind, source = await receive(request, Path(settings["folder"]) / "uploads", settings["upload_mb"])
            size = sum(path.stat().st_size for path in ([source] if source.is_file() else source.iterdir()))
            self.page.control.audit("upload", kind=kind, megabytes=round(size / 2**20, 1))
            await self._open(kind, source, "CT")
        except InputError as error:
            return web.Response(status=422, text=str(error))
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

    async def _open(self, kind: str, source: Path, name: str) -> None:
        data = self._state.data
        if self.page.runner.busy:
            raise InputError("Wait until what is computed now is done, or cancel it, before opening something else.")
        if kind == "reference" and self.page.workspace.ct is None:
            raise InputError("Open the CT first; the reference is shown over it.")
        data.reading, data.problem = True, ""
        self.page.flush()
        try:
            with tempfile.TemporaryDirectory(dir=self.page.control.settings["folder"]) as folder:
                taken = await read_apart(kind, source, Path(folder))
                if kind == "reference":
                    self.page.workspace.show_reference(Path(folder))
                else:
                    self.page.workspace.show_ct(Path(folder), name, taken["dicom"])
                    data.notes = taken["notes"]
        finally:
            data.reading = False
            self.page.flush()


def find_cases(data: Path) -> Iterator[tuple[str, Path]]:
    """Volume files and DICOM folders in a folder, by their names; links that lead out of it are left out."""
    data = data.resolve()
    found = 0
    for folder, folders, files in os.walk(data):
        place = Path(folder)
        folders.sort()
        if len(place.relative_to(data).parts) >= DEPTH:
            folders.clear()
        dicom = False
        for name in sorted(files):
            path = place / name
            if found >= MAX_CASES:
                return
            if not path.resolve().is_relative_to(data):
                continue
            if volume_ending(path):
                yield str(path.relative_to(data)), path
            elif dicom or read_header(path) is None:
                continue
            else:
                dicom = True
                yield str(place.relative_to(data)), place
            found += 1
