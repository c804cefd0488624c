"""Re-training on small cases: it beats its parent or says that it doesn't, and can be stopped at any moment."""

import json
import math
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("tensorflow", reason="training needs TensorFlow")

from corrected_cases import SEGMENTS, ball_case, ball_set, ball_submission
from small_models import model_info, start_keras
from SpineSegLib.engine.errors import ComputeError, InputError, OutputError
from SpineSegLib.engine.models.backends import installed_backends
from SpineSegLib.engine.models.model_catalogue import make_current, resolve_model
from SpineSegLib.engine.models.model_file import (
    read_identity,
    read_info,
    read_peaks,
    read_training,
    read_weights,
    save_model,
)
from SpineSegLib.engine.models.openvino_graph import largest_in_int8
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.models.unet import Architecture, build_unet
from SpineSegLib.engine.synthetic import recipe
from SpineSegLib.engine.training import retraining, training_set
from SpineSegLib.engine.training.retraining import keep_unfinished, plan, retrain, unfinished
from SpineSegLib.engine.training.trainer import Trainer, TrainingSettings
from SpineSegLib.engine.training.training_set import TrainingSet

SETTINGS = TrainingSettings(
    epochs=2, steps=40, batch=4, patch=32, learning_rate=1e-2, warm_up=5, average=0.8, patience=4,
    mixed_precision=False, fixed_norms=True,
)  # fmt: skip
QUICK_HASH = {"n": 2, "r": 1, "p": 1}


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch) -> Path:
    """The user's model folder, with a model that has learned nothing yet."""
    monkeypatch.setenv("SPINESEG_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(training_set, "_HASH_COST", QUICK_HASH)
    write_untrained(tmp_path / "models" / "tiny.weights.h5", SEGMENTS)
    return tmp_path / "models"


def write_untrained(path: Path, labels: tuple[str, ...]) -> None:
    architecture = Architecture(
        inputs=1, outputs=len(labels) + (len(labels) > 1), width=4, depth=2, normalization="batch"
    )
    info = model_info(architecture, name="tiny", labels=labels, preprocessing=Preprocessing(context=(0.0,)))
    start_keras().utils.set_random_seed(1)
    save_model(build_unet(architecture), info, path)


@pytest.fixture
def cases(tmp_path, models) -> TrainingSet:
    return ball_set(tmp_path / "balls.cases.h5", 3)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> Path:
    """Cases to rehearse, in folders."""
    folder = tmp_path_factory.mktemp("earlier")
    for seed in range(50, 53):
        (folder / f"p{seed}").mkdir()
        for name, image in zip(("ct.nii.gz", "mask.nii.gz"), ball_case(seed), strict=True):
            sitk.WriteImage(image, str(folder / f"p{seed}" / name))
    return folder


class Told(list):
    """What was reported; raises `error` at the event that `stop` describes."""

    def __init__(self, **stop):
        self.stop = stop

    def __call__(self, event, **values):
        told = {"event": event, **values}
        json.dumps(told, allow_nan=False)  # it goes through a worker's pipe
        self.append(told)
        if self.stop and all(told.get(key) == value for key, value in self.stop.items()):
            raise KeyboardInterrupt

    def of(self, event):
        return [told for told in self if told["event"] == event]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, earlier):
    """What a re-training gave and told, with the folder it took place in."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPINESEG_MODELS", str(folder))
        patch.setattr(training_set, "_HASH_COST", QUICK_HASH)
        write_untrained(folder / "tiny.weights.h5", SEGMENTS)
        cases = ball_set(folder / "balls.cases.h5", 3)
        told = Told()
        result = retrain(cases.path, folder / "tiny.weights.h5", SETTINGS, rehearsal=earlier, report=told)
        current = resolve_model(None)
    return result, told, cases, current


def test_the_next_version_beats_its_parent_and_becomes_current(trained):
    result, told, cases, current = trained
    folder = cases.path.parent
    assert result.model == folder / "tiny-2.weights.h5"
    info = read_info(result.model)
    assert (info.name, info.version, info.parent, info.labels) == ("tiny", 2, "tiny 1", SEGMENTS)
    assert info.metrics["validation_dice"] > 0.8 > 0.5 > info.metrics["parent_validation_dice"]
    assert info.metrics["rehearsal_dice"] > 0.8 > 0.5 > info.metrics["parent_rehearsal_dice"]
    assert result.better
    assert result.made_current
    assert current == result.model
    assert "tiny 2 is better than tiny 1" in result.sentence

    record = read_training(result.model)
    assert record["parent"] == read_identity(folder / "tiny.weights.h5")
    assert record["training_set"] == training_set.fingerprint([c for c in cases.cases() if c.side == "training"])
    assert record["settings"]["learning_rate"] == SETTINGS.learning_rate
    curve = [round(event["validation_dice"], 5) for event in told.of("epoch")]
    assert [entry["validation_dice"] for entry in record["history"]] == curve
    dice, before = info.metrics["validation_dice"], info.metrics["parent_validation_dice"]
    assert record["scores"] == [{"case": "case_0002", "dice": dice, "parent_dice": before}]
    assert info.preprocessing == read_info(folder / "tiny.weights.h5").preprocessing
    # Whether it is as good in int8 was tried, where it could be, on this version and not its parent.
    can_int8 = "openvino" in installed_backends() and bool(largest_in_int8())
    assert ("int8_dice_lost" in info.metrics) == can_int8
    assert (read_peaks(result.model) is not None) == (info.metrics.get("int8_dice_lost", 1.0) <= 0.002)
    assert {entry["share"] for entry in record["history"]} <= {1.0, *retraining.SHARES}
    assert not [path for path in folder.iterdir() if path.name.startswith(".training")]
    assert read_info(folder / "tiny.weights.h5").version == 1


def test_batch_normalisation_stays_as_it_was(trained):
    before, after = (read_weights(path)[1] for path in (trained[2].path.with_name("tiny.weights.h5"), trained[0].model))
    for name, arrays in before.items():
        same = [np.array_equal(one, other) for one, other in zip(arrays, after[name], strict=True)]
        assert all(same) if "_norm" in name else not all(same)


def test_what_is_told_on_the_way(trained):
    result, told, *_ = trained
    assert told[0]["event"] == "plan"
    assert told[0]["sentences"][0] == "2 cases of 2 patients to train on, 1 case of 1 patient to validate on."
    (baseline,) = told.of("baseline")
    assert baseline["validation_dice"] == pytest.approx(result.info.metrics["parent_validation_dice"], abs=1e-5)
    assert [event["epoch"] for event in told.of("epoch")] == [1, 2]
    steps = [event for event in told.of("progress") if event["stage"] == "epoch 2 of 2"]
    assert [event["done"] for event in steps] == list(range(1, 41))
    assert steps[0]["seconds_left"] > steps[-1]["seconds_left"] == 0


def test_phantoms_are_rendered_to_rehearse_and_some_held_out(cases, models, monkeypatch):
    made = []

    def make_phantom(seed, **_):
        made.append(seed)
        return SimpleNamespace(**dict(zip(("image", "mask"), ball_case(seed), strict=True)))

    monkeypatch.setattr(recipe, "make_phantom", make_phantom)
    told = Told()
    result = retrain(cases.path, models / "tiny.weights.h5", replace(SETTINGS, epochs=1, steps=2), report=told)
    assert len(set(made)) == len(made) == 8
    assert len(list((models / ".rehearsal").glob("phantom_*/mask.nii.gz"))) == 8
    assert "rehearsal_dice" in result.info.metrics
    rendering = [event for event in told.of("progress") if event["stage"] == "rendering phantoms to rehearse"]
    assert [(event["done"], event["of"]) for event in rendering] == [(n, 8) for n in range(8)]


def test_a_version_that_is_no_better_is_kept_but_not_current(trained, cases, models, earlier):
    good = Path(shutil.copy(trained[0].model, models))
    make_current("tiny-2")
    bad = replace(SETTINGS, epochs=1, steps=1, batch=1, learning_rate=0.9, warm_up=0, average=0.0)
    worse = retrain(cases.path, good, bad, rehearsal=earlier)
    assert worse.model == models / "tiny-3.weights.h5"
    assert worse.model.exists()
    assert worse.better is False
    assert not worse.made_current
    assert resolve_model(None) == good
    assert "not made current" in worse.sentence


def with_scores(monkeypatch, *scores: tuple[float, float]) -> list[list[np.ndarray]]:
    """Let measuring give these Dice of validation and of rehearsal, one after the other; gets the weights measured."""
    measured, told = [], iter(scores)

    def scripted(self, model):
        measured.append(model.get_weights())
        validation, rehearsal = next(told)
        return {"validation_dice": validation, "rehearsal_dice": rehearsal, "by_case": {"case_0002": validation}}

    monkeypatch.setattr(retraining._Scores, "measure", scripted)
    return measured


def test_what_costs_too_much_elsewhere_is_taken_back_half_way(cases, models, earlier, monkeypatch):
    """The weights that are kept lie on the line to those of the starting model, as near as rehearsal demands."""
    measured = with_scores(monkeypatch, (0.5, 0.9), (0.72, 0.8), (0.7, 0.894), (0.69, 0.896))
    result = retrain(cases.path, models / "tiny.weights.h5", replace(SETTINGS, epochs=1, steps=2), rehearsal=earlier)
    start, learned, _, kept = measured
    assert result.record["history"][0]["share"] == 0.5
    assert result.record["scores"] == [{"case": "case_0002", "dice": 0.69, "parent_dice": 0.5}]
    assert result.better
    assert any(not np.allclose(one, other) for one, other in zip(start, learned, strict=True))
    for at_first, at_last, between in zip(start, learned, kept, strict=True):
        np.testing.assert_allclose(between, (at_first + at_last) / 2, atol=1e-6)
    before, after = (read_weights(path)[1] for path in (models / "tiny.weights.h5", result.model))
    assert all(
        np.array_equal(before[layer][0], start[n]) and np.array_equal(after[layer][0], kept[n])
        for n, layer in ((0, "encoder1_conv1"), (-2, "logits"))
    )


def test_an_epoch_that_forgot_too_much_is_not_the_best_one(cases, models, earlier, monkeypatch):
    with_scores(monkeypatch, (0.5, 0.9), (0.6, 0.9), (0.6, 0.9), *[(0.9, 0.5)] * 4)
    result = retrain(cases.path, models / "tiny.weights.h5", replace(SETTINGS, steps=2), rehearsal=earlier)
    assert [entry["validation_dice"] for entry in result.record["history"]] == [0.6, 0.9]
    assert (result.info.metrics["validation_dice"], result.info.metrics["rehearsal_dice"]) == (0.6, 0.9)
    assert result.made_current


@pytest.mark.parametrize(
    ("validation", "rehearsal", "better"),
    [(0.7011, 0.9, True), (0.7009, 0.9, False), (0.8, 0.8951, True), (0.8, 0.8949, False), (0.8, None, True)],
)
def test_better_is_a_gain_that_costs_little_elsewhere(validation, rehearsal, better):
    """A tenth of a point of Dice more than 0.7, and no more than half a point less than 0.9."""
    metrics = {"validation_dice": validation, "parent_validation_dice": 0.7}
    if rehearsal is not None:
        metrics |= {"rehearsal_dice": rehearsal, "parent_rehearsal_dice": 0.9}
    assert retraining._is_better(metrics) is better


def test_models_too_far_apart_are_not_mixed(cases, models, earlier, monkeypatch):
    """Half way between an untrained network and a trained one nothing works."""
    measured = with_scores(monkeypatch, (0.1, 0.1), (0.8, 0.8), (0.3, 0.7))
    result = retrain(cases.path, models / "tiny.weights.h5", replace(SETTINGS, epochs=1, steps=2), rehearsal=earlier)
    assert result.record["history"][0]["share"] == 1.0
    assert result.info.metrics["validation_dice"] == 0.8
    kept = read_weights(result.model)[1]["logits"][0]
    assert np.array_equal(kept, measured[1][-2])
    assert not np.allclose(kept, measured[2][-2])


def test_too_few_cases_are_told_with_what_could_be_done(tmp_path, models, monkeypatch):
    cases = TrainingSet.create(tmp_path / "few.cases.h5", "few", SEGMENTS)
    info = read_info(models / "tiny.weights.h5")
    assert "holds no case" in plan(cases, info).problem
    with pytest.raises(InputError, match="holds no case"):
        retrain(cases.path, models / "tiny.weights.h5", SETTINGS)
    cases.add(ball_submission(1))
    cases.add(ball_submission(1, scan="another"))
    monkeypatch.setattr(Trainer, "_step", lambda *_: 0.5)
    told = plan(cases, info)
    assert "no patient to validate on" in told.problem
    assert "won't be made current" in told.offer
    assert plan(cases, info, without_validation=True).problem is None
    result = retrain(cases.path, models / "tiny.weights.h5", SETTINGS, without_validation=True, rehearsal_share=0)
    assert result.better is None
    assert not result.made_current
    assert "nobody validated it" in result.sentence
    assert "validation_dice" not in result.info.metrics
    assert [round(entry["score"]) for entry in result.record["history"]] == [0, 1]  # the last epoch counts
    cases.add(ball_submission(2))
    assert plan(cases, info).problem is None
    # Who may validate later is never trained on, not even without validation.
    assert [case.case for case in plan(cases, info, without_validation=True).training] == ["case_0001", "case_0002"]
    cases.remove(["case_0001", "case_0002"])
    assert "no patient to train on" in plan(cases, info, without_validation=True).problem
    single = model_info(Architecture(inputs=1, outputs=2 + 1), labels=("L1", "L2"))
    assert "L1, L2, which the training set doesn't hold" in plan(cases, single).problem


def test_cancelling_keeps_the_best_epoch(cases, models):
    told = Told(event="progress", stage="epoch 2 of 2", done=3)
    with pytest.raises(KeyboardInterrupt):
        retrain(cases.path, models / "tiny.weights.h5", SETTINGS, rehearsal_share=0, report=told)
    (folder,) = unfinished()
    assert str(folder) == told[0]["folder"]
    (models / "tiny.weights.h5").unlink()  # nothing needs the starting model any more
    kept = keep_unfinished(folder)
    assert kept.model == models / "tiny-2.weights.h5"
    assert read_training(kept.model)["ended"] == "cancelled"
    assert len(kept.record["history"]) == 1
    assert kept.sentence.startswith("Cancelled; the best epoch so far was kept.")
    assert kept.info.metrics["validation_dice"] == pytest.approx(told.of("epoch")[0]["validation_dice"], abs=1e-5)
    assert unfinished() == []
    assert not folder.exists()


def test_what_was_killed_goes_on_from_its_last_epoch(trained, cases, models, earlier):
    start = models / "tiny.weights.h5"
    told = Told(event="progress", stage="epoch 2 of 2", done=3)
    with pytest.raises(KeyboardInterrupt):
        retrain(cases.path, start, SETTINGS, rehearsal=earlier, report=told)
    told = Told()
    resumed = retrain(cases.path, start, SETTINGS, rehearsal=earlier, report=told)
    assert [event["epoch"] for event in told.of("epoch")] == [2]
    # As if it had never been broken off.
    whole = trained[0].record
    for one, other in zip(whole["history"], resumed.record["history"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-2)
    assert resumed.record["baseline"]["by_case"] == whole["baseline"]["by_case"]


def test_other_rehearsal_does_not_go_on_with_it(cases, models, earlier, monkeypatch):
    monkeypatch.setattr(Trainer, "_step", lambda *_: 0.5)
    start, folders = models / "tiny.weights.h5", []
    for more in ({"rehearsal_share": 0}, {"rehearsal": earlier}):
        told = Told(event="epoch", epoch=1)
        with pytest.raises(KeyboardInterrupt):
            retrain(cases.path, start, SETTINGS, report=told, **more)
        folders.append(told[0]["folder"])
    assert folders[0] != folders[1]
    assert told.of("baseline")[0]["rehearsal_dice"] is not None


def test_another_training_set_does_not_go_on_with_it(cases, models):
    folders = []
    for seed in (8, 9):
        cases.add(ball_submission(seed))
        told = Told(event="progress")
        with pytest.raises(KeyboardInterrupt):
            retrain(cases.path, models / "tiny.weights.h5", SETTINGS, rehearsal_share=0, report=told)
        folders.append(told[0]["folder"])
    assert folders[0] != folders[1]
    # What nobody works on any more has gone.
    assert [str(path) for path in models.glob(".training-*") if path.is_dir()] == folders[1:]


def test_a_loss_that_is_no_number_stops_and_restores(cases, models, monkeypatch):
    start = models / "tiny.weights.h5"
    before = start.read_bytes()
    losses = iter([0.5, 0.4, math.nan])
    monkeypatch.setattr(Trainer, "_step", lambda *_: next(losses))
    with pytest.raises(ComputeError, match="before the first epoch was done; the starting model is as it was"):
        retrain(cases.path, start, SETTINGS, rehearsal_share=0)
    losses = iter([0.5] * 45 + [math.inf])
    result = retrain(cases.path, start, SETTINGS, rehearsal_share=0)
    assert result.sentence.startswith("The loss stopped being a number, so the best epoch before was kept.")
    assert len(result.record["history"]) == 1
    assert start.read_bytes() == before


def test_short_memory_makes_batches_smaller(cases, models, monkeypatch):
    import keras
    import tensorflow

    sizes = []

    def small(self, images, labels):
        sizes.append(len(images))
        if len(images) > 2:
            raise tensorflow.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return 0.5

    monkeypatch.setattr(keras.Model, "train_on_batch", small)
    retrain(cases.path, models / "tiny.weights.h5", replace(SETTINGS, epochs=1), rehearsal_share=0)
    assert sizes == [4] + [2] * 40


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_disk_that_is_full_keeps_the_epochs_before(cases, models, monkeypatch):
    import resource

    start = models / "tiny.weights.h5"
    before = start.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    monkeypatch.setattr(Trainer, "_step", lambda *_: 0.5)

    class Fills(Told):
        def __call__(self, event, **values):
            super().__call__(event, **values)
            if self[-1].get("stage") == "epoch 2 of 2":
                resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))

    told = Fills()
    try:
        with pytest.raises(OutputError, match="the disk is full; make room"):
            retrain(cases.path, start, SETTINGS, rehearsal_share=0, report=told)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert start.read_bytes() == before
    (folder,) = unfinished()
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]  # nothing half written
    told = Told()
    retrain(cases.path, start, SETTINGS, rehearsal_share=0, report=told)
    assert [event["epoch"] for event in told.of("epoch")] == [2]


def test_where_no_model_can_be_written_nothing_is_begun(cases, models, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPINESEG_MODELS", str(tmp_path / "file" / "models"))
    told = Told()
    with pytest.raises(OutputError, match="is not a folder; choose another place"):
        retrain(cases.path, models / "tiny.weights.h5", SETTINGS, report=told)
    assert told == []


def test_two_programs_do_not_train_the_same(cases, models, monkeypatch):
    from filelock import FileLock

    told = Told(event="plan")
    with pytest.raises(KeyboardInterrupt):
        retrain(cases.path, models / "tiny.weights.h5", SETTINGS, report=told)
    folder = Path(told[0]["folder"])
    monkeypatch.setattr(retraining, "PATIENCE", 0.1)
    with FileLock(f"{folder}.lock"), pytest.raises(ComputeError, match="Another program"):
        retrain(cases.path, models / "tiny.weights.h5", SETTINGS)


def test_checked_slices_alone_train_and_validate(tmp_path, models, monkeypatch):
    """Outside the checked slices the masks are nonsense, which would teach and measure nonsense.

    A model with one label learns from all of them, and cases and models that are deleted meanwhile don't matter.
    """
    start = models / "single.weights.h5"
    write_untrained(start, ("spine",))
    cases = TrainingSet.create(tmp_path / "checked.cases.h5", "checked", SEGMENTS)
    for seed in range(2):
        submission = ball_submission(seed, slices=12, checked=tuple(range(2, 6)))
        array = sitk.GetArrayFromImage(submission.mask)
        array[6:] = 1
        mask = sitk.GetImageFromArray(array)
        mask.CopyInformation(submission.mask)
        cases.add(replace(submission, mask=mask))
    drawn = []
    batch = retraining.PatchSampler.batch

    def watched(self, number, count):
        images, labels = batch(self, number, count)
        drawn.append((labels > 0).mean(axis=(1, 2)).max())
        return images, labels

    class Deletes(Told):
        def __call__(self, event, **values):
            super().__call__(event, **values)
            if event == "baseline":
                cases.path.unlink()
                start.unlink()

    monkeypatch.setattr(retraining.PatchSampler, "batch", watched)
    result = retrain(cases.path, start, SETTINGS, rehearsal_share=0, report=Deletes())
    assert max(drawn) < 0.5
    assert result.info.metrics["validation_dice"] > 0.5
    assert not start.exists()
