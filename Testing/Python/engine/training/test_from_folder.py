"""Training on small cases: it learns, resumes where it was broken off, and never overwrites."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.special import logit

pytest.importorskip("tensorflow", reason="training needs TensorFlow")

from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.engine.models.backends import installed_backends
from SpineSegLib.engine.models.model_file import read_peaks
from SpineSegLib.engine.models.openvino_graph import largest_in_int8
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.models.unet import Architecture, Preset, build_unet
from SpineSegLib.engine.training.from_folder import TrainingSettings, cool, find_and_split, fingerprint, train
from SpineSegLib.engine.training.training_data import find_cases

TINY = Preset(Architecture(inputs=1, outputs=1, width=4, depth=2),
              Preprocessing(context=(0.0,)), ("spine",))  # fmt: skip
QUICK = {"steps": 15, "batch": 4, "patch": 32, "warm_up": 5, "average": 0.8, "validation_batches": 2,
         "learning_rate": 1e-2}  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Four patients: a bright ball in noisy soft tissue."""
    folder = tmp_path_factory.mktemp("dataset")
    _, y, x = np.mgrid[:6, :40, :40]
    for patient in range(4):
        rng = np.random.default_rng(patient)
        centre = rng.uniform(15, 25, 2)
        ball = np.hypot(y - centre[0], x - centre[1]) < 8
        hu = np.where(ball, 400, 40) + rng.normal(0, 30, ball.shape)
        (folder / f"p{patient}").mkdir()
        for name, array in (("ct.nii.gz", hu.astype(np.int16)), ("mask.nii.gz", ball.astype(np.uint8))):
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((1.0, 1.0, 2.0))
            sitk.WriteImage(image, str(folder / f"p{patient}" / name))
    return folder


def train_on(dataset, out, start, settings, name, **more):
    return train(*find_and_split([dataset], None, settings), out, start, settings, name, **more)


def test_learns_a_ball_and_describes_itself(dataset, tmp_path):
    out = tmp_path / "ball.weights.h5"
    seen = []
    result = train_on(dataset, out, TINY, TrainingSettings(epochs=3, **QUICK), "ball", report=seen.append)
    assert out.exists()
    assert result.info.metrics["validation_dice"] > 0.9
    assert (result.info.version, result.info.parent) == (1, None)
    assert result.info.training_set != fingerprint(find_cases(dataset))  # the validation patient is not in it
    assert len(result.history) == 3
    can_int8 = "openvino" in installed_backends() and bool(largest_in_int8())
    lost = result.info.metrics.get("int8_dice_lost")
    assert (lost is not None) == can_int8
    # a network this small may lose more than is allowed in int8, and then must not be computed in it
    assert (read_peaks(out) is not None) == (can_int8 and lost <= 0.002)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert [p.step for p in seen if p.stage == "training" and p.epoch == 2] == list(range(1, 16))
    folder = tmp_path / "ball.training"
    assert json.loads((folder / "log.json").read_text())["settings"]["epochs"] == 3
    assert (folder / "curve.png").stat().st_size > 5000
    assert not (folder / "prepared").exists()
    with pytest.raises(OutputError, match="never overwritten"):
        train_on(dataset, out, TINY, TrainingSettings(epochs=1, **QUICK), "ball")
    # Going on from it makes the next version, which names its parent.
    second = train_on(dataset, tmp_path / "next.weights.h5", out, TrainingSettings(epochs=1, **QUICK), "ball")
    assert (second.info.version, second.info.parent) == (2, "ball 1")
    assert second.info.metrics["validation_dice"] > 0.9


def test_a_short_training_does_not_keep_its_random_beginning(dataset, tmp_path):
    """The mean of the weights reaches as far back as the training is long."""
    settings = TrainingSettings(epochs=3, **QUICK | {"average": 0.998})
    result = train_on(dataset, tmp_path / "ball.weights.h5", TINY, settings, "ball")
    assert result.info.metrics["validation_dice"] > 0.9


def test_patients_of_several_folders_train_and_validate_together(dataset, tmp_path):
    folders = [tmp_path / "one", tmp_path / "others"]
    shutil.copytree(dataset / "p0", folders[0] / "p0")
    shutil.copytree(dataset / "p1", folders[1] / "p1")
    training, validation = find_and_split(folders, None, TrainingSettings())
    assert sorted([len(training), len(validation)]) == [1, 1]
    assert {case.patient for case in (*training, *validation)} == {"p0", "p1"}
    with pytest.raises(InputError, match="at least two patients"):
        find_and_split(folders[:1], None, TrainingSettings())
    with pytest.raises(InputError, match="1 are in both"):
        find_and_split([dataset], folders[0], TrainingSettings())


class KilledError(Exception):
    """Stands for the end of the process in mid-epoch."""


def test_goes_on_from_the_last_epoch(dataset, tmp_path):
    settings = TrainingSettings(epochs=3, mixed_precision=False, **QUICK)
    whole = train_on(dataset, tmp_path / "whole.weights.h5", TINY, settings, "whole")

    def kill(progress):
        if progress.epoch == 3 and progress.step == 4:
            raise KilledError

    out = tmp_path / "broken.weights.h5"
    with pytest.raises(KilledError):
        train_on(dataset, out, TINY, settings, "broken", report=kill)
    assert not out.exists()
    epochs = []
    resumed = train_on(dataset, out, TINY, settings, "broken", report=lambda p: epochs.append(p.epoch))
    assert {e for e in epochs if e} == {3}
    # As if it had never been broken off: same batches, same optimiser state.
    np.testing.assert_allclose([h["loss"] for h in resumed.history], [h["loss"] for h in whole.history], rtol=1e-3)


def test_one_patient_more_does_not_go_on_with_it(dataset, tmp_path):
    """With other patients others validate, some of whom the epochs before were trained on."""
    shutil.copytree(dataset, tmp_path / "data")
    settings = TrainingSettings(epochs=2, mixed_precision=False, **QUICK)

    def kill(progress):
        if progress.epoch == 2:
            raise KilledError

    out = tmp_path / "ball.weights.h5"
    with pytest.raises(KilledError):
        train_on(tmp_path / "data", out, TINY, settings, "ball", report=kill)
    shutil.copytree(dataset / "p0", tmp_path / "data" / "p4")
    with pytest.raises(InputError, match=r"unfinished training .* on other cases"):
        train_on(tmp_path / "data", out, TINY, settings, "ball")


def test_what_is_surer_than_right_is_cooled():
    """Truth drawn with the odds' square root: the network's logits are twice too large."""
    import keras
    from SpineSegLib.engine.training.trainer import foreground_probability

    keras.utils.set_random_seed(1)
    model = build_unet(TINY.architecture, logits=True)
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([2 * kernel, bias])

    class Drawn:
        def batch(self, number: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            rng = np.random.default_rng(number)
            images = rng.normal(0, 1, (count, 32, 32, 1)).astype(np.float32)
            probability = foreground_probability(model, images)
            odds = np.sqrt(probability / np.maximum(1 - probability, 1e-7))
            return images, (rng.random(odds.shape) < odds / (1 + odds)).astype(np.int32)

    drawn, settings = Drawn(), TrainingSettings(batch=8, validation_batches=4)
    before = foreground_probability(model, drawn.batch(9, 2)[0])
    assert cool(model, drawn, settings) == pytest.approx(2, abs=0.15)
    after = foreground_probability(model, drawn.batch(9, 2)[0])
    np.testing.assert_array_equal(after > 0.5, before > 0.5)
    np.testing.assert_allclose(logit(after), logit(before) / 2, rtol=0.1, atol=0.01)
