"""What a re-training shows while it runs; the worker's side of it is tested with the jobs and in the panel."""

import math
from types import SimpleNamespace

import pytest
from SpineSegLib.scene.retrain_run import RetrainRun

BASELINE = {"event": "baseline", "validation_dice": 0.7, "rehearsal_dice": 0.9}


def epoch(number, dice):
    return {"event": "epoch", "epoch": number, "epochs": 12, "loss": 0.5 / number, "validation_dice": dice,
            "rehearsal_dice": 0.9, "best_dice": dice, "seconds_left": 90.0}  # fmt: skip


@pytest.fixture
def run(scene):
    """A re-training of which `told` are the coming events."""
    told = []
    job = SimpleNamespace(state="running", message="", result={}, told=told)
    job.poll = lambda: [told.pop(0) for _ in range(len(told))]
    run = RetrainRun(SimpleNamespace(start_job=lambda *_, **__: job), "x.cases.h5", "default")
    run.told = told
    return run


def column(chart, name):
    table = chart.GetNthPlotSeriesNode(0).GetTableNode().GetTable().GetColumnByName(name)
    return [table.GetValue(n) for n in range(table.GetNumberOfTuples())]


def shown(chart):
    nodes = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    return {node.GetName(): node.GetLineStyle() != node.LineStyleNone for node in nodes}


def test_the_curve_starts_at_the_model_to_beat(run):
    run.told += [BASELINE, epoch(1, 0.75)]
    run.step()
    assert run.said == "Epoch 1 of 12, 2 min left"
    chart = run.show_curve()
    # One loss alone makes no line.
    assert shown(chart) == {"Loss": False, "Validation Dice": True, "Starting model's Dice": True}
    run.told += [epoch(2, 0.8)]
    run.step()
    assert run.show_curve() is chart
    assert shown(chart)["Loss"]
    assert column(chart, "Epoch") == [0, 1, 2]
    assert column(chart, "Validation Dice") == [0.7, 0.75, 0.8]
    assert column(chart, "To beat") == [0.7] * 3
    assert math.isnan(column(chart, "Loss")[0])
    assert column(chart, "Loss")[1:] == [0.5, 0.25]
    assert chart.GetXAxisRange() == (0, 12)


def test_without_validation_there_is_no_line_to_beat(run):
    run.told += [BASELINE | {"validation_dice": None}, epoch(1, None)]
    run.step()
    assert shown(run.show_curve()) == {"Loss": False}
