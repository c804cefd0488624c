"""The simulated annotator of the benchmark: what is counted, and in which order slices are looked at."""

from dataclasses import replace

import numpy as np
import pytest
from SpineSegLib.engine.training.training_set import UNCHECKED
from SpineSegLib.engine.volume import Grid, Volume

from Testing.Benchmarks import loop


def made_up(wrong: list[int]) -> tuple[loop.Patient, loop.Drawn]:
    """A patient of slices 5 mm apart with so many wrong pixels of 2 x 2 mm each, and doubt that knows it."""
    truth = np.zeros((len(wrong), 10, 10), dtype=np.uint8)
    truth[:, :4] = 1
    labels = truth.copy()
    for k, count in enumerate(wrong):
        labels[k, 5:].reshape(-1)[:count] = 1
    grid = Grid(truth.shape, (5.0, 2.0, 2.0), (0.0, 0.0, -100.0))
    volume = Volume(grid.image(np.zeros(truth.shape, np.int16)), "made up")
    return loop.Patient("made up", volume, truth), loop.Drawn(labels, np.array(wrong, dtype=float))


def test_scores_count_what_an_annotator_would_touch():
    each, found = made_up([0, 6, 7, 30])  # 25 mm² are 6.25 pixels
    scores = loop.scores([each], [found])
    assert scores["slices"] == 2
    assert scores["wrong"] == pytest.approx(0.043)
    assert scores["dice"] == pytest.approx(2 * 160 / (160 + 160 + 43))


def test_suggested_slices_hold_more_errors_than_random_ones():
    each, found = made_up([1, 2, 40, 1, 3, 1, 30, 2, 1, 1])
    assert loop.order_of(each, found, "suggested", 0)[:2] == [2, 6]
    assert sorted(loop.order_of(each, found, "random", 0)) == list(range(10))
    shares = loop.repaired([each], [found], "suggested")
    assert shares["10 %"] == pytest.approx(40 / 82)
    assert shares["25 %"] == pytest.approx(70 / 82)
    assert shares["25 %"] > loop.repaired([each], [found], "random")["25 %"]


def test_corrected_cases_hold_the_checked_slices_alone(tmp_path):
    patients, drawn = zip(*(made_up([1, 2, 40, 1, 3, 1, 30, 2, 1, n]) for n in (1, 2)), strict=True)
    patients = [replace(each, name=f"made up {n}") for n, each in enumerate(patients)]
    target = loop.corrected_set(tmp_path / "x.cases.h5", patients, drawn, "suggested", budget=2)
    assert [case.checked for case in target.cases()] == [(2, 6), (2, 6)]
    assert [case.side for case in target.cases()] == ["training", "validation"]
    import SimpleITK as sitk

    stored = sitk.GetArrayFromImage(target.images("case_0001")[1])
    np.testing.assert_array_equal(stored[[2, 6]], patients[0].truth[[2, 6]])
    assert (np.delete(stored, [2, 6], axis=0) == UNCHECKED).all()


def test_table_and_picture(tmp_path):
    score = {"dice": 0.5, "wrong": 10.0, "slices": 30.0}
    better = score | {"dice": 0.75}
    result = {
        "settings": {"epochs": 1, "steps": 2, "budget": 3},
        "repaired": {"new kind, suggested": {"10 %": 0.3, "25 %": 0.5, "50 %": 0.75}},
        "rows": [
            {"order": "", "k": 0, "minutes": 0.0, "new": score, "old": score},
            {"order": "suggested", "k": 4, "minutes": 2.5, "new": better, "old": score | {"dice": 0.498}},
            {"order": "real", "k": 2, "minutes": 1.0, "case": "x", "before": score, "new": better},
        ],
    }
    loop.write(result, tmp_path)
    text = (tmp_path / "LOOP.md").read_text()
    assert "| suggested | 4 | 0.750 | 10.0 | 30 | 0.498 (-0.2) | 2.5 |" in text
    assert "| x | 0.500 | 0.750 | 30 | 30 |" in text
    assert (tmp_path / "LOOP.png").stat().st_size > 5000
