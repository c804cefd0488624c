"""The panel that stores corrected cases and re-trains: live curve, and the versions of the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trame.widgets.html import Div, Tbody, Td, Th, Thead, Tr
from trame.widgets.vuetify3 import VBtn, VDivider, VSwitch, VTable, VTextField
from trame_server.utils.typed_state import TypedState

from SpineSegLib.engine.errors import ModelError, SpineSegError
from SpineSegLib.engine.models.model_catalogue import lineage, make_current
from SpineSegLib.engine.models.model_file import read_info
from SpineSegLib.engine.training.retraining import plan
from SpineSegLib.engine.training.training_set import TrainingSet
from SpineSegLib.scene.retrain_run import RetrainRun
from SpineSegLib.scene.submission import SubmitRun
from SpineSegLib.web.chart import Series, chart, draw_chart
from SpineSegLib.web.widgets import draw_job

if TYPE_CHECKING:
    from SpineSegLib.web.page import Page

MAX_EPOCHS = 50
BLUE, ORANGE, RED = "#3f8ae0", "#d98a26", "#d0524a"


@dataclass
class TrainingState:
    """`plan`: what re-training would do or why it can't; `offered`: without validation it could."""

    cases: str = ""
    plan: str = ""
    possible: bool = False
    offered: bool = False
    without_validation: bool = False
    epochs: int = 12
    curve: dict[str, Any] | None = None
    loss: dict[str, Any] | None = None
    versions: list[dict[str, Any]] = field(default_factory=list)


