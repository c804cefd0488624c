"""The jobs "submit" and "train": what the panel does to correct and re-train."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from corrected_cases import SEGMENTS, ball_case, ball_set
from SpineSegLib.engine.exchange import write_volume_steps
from SpineSegLib.engine.models.model_catalogue import resolve_model
from SpineSegLib.engine.models.model_file import read_training
from SpineSegLib.engine.training.retraining import keep_unfinished, unfinished
from SpineSegLib.engine.training.training_set import TrainingSet
from SpineSegLib.worker_client import WorkerProcess
from worker_models import save_model, wait

NOTHING = {"create": None, "project": None, "patient": None, "scan": None, "checked": None, "model": ""}
QUICK = {"epochs": 2, "steps": 2, "batch": 2, "patch": 32, "warm_up": 0}


def hand_over(folder, seed):
    ct, mask = ball_case(seed)
    array = sitk.GetArrayFromImage(ct)
    for _ in write_volume_steps(folder, array, ct.GetSpacing(), ct.GetOrigin(), ct.GetDirection()):
        pass
    np.save(folder / "corrected.npy", sitk.GetArrayFromImage(mask))
    return array, sitk.GetArrayFromImage(mask)


def submit(worker, folder, file, **parameters):
    values = NOTHING | {"file": str(file), "folder": str(folder), "segments": SEGMENTS} | parameters
    job = worker.start_job("submit", **values)
    wait(job)
    return job


def test_submitted_cases_are_in_the_training_set(worker, folder, tmp_path):
    file = tmp_path / "balls.cases.h5"
    given = hand_over(folder, 1)
    job = submit(worker, folder, file, create="balls", patient="A", scan="1", model="default 1")
    assert job.state == "finished", job.message
    assert {key: job.result[key] for key in ("case", "side", "replaced", "cases", "patients")} == {
        "case": "case_0001", "side": "training", "replaced": False, "cases": 1, "patients": 1,
    }  # fmt: skip
    target = TrainingSet(file, job.result["identity"])
    for stored, array in zip(target.images("case_0001"), given, strict=True):
        np.testing.assert_array_equal(sitk.GetArrayFromImage(stored), array)
    assert target.cases()[0].model == "default 1"
    again = submit(worker, folder, file, patient="A", scan="1", checked=[2, 3])
    assert again.result["replaced"]
    assert TrainingSet(file).cases()[0].checked == (2, 3)
    hand_over(folder, 2)
    assert submit(worker, folder, file, patient="B").result["side"] == "validation"


def test_what_can_not_be_submitted_is_one_sentence(worker, folder, tmp_path):
    file = tmp_path / "balls.cases.h5"
    assert "no training set" in submit(worker, folder_with_case(folder), file).message
    assert submit(worker, folder, file, create="balls").state == "finished"
    assert "another project" in submit(worker, folder, file, project="other").message
    np.save(folder / "corrected.npy", np.zeros((6, 40, 40), dtype=np.uint8))
    assert "mask is empty" in submit(worker, folder, file).message
    np.save(folder / "corrected.npy", np.ones((5, 40, 40), dtype=np.uint8))
    assert "another grid" in submit(worker, folder, file).message
    (folder / "corrected.npy").unlink()
    assert "not passed on completely" in submit(worker, folder, file).message
    assert len(TrainingSet(file).cases()) == 1


def folder_with_case(folder):
    hand_over(folder, 1)
    return folder


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    """A worker that trains, its model folder and a training set."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("training needs TensorFlow")
    folder = tmp_path_factory.mktemp("training")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPINESEG_MODELS", str(folder))
        patch.delenv("KERAS_BACKEND", raising=False)
        save_model(folder / "small.weights.h5")
        cases = ball_set(folder / "balls.cases.h5", 2)
        with WorkerProcess() as process:
            yield process, folder, cases


def start(trainer, **settings):
    process, _, cases = trainer
    return process.start_job("train", cases=str(cases.path), start="small", device="cpu", name=None,
                             settings=QUICK | settings, without_validation=False, rehearsal=False)  # fmt: skip


def test_training_tells_its_epochs_and_makes_a_version(trainer):
    job = start(trainer)
    events = wait(job)
    assert job.state == "finished", job.message
    kinds = [event["event"] for event in events]
    assert kinds[0] == "plan"
    assert kinds.count("epoch") == 2
    (baseline,) = [event for event in events if event["event"] == "baseline"]
    assert 0 <= baseline["validation_dice"] <= 1
    result = job.result
    assert (result["name"], result["version"], result["parent"]) == ("small-2", 2, "small 1")
    assert resolve_model(result["name"]) == Path(result["model"])
    assert (resolve_model(None) == Path(result["model"])) == result["made_current"]
    curve = [event["validation_dice"] for event in events if event["event"] == "epoch"]
    assert [entry["validation_dice"] for entry in result["history"]] == pytest.approx(curve, abs=1e-5)


@pytest.mark.parametrize("how", ["cancelled", "killed"])
def test_cancelled_or_killed_the_best_epoch_can_be_kept(trainer, how):
    job = start(trainer, epochs=5000)
    events = wait(job, until="epoch")
    if how == "cancelled":
        job.cancel()
    else:
        trainer[0]._process.kill()
    wait(job)
    assert job.state == ("cancelled" if how == "cancelled" else "failed")
    (folder,) = unfinished()
    assert str(folder) == events[0]["folder"]
    kept = keep_unfinished(folder)
    assert read_training(kept.model)["ended"] == "cancelled"
    assert kept.model.parent == trainer[1]
    assert unfinished() == []
