"""The panel's part for the training set: storing corrected cases, locking and removing stored ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trame.widgets.html import Tbody, Td, Th, Thead, Tr
from trame.widgets.vuetify3 import VTable
from trame_server.utils.typed_state import TypedState

from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.engine.training.training_set import TrainingSet
from SpineSegLib.scene import review
from SpineSegLib.scene.submission import SubmitRun
from SpineSegLib.web.widgets import choice, heading, hint, icon_button, job

if TYPE_CHECKING:
    from SpineSegLib.web.page import Page

WHOLE, CHECKED = "Whole volume", "Checked slices only"


@dataclass
class CasesState:
    """`part`: which slices are submitted, of the `parts`. `said`: how many cases there are."""

    parts: list[str] = field(default_factory=lambda: [WHOLE, CHECKED])
    part: str = WHOLE
    said: str = ""
    cases: list[dict[str, Any]] = field(default_factory=list)


class CasesPanel:
    """Drives `scene.submission.SubmitRun` and the training set, as the panel in Slicer does; all sessions share it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.state = TypedState(page.server.state, CasesState)
        self.file = Path(page.control.settings["store"]) / "web.cases.h5"
        page.workspace.changed.append(self.update)

    def draw(self) -> None:
        """Draw the part."""
        names, runner = self.state.name, self.page.runner
        heading("Corrected cases")
        hint("Submit stores the CT's voxels and the segments, without names, dates or numbers of the patient.")
        choice(names.part, names.parts, "Slices to submit", v_if=(self.page.review.state.name.known,))
        job(runner.names, "submit", "Submit", self.page.segment.state.name.segmented, self._submit, runner.cancel)
        hint(f"{{{{ {names.said} }}}}")
        with VTable(v_if=(f"{names.cases}.length",), density="compact", classes="spineseg-table"):
            with Thead(), Tr():
                for head in ("Case", "Used for", "Slices", ""):
                    Th(head)
            with Tbody(), Tr(v_for=f"each in {names.cases}", key="each.name"):
                Td("{{ each.name }}")
                Td("{{ each.side }}")
                Td("{{ each.slices }}")
                with Td(classes="text-no-wrap"):
                    icon_button(
                        ("each.locked ? 'mdi-lock' : 'mdi-lock-open-variant-outline'",),
                        ("(each.locked ? 'Unlock ' : 'Lock ') + each.name",),
                        size="x-small",
                        click=(self._lock, "[each.name, !each.locked]"),
                    )
                    question = "'Remove ' + each.name + ' from the training set? This cannot be undone.'"
                    icon_button(
                        "mdi-delete-outline",
                        ("'Remove ' + each.name",),
                        size="x-small",
                        disabled=("each.locked",),
                        click=(self._remove, f"[window.confirm({question}) && each.name]"),
                    )

    def update(self) -> None:
        """Show what is stored."""
        data = self.state.data
        try:
            cases = TrainingSet(self.file).cases() if self.file.is_file() else []
        except SpineSegError as error:
            data.said, data.cases = str(error), []
            return
        patients = len({case.patient for case in cases})
        data.said = f"Stored on this server: {_counted(len(cases), 'case')} of {_counted(patients, 'patient')}."
        data.cases = [
            {"name": case.case, "side": case.side, "slices": case.slices, "locked": case.locked} for case in cases
        ]

    def _submit(self) -> None:
        self.page.deactivate_tools()
        self.page.runner.start(
            "submit",
            self._begin,
            lambda run: (0.0, "Storing the case..." if run.running else _submitted(run)),
            lambda _: None,
        )

    def _begin(self) -> SubmitRun:
        workspace = self.page.workspace
        checked = review.checked_positions(workspace.segmentation) if self.state.data.part == CHECKED else None
        return SubmitRun(workspace.worker, workspace.ct, workspace.segmentation, self.file, checked)

    def _lock(self, name: str, locked: bool) -> None:
        self._change("locked" if locked else "unlocked", lambda stored: stored.lock([name], bool(locked)))

    def _remove(self, name: str | bool) -> None:
        if name:
            self._change("removed", lambda stored: stored.remove([name]))

    def _change(self, what: str, change: Callable[[TrainingSet], None]) -> None:
        try:
            change(TrainingSet(self.file))
        except SpineSegError as error:
            self.page.frame.say(str(error))
        else:
            self.page.control.audit(f"case {what}")
        self.page.workspace.tell()


def _submitted(run: SubmitRun) -> str:
    if run.state != "finished":
        return run.message
    stored = "replaced an earlier one" if run.result["replaced"] else "is new"
    notes = "".join(f" Note: {note}." for note in run.notes)
    return f"Stored as a {run.result['side']} case, which {stored}.{notes}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