class TrainingPanel:
    """Drives `scene.submission.SubmitRun` and `scene.retrain_run.RetrainRun`, as the panel in Slicer does.

    All sessions share one training set and the models of this computer.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.state = TypedState(page.server.state, TrainingState)
        self._drawn = 0  # epochs in the charts
        self.training_set = Path(page.control.settings["store"]) / "web.cases.h5"
        self.state.bind_changes({self.state.name.without_validation: lambda _: self.update()})
        page.segment.state.bind_changes({page.segment.state.name.model: lambda _: self.update()})
        page.workspace.changed.append(self.update)

    def draw(self) -> None:
        """Draw the panel."""
        names, runner = self.state.name, self.page.runner
        segmented = self.page.segment.state.name.segmented
        Div("Corrected cases", classes="text-subtitle-2")
        Div("Submit stores the CT's voxels and the segments, without names, dates or numbers of the patient.",
            classes="spineseg-hint")  # fmt: skip
        draw_job(runner.names, "submit", "Submit", segmented, self._submit, runner.cancel)
        Div(f"{{{{ {names.cases} }}}}", classes="spineseg-hint mt-1")
        VDivider(classes="my-3")
        Div("Re-train", classes="text-subtitle-2")
        Div(f"{{{{ {names.plan} }}}}", classes="spineseg-hint")
        VSwitch(
            v_if=(f"{names.offered} || {names.without_validation}",),
            v_model=(names.without_validation,),
            label="Without validation",
            density="compact",
            hide_details=True,
            color="primary",
        )
        VTextField(
            v_model_number=(names.epochs,),
            type="number",
            min=1,
            max=MAX_EPOCHS,
            density="compact",
            hide_details=True,
            label="Epochs",
            classes="mt-2",
        )
        draw_job(runner.names, "train", "Re-train", names.possible, self._train, runner.cancel)
        draw_chart(names.curve, "Validation Dice of each epoch")
        draw_chart(names.loss, "Loss of each epoch")
        VDivider(classes="my-3")
        Div("Models", classes="text-subtitle-2")
        with VTable(density="compact", classes="spineseg-table"):
            with Thead(), Tr():
                for head in ("Name", "From", "Dice", ""):
                    Th(head)
            with Tbody(), Tr(v_for=f"version in {names.versions}", key="version.name"):
                Td("{{ version.name }}")
                Td("{{ version.parent }}")
                Td("{{ version.dice }}")
                with Td():
                    VBtn(
                        "{{ version.current ? 'in use' : 'use' }}",
                        size="x-small",
                        variant="tonal",
                        disabled=("version.current",),
                        click=(self._make_current, "[version.name]"),
                    )

    def update(self) -> None:
        """Show what there is and what can be done with it."""
        data = self.state.data
        data.versions = [
            {
                "name": version.model.name,
                "parent": version.parent or "",
                "dice": _dice(version.model.info),
                "current": version.current,
            }
            for version in lineage()
        ]
        if not self.training_set.is_file():
            data.cases, data.plan = "", "Submit corrected cases first."
            data.possible = data.offered = False
            return
        try:
            stored = TrainingSet(self.training_set)
            cases = stored.cases()
            planned = plan(stored, read_info(self.page.segment.model()), bool(data.without_validation))
        except SpineSegError as error:
            data.plan, data.possible, data.offered = str(error), False, False
            return
        patients = len({case.patient for case in cases})
        data.cases = f"{len(cases)} cases of {patients} patients are stored on this server."
        data.offered = planned.offer is not None
        data.possible = planned.problem is None
        data.plan = " ".join([*planned.sentences, *([planned.problem] if planned.problem else [])])

    def _submit(self) -> None:
        workspace = self.page.workspace
        self.page.deactivate_tools()
        self.page.runner.start(
            "submit",
            lambda: SubmitRun(workspace.worker, workspace.ct, workspace.segmentation, self.training_set),
            lambda run: (0.0, "Storing the case..." if run.running else _submitted(run)),
            lambda run: self.update(),
        )

    def _train(self) -> None:
        data = self.state.data
        data.curve = data.loss = None
        self._drawn = 0
        self.page.runner.start(
            "train",
            lambda: RetrainRun(
                self.page.workspace.worker,
                self.training_set,
                self.page.segment.model(),
                without_validation=data.without_validation,
                epochs=min(max(int(data.epochs), 1), MAX_EPOCHS),
            ),
            self._describe,
            self._trained,
        )

    def _describe(self, run: RetrainRun) -> tuple[float, str]:
        if not run.epochs:
            return 0.0, run.said
        last = run.epochs[-1]
        if len(run.epochs) != self._drawn:
            self._draw_curve(run)
        return 100 * last["epoch"] / last["epochs"], run.said

    def _draw_curve(self, run: RetrainRun) -> None:
        data, self._drawn = self.state.data, len(run.epochs)
        losses = [(event["epoch"], event["loss"]) for event in run.epochs]
        data.loss = chart("Epoch", "Loss", [Series(losses, ORANGE, line=True)])
        dice = [(e["epoch"], e["validation_dice"]) for e in run.epochs if e["validation_dice"] is not None]
        if dice:
            beat = run.baseline.get("validation_dice")
            levels = [] if beat is None else [(beat, f"to beat: {beat:.3f}", RED)]
            data.curve = chart("Epoch", "Validation Dice", [Series(dice, BLUE, line=True)], levels)

    def _trained(self, run: RetrainRun) -> None:
        if run.epochs:
            self._draw_curve(run)
        self.page.segment.find_models()
        self.update()
        self.page.frame.say(run.result.get("sentence") or run.message or "Re-training was cancelled.")

    def _make_current(self, name: str) -> None:
        try:
            if name not in [version.model.name for version in lineage()]:
                raise ModelError("This model is not on the server; choose another one.")
            make_current(name)
        except SpineSegError as error:
            self.page.frame.say(str(error))
        self.page.segment.find_models()
        self.update()


def _submitted(run: SubmitRun) -> str:
    if run.state != "finished":
        return run.message
    stored = "replaced an earlier one" if run.result["replaced"] else "is new"
    return f"Stored as a {run.result['side']} case, which {stored}."


def _dice(info: Any) -> str:
    dice = None if info is None else info.metrics.get("validation_dice")
    return "" if dice is None else f"{dice:.3f}"
