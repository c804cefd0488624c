"""The benchmarks run: every engine's worker agrees on what it computes, and the command writes its tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from SpineSegLib.engine.models.unet import PRESETS

from Testing.Benchmarks import network_speed
from Testing.Benchmarks.engines import CONVERTED, ENGINES, FEW, INT8, Engine
from Testing.Benchmarks.network_speed import measure_network
from Testing.Benchmarks.rounds import NAMES, PLAIN, MeasurementError
from Testing.Benchmarks.run import ALL_SECONDS, BUDGETS, NETWORKS, TINY

REPOSITORY = Path(__file__).resolve().parents[3]


def test_engines_are_measured_or_said_to_be_missing(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    pytest.importorskip("openvino")
    names = (NAMES["openvino"], INT8.name, NAMES[PLAIN])
    few = [engine for engine in ENGINES if engine.name in names and engine.possible]
    absent = Engine("an engine that is nowhere", ("no_such_package",), few[0].load)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "SpineSeg"))
    table = measure_network("tiny", TINY, (1, 2), (*few, absent), 16, tmp_path, 1, lambda _: None)
    assert [candidate.name for candidate in table.candidates] == [engine.name for engine in few]
    for candidate in table.candidates:
        (numbers,) = candidate.rounds  # nothing failed, so that both computed the same
        assert candidate.device == "cpu"
        assert numbers["best_batch"] in (1, 2)
        assert min(numbers.values()) > 0
    assert f"Left out here: {absent.name}." in table.conditions


def test_a_table_of_one_batch_has_no_best_one(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    few = [engine for engine in ENGINES if engine.name == NAMES["openvino"]]
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "SpineSeg"))
    table = measure_network("tiny", TINY, (1,), few, 16, tmp_path, 2, lambda _: None)
    assert [quantity.key for quantity in table.quantities] == ["seconds_per_slice", "peak_memory_mb"]
    assert [set(numbers) for numbers in table.candidates[0].rounds] == [{"seconds_per_slice", "peak_memory_mb"}] * 2
    assert "best" not in table.conditions


@pytest.mark.parametrize(
    ("takes", "calls", "expected"),
    [([0.9], 1, 0.45), ([0.1, 0.1, 7.0], 3, 0.05), ([0.3, 0.1, 0.05, 0.2], 4, 0.075)],
    ids=["a long call once", "one that was disturbed", "short ones as long as it takes"],
)
def test_the_median_of_calls_in_a_row_counts(takes, calls, expected):
    now, made = [0.0], []

    def predict(batch):
        made.append(batch.shape)
        now[0] += takes[len(made) - 1]

    assert network_speed.seconds_a_slice(predict, np.zeros((2, 1, 4, 4)), lambda: now[0]) == pytest.approx(expected)
    assert made == [(2, 1, 4, 4)] * calls


def test_an_engine_that_computes_something_else_is_no_candidate(tmp_path):
    worker = network_speed._Worker("any", tmp_path / "a.weights.h5", (1,), 16, [0.25, 0.5])
    worker._check("[0.26, 0.48]")
    with pytest.raises(MeasurementError, match="something else"):
        worker._check("[0.25, 0.6]")
    with pytest.raises(MeasurementError, match="ended"):
        worker._check("")


def test_the_command_writes_its_tables(tmp_path):
    pytest.importorskip("openvino")
    command = [sys.executable, "-m", "Testing.Benchmarks.run", "--quick", "--rounds", "2", "--only", "limit"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "SpineSeg")}
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    table = text[text.index("## How near the limit") : text.index("## Duration")]
    assert table.rstrip() in done.stdout
    assert "| limit |" in text[text.index("## Duration") :]
    results = json.loads((tmp_path / "RESULTS.json").read_text(encoding="utf-8"))
    assert list(results["seconds"]) == ["limit"]
    (table,) = results["tables"]
    rows = {row["name"]: row for row in table["rows"]}
    assert {"matrix product, float32", "3x3 convolutions, float32", "SpineSeg tiny, float32"} <= set(rows)
    shares = [rows[f"{limit}, float32"]["rounds"] for limit in ("matrix product", "3x3 convolutions")]
    for both in zip(*shares, strict=True):
        assert max(numbers["share"] for numbers in both) == pytest.approx(100)
    assert len(rows["SpineSeg tiny, float32"]["rounds"]) == 2


def test_every_preset_is_measured():
    assert set(NETWORKS) == set(PRESETS)
    assert [engine.name for engine in FEW] == [NAMES["openvino"], INT8.name, NAMES[PLAIN], CONVERTED.name]


def test_all_tables_together_fit_into_twenty_minutes():
    assert sum(BUDGETS.values()) <= ALL_SECONDS
