"""What can be taken home: the segmentation in three formats, and the report of a comparison."""

from __future__ import annotations

import asyncio
import io
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from trame.widgets.html import Div

from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.scene.export import export_segmentation
from SpineSegLib.web.widgets import download_button, heading

if TYPE_CHECKING:
    from SpineSegLib.web.page import Page

FORMATS = {"seg.nrrd": ".seg.nrrd", "nii.gz": "NIfTI", "dcm": "DICOM SEG"}


class Downloads:
    """Draws the buttons and answers them."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.routes.append(web.get("/download/report.zip", self._give_report))
        page.routes.append(web.get("/download/{name}", self._give_segmentation))

    def draw(self) -> None:
        """Draw the buttons."""
        disabled = f"!{self.page.segment.state.name.segmented} || !!{self.page.runner.names.kind}"
        heading("Download")
        with Div(classes="d-flex flex-wrap ga-2 mt-1"):
            for ending, title in FORMATS.items():
                download_button(title, f"spine.{ending}", disabled=(disabled,))

    def file(self, name: str, kind: str, data: bytes) -> web.Response:
        """The answer that gives a file; the audit log is told only its kind."""
        self.page.control.audit("download", kind=kind, megabytes=round(len(data) / 2**20, 2))
        return web.Response(
            body=data,
            content_type="application/octet-stream",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    async def _give_segmentation(self, request: web.Request) -> web.Response:
        ending = request.match_info["name"].removeprefix("spine.")
        workspace = self.page.workspace
        if ending not in FORMATS or not workspace.segmented or self.page.runner.busy:
            raise web.HTTPNotFound(text="There is nothing to download yet; segment first.")
        with tempfile.TemporaryDirectory(dir=self.page.control.settings["folder"]) as folder:
            path = Path(folder) / f"spine.{ending}"
            try:
                export_segmentation(workspace.segmentation, path)
            except SpineSegError as error:
                self.page.frame.say(str(error))
                self.page.flush()
                raise web.HTTPConflict(text=str(error)) from None
            data = path.read_bytes()
        return self.file(f"spine.{ending}", ending, data)

    async def _give_report(self, request: web.Request) -> web.Response:
        if self.page.compare.result is None:
            raise web.HTTPNotFound(text="There is no report yet; compare first.")
        packed = await asyncio.to_thread(packed_report, self.page.compare.result)
        return self.file("report.zip", "report", packed)


def packed_report(result: dict[str, Any]) -> bytes:
    """A zip of the report on a comparison, `result` as the job "compare" returns it."""
    from SpineSegLib.engine.comparison.pair import PairComparison
    from SpineSegLib.engine.comparison.report import write_report
    from SpineSegLib.engine.comparison.study import CaseResult, study

    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        case = CaseResult("case", "segmentation", PairComparison.from_dict(result))
        write_report(Path(folder), "Segmentation compared with its reference", "", study([case]), {})
        for path in sorted(Path(folder).iterdir()):
            archive.write(path, path.name)
    return packed.getvalue()
