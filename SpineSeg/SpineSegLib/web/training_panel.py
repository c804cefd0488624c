"""The panel that re-trains, with a live curve; above it the stored cases, below it the versions of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trame.widgets.vuetify3 import VDivider
from trame_server.utils.typed_state import TypedState

from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.engine.models.model_file import read_info
from SpineSegLib.engine.training.retraining import plan
from SpineSegLib.engine.training.training_set import TrainingSet
from SpineSegLib.scene.retrain_run import RetrainRun
from SpineSegLib.web.chart import Series, chart, draw_chart
from SpineSegLib.web.widgets import heading, hint, job, number, number_field, switch

if TYPE_CHECKING:
    from SpineSegLib.web.page import Page

EPOCHS = 1, 50
BLUE, ORANGE, RED = "#3f8ae0", "#d98a26", "#d0524a"


@dataclass
class TrainingState:
    """`plan`: what re-training would do or why it can't; `offered`: without validation it could."""

    plan: str = ""
    possible: bool = False
    offered: bool = False
    without_validation: bool = False
    epochs: int = 12
    curve: dict[str, Any] | None = None
    loss: dict[str, Any] | None = None


class TrainingPanel:
    """Drives `scene.retrain_run.RetrainRun`, as the panel in Slicer does."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.state = TypedState(page.server.state, TrainingState)
        self._drawn = 0  # epochs in the charts
        self.state.bind_changes({self.state.name.without_validation: lambda _: self.update()})
        page.segment.state.bind_changes({page.segment.state.name.model: lambda _: self.update()})
        page.workspace.changed.append(self.update)

    def draw(self) -> None:
        """Draw the panel."""
        names, runner = self.state.name, self.page.runner
        self.page.cases.draw()
        VDivider(classes="my-3")
        heading("Re-train")
        hint(f"{{{{ {names.plan} }}}}")
        offered = f"{names.offered} || {names.without_validation}"
        switch(names.without_validation, "Without validation", v_if=(offered,))
        number_field(names.epochs, "Epochs", *EPOCHS, 1)
        job(runner.names, "train", "Re-train", names.possible, self._train, runner.cancel)
        draw_chart(names.curve, "Validation Dice of each epoch")
        draw_chart(names.loss, "Loss of each epoch")
        VDivider(classes="my-3")
        self.page.versions.draw()

    def update(self) -> None:
        """Show what re-training with the stored cases and the chosen model would be."""
        data, file = self.state.data, self.page.cases.file
        data.possible = data.offered = False
        if not file.is_file():
            data.plan = "Submit corrected cases first."
            return
        try:
            planned = plan(TrainingSet(file), read_info(self.page.segment.model()), bool(data.without_validation))
        except SpineSegError as error:
            data.plan = str(error)
            return
        data.offered = planned.offer is not None
        data.possible = planned.problem is None
        data.plan = " ".join([*planned.sentences, *([planned.problem] if planned.problem else [])])

    def _train(self) -> None:
        data = self.state.data
        data.curve = data.loss = None
        self._drawn = 0
        self.page.runner.start("train", self._begin, self._describe, self._trained)

    def _begin(self) -> RetrainRun:
        return RetrainRun(
            self.page.workspace.worker,
            self.page.cases.file,
            self.page.segment.model(),
            without_validation=bool(self.state.data.without_validation),
            epochs=int(number(self.state.data.epochs, "Epochs", *EPOCHS)),
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
        self.page.frame.say(run.result.get("sentence") or run.message or "Re-training was cancelled.")
