"""The simulated annotator of the benchmark: what is counted, and in which order slices are looked at."""

from dataclasses import replace

import numpy as np
import pytest
from small_anatomy import small_anatomy
from SpineSegLib.engine.datasets.labels import UNCHECKED
from SpineSegLib.engine.training.training_set import TrainingSet
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


def replace_spacing(volume: Volume, pixel: float) -> Volume:
    image = volume.image[:]
    image.SetSpacing((pixel, pixel, 5.0))
    return Volume(image, "made up")


def test_scores_count_what_an_annotator_would_touch():
    each, found = made_up([0, 6, 25, 30])  # of 4 mm²
    scores = loop.scores([each], [found])
    assert scores["slices"] == 1
    assert scores["redrawn"] == 0
    assert scores["wrong"] == pytest.approx(0.061)
    assert scores["dice"] == pytest.approx(2 * 160 / (160 + 160 + 61))
    found = replace(found, labels=1 - found.labels)  # each slice wrong by 100 pixels less those
    assert loop.scores([each], [found])["slices"] == 4
    assert loop.scores([each], [found])["redrawn"] == 0
    coarse = replace(each, volume=replace_spacing(each.volume, 4.0))
    assert loop.scores([coarse], [found])["redrawn"] == 4
    # Where the truth is incomplete, nothing counts.
    part = replace(each, complete=np.array([True, True, False, False]))
    assert loop.scores([part], [made_up([0, 6, 25, 30])[1]])["wrong"] == pytest.approx(0.006)


def test_suggested_slices_hold_more_errors_than_random_ones():
    each, found = made_up([1, 2, 40, 1, 3, 1, 30, 2, 1, 1])
    assert loop.order_of(each, found, "suggested", 0)[:2] == [2, 6]
    assert sorted(loop.order_of(each, found, "random", 0)) == list(range(10))
    shares = loop.repaired([each], [found], "suggested")
    assert shares["10 %"] == pytest.approx(40 / 82)
    assert shares["25 %"] == pytest.approx(70 / 82)
    assert shares["25 %"] > loop.repaired([each], [found], "random")["25 %"]


def test_real_cases_count_as_far_as_their_masks_are_complete(tmp_path):
    """S1 is marked but not the sacrum below it; stored from the head down."""
    import SimpleITK as sitk

    labels = np.zeros((6, 8, 8), dtype=np.uint8)
    labels[:2, 2:5, 2:5] = 27
    labels[2:4, 2:5, 2:5] = 26
    (tmp_path / "one").mkdir()
    for name, array in (("ct", labels * np.int16(20) - np.int16(900)), ("mask", labels)):
        image = sitk.GetImageFromArray(array)
        image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
        sitk.WriteImage(image, str(tmp_path / "one" / f"{name}.nii.gz"))
    (each,) = loop.real_patients(tmp_path)
    assert each.complete.tolist() == [False] * 4 + [True] * 2
    assert each.truth[4:].sum() == 2 * 9
    target = TrainingSet.create(tmp_path / "x.cases.h5", "x", ("vertebrae", "sacrum"))
    assert target.add(loop.submission_of(each, target.segments))[0].checked == (4, 5)


def test_rendered_scans_show_their_anatomy():
    (each,) = loop.rendered_patients([small_anatomy()], 1)
    assert each.name == "small 0"
    hu, truth = each.volume.array, each.truth
    assert hu.shape == truth.shape
    assert hu[truth > 0].mean() > hu[(truth == 0) & (hu > -300)].mean() + 80


def test_corrected_cases_hold_the_checked_slices_alone(tmp_path):
    patients, drawn = zip(*(made_up([1, 2, 40, 1, 3, 1, 30, 2, 1, n]) for n in (1, 2)), strict=True)
    patients = [replace(each, name=f"made up {n}") for n, each in enumerate(patients)]
    target = loop.corrected_set(tmp_path / "x.cases.h5", patients, drawn, "suggested", budget=2)
    assert [case.checked for case in target.cases()] == [(2, 6), (2, 6)]
    assert [case.side for case in target.cases()] == ["training", "validation"]
    both = loop.corrected_set(tmp_path / "y.cases.h5", patients, drawn, "random", budget=2, side="training")
    assert [case.side for case in both.cases()] == ["training", "training"]
    import SimpleITK as sitk

    stored = sitk.GetArrayFromImage(target.images("case_0001")[1])
    np.testing.assert_array_equal(stored[[2, 6]], patients[0].truth[[2, 6]])
    assert (np.delete(stored, [2, 6], axis=0) == UNCHECKED).all()


def test_table_and_picture(tmp_path):
    score = {"dice": 0.5, "wrong": 10.0, "slices": 30.0, "redrawn": 8.0}
    better = score | {"dice": 0.75, "redrawn": 2.0}
    row = {"minutes": 2.5, "cpu": 4.0, "training": 3, "validation": 1, "said": "", "old": {"phantoms": 0.498}}
    result = {
        "settings": {"model": "default 2", "epochs": 1, "steps": 2, "budget": 3, "unseen": 1, "machine": {"CPU": "x"}},
        "before": score,
        "old_before": {"phantoms": 0.5},
        "repaired": {"suggested": {"10 %": 0.3, "25 %": 0.5, "50 %": 0.75}},
        "rows": [{"order": "suggested", "k": 4, "new": better} | row],
        "real": [{"case": "x", "others": ["y"], "before": score, "new": better} | row],
    }
    loop.write(result, tmp_path)
    text = (tmp_path / "LOOP.md").read_text()
    assert "| suggested | 4 | 3 + 1 | 0.750 | 10.0 | 30.0 | 2.0 | 0.498 (-0.2) | 2.5 | 4.0 |" in text
    assert "| suggested | 30 % | 50 % | 75 % |" in text
    assert "| x | before | 0.500 | 10.0 | 30.0 | 8.0 | 0.500 | |" in text
    assert "| | y | 0.750 | 10.0 | 30.0 | 2.0 | 0.498 (-0.2) | 2.5 |" in text
    assert (tmp_path / "LOOP.png").stat().st_size > 5000
