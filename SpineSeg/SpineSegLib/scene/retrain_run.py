"""A re-training by the worker, with its curve as nodes of the scene."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
import vtk

from SpineSegLib.scene import charts
from SpineSegLib.scene.segment_run import duration

if TYPE_CHECKING:
    from SpineSegLib.worker_client import WorkerProcess

DICE_COLOUR, LOSS_COLOUR, LINE_COLOUR = (0.13, 0.4, 0.75), (0.85, 0.5, 0.1), (0.75, 0.2, 0.15)


class RetrainRun:
    """Call `step` while `running`; then `state` is "finished", "cancelled" or "failed".

    `said`: what to tell the person now. `epochs`: the worker's "epoch" events so far,
    `baseline` its "baseline" event. `result`: the new version, also after cancelling where an epoch was done.
    """

    def __init__(
        self,
        worker: WorkerProcess,
        training_set: Path,
        start: str | Path,
        *,
        device: str = "auto",
        without_validation: bool = False,
        epochs: int | None = None,
    ) -> None:
        """`start`: the model to begin with. `epochs`: at most so many, None for the usual number."""
        self._job = worker.start_job(
            "train",
            cases=str(training_set),
            start=str(start),
            device=device,
            name=None,
            without_validation=without_validation,
            rehearsal=True,
            settings={} if epochs is None else {"epochs": epochs},
        )
        self._folder: Path | None = None  # where the worker trains
        self.said = "Loading the training set..."
        self.baseline: dict[str, Any] = {}
        self.epochs: list[dict[str, Any]] = []
        self.result: dict[str, Any] = {}

    @property
    def running(self) -> bool:
        """Whether `step` is still to be called."""
        return self._job.state == "running"

    @property
    def state(self) -> str:
        """ "running", "finished", "cancelled" or "failed"."""
        return self._job.state

    @property
    def message(self) -> str:
        """One sentence on why it failed."""
        return self._job.message

    def step(self) -> None:
        """Take what the worker has reported. Raises the errors of `keep_unfinished`."""
        for event in self._job.poll():
            kind = event["event"]
            if kind == "plan":
                self._folder = Path(event["folder"])
            elif kind == "progress":
                self.said = f"{event['stage'].capitalize()}: {event['done']} of {event['of']}"
            elif kind == "baseline":
                self.baseline = event
            elif kind == "epoch":
                self.epochs.append(event)
                self.said = f"Epoch {event['epoch']} of {event['epochs']}, {_left(event['seconds_left'])} left"
        if self._job.state == "finished":
            self.result = self._job.result
        elif self._job.state == "cancelled" and self.epochs:
            from SpineSegLib.engine.training.retraining import keep_unfinished  # would delay the panel's opening

            self.result = keep_unfinished(self._folder).as_dict()

    def cancel(self) -> None:
        """Stop with the best epoch so far; go on calling `step`."""
        self._job.cancel()

    def show_curve(self) -> slicer.vtkMRMLPlotChartNode:
        """The curve so far: validation Dice, the starting model's Dice as the line to beat, and the loss.

        The starting model is epoch 0. The axes reach as far as the training may, with room for the legend above.
        """
        start, losses = self.baseline.get("validation_dice"), [event["loss"] for event in self.epochs]
        node = charts.own_node("vtkMRMLTableNode", "Re-training")
        table = vtk.vtkTable()
        charts.number_column(table, "Epoch", [0, *(event["epoch"] for event in self.epochs)], int)
        charts.number_column(table, "Loss", [None, *losses], float)
        dice = [start, *(event["validation_dice"] for event in self.epochs)]
        charts.number_column(table, "Validation Dice", dice, float)
        charts.number_column(table, "To beat", [start] * len(dice), float)
        charts.fill(node, table)
        # A line needs two points.
        shown = [charts.series("Loss", node, "Epoch", "Loss", LOSS_COLOUR, points=True, line=len(losses) > 1)]
        if start is not None:
            curve = charts.series("Validation Dice", node, "Epoch", "Validation Dice", DICE_COLOUR, True, True)
            line = charts.series("Starting model's Dice", node, "Epoch", "To beat", LINE_COLOUR, False, True)
            shown += [curve, line]
        chart = charts.chart("Re-training", shown, "Epoch", "", legend=True)
        chart.SetXAxisRangeAuto(False)
        chart.SetXAxisRange(0, self.epochs[-1]["epochs"] if self.epochs else 1)
        chart.SetYAxisRangeAuto(False)
        chart.SetYAxisRange(0, 1.3 * max(1.0, *losses, 0.0))
        return chart


def _left(seconds: float | None) -> str:
    return "unknown time" if seconds is None else duration(seconds)
