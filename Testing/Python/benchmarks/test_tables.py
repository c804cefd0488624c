"""How benchmarks take turns, and what their tables say of it. Nothing here measures time."""

from __future__ import annotations

import pytest

from Testing.Benchmarks import rounds
from Testing.Benchmarks.rounds import MeasurementError, alternate
from Testing.Benchmarks.table import Candidate, Quantity, Table

SECONDS = Quantity("seconds", "time, s", 2)


def candidate(name: str, *seconds: float) -> Candidate:
    return Candidate(name, "cpu", tuple({"seconds": value} for value in seconds))


def table(*candidates: Candidate) -> Table:
    return Table("Title", "Conditions.", (SECONDS,), candidates, "plain")


def test_ratio_compares_what_was_measured_together():
    """The machine was ten times slower in the second round: both needed ten times as long, the ratio stays 4."""
    plain, fast = candidate("plain", 8.0, 80.0, 8.0), candidate("fast", 2.0, 20.0, 4.0)
    speed = table(fast, plain)
    assert speed.ratio(fast, "seconds") == 4.0
    assert speed.median(fast, "seconds") == 4.0  # the ratio of the medians would be 2
    assert speed.ratio(plain, "seconds") == 1.0
    assert "| fast | cpu | 4.00 (4.00×) |" in speed.markdown()


def test_a_table_says_how_many_rounds_it_had():
    assert "Conditions. Rounds: 3." in table(candidate("fast", 2.0, 3.0, 4.0), candidate("plain")).markdown()


def test_what_could_not_be_measured_has_a_row_that_says_so():
    speed = table(candidate("plain", 8.0), Candidate("gone", problem="not installed"))
    assert "| gone | not installed | – |" in speed.markdown()
    row = speed.as_dict()["rows"][1]
    assert (row["problem"], row["median"], row["ratio"]) == ("not installed", {"seconds": None}, {"seconds": None})


def test_without_the_baseline_there_are_times_but_no_ratios():
    speed = table(candidate("fast", 2.0), Candidate("plain", problem="not installed"))
    assert "| fast | cpu | 2.00 |" in speed.markdown()
    assert speed.as_dict()["rows"][0]["ratio"] == {"seconds": None}


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(rounds, "installed_backends", lambda: ("openvino", "tensorflow"))


def test_engines_take_turns(installed):
    asked = []

    def measure(engine: str):
        asked.append(engine)
        return {"device": "cpu", "seconds": float(len(asked)), "other": 0}

    measures = {
        engine: lambda engine=engine: measure(engine) for engine in ("openvino", "tensorflow", "torch", "plain")
    }
    openvino, tensorflow, torch, plain = alternate(measures, ["seconds"], 2, tell=lambda _: None)
    assert asked == ["openvino", "tensorflow", "plain"] * 2
    assert openvino.rounds == ({"seconds": 1.0}, {"seconds": 4.0})
    assert tensorflow.rounds == ({"seconds": 2.0}, {"seconds": 5.0})
    assert plain.rounds == ({"seconds": 3.0}, {"seconds": 6.0})
    assert (torch.rounds, torch.problem) == ((), "not installed")


def test_a_round_that_would_end_too_late_is_not_begun(installed):
    """Rounds of 10 s: the third would end after 30 s."""
    now = [100.0]

    def measure():
        now[0] += 10
        return {"device": "cpu", "seconds": 10.0}

    def rounds_within(budget: float) -> int:
        (found,) = alternate({"openvino": measure}, ["seconds"], 5, lambda _: None, budget, clock=lambda: now[0])
        return len(found.rounds)

    assert [rounds_within(budget) for budget in (1, 20, 29, 30, 1000)] == [1, 2, 2, 3, 5]


def test_an_engine_that_fails_is_not_asked_again(installed):
    asked = []

    def fail():
        asked.append("openvino")
        raise MeasurementError("it ended")

    measures = {"openvino": fail, "tensorflow": lambda: {"device": "cpu", "seconds": 1.0}}
    openvino, tensorflow = alternate(measures, ["seconds"], 3, tell=lambda _: None)
    assert (len(asked), openvino.problem, openvino.rounds) == (1, "failed", ())
    assert len(tensorflow.rounds) == 3
