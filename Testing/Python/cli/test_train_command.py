"""`spineseg train` from the command line to a model that segments."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from commandline import spineseg
from SpineSegLib.cli import parser, train
from SpineSegLib.engine.models.unet import PRESETS

pytest.importorskip("tensorflow", reason="training needs TensorFlow")

QUICK = ("--epochs", "1", "--steps", "2", "--batch", "2", "--patch", "32")


def write_cases(folder: Path, patients: int) -> Path:
    """A bright cylinder with a second label on top, in soft tissue."""
    z, y, x = np.mgrid[:8, :40, :40]
    inside = np.hypot(y - 20, x - 20) < 8
    for n in range(patients):
        place = folder / f"p{n}"
        place.mkdir(parents=True)
        hu = np.where(inside, 300 + 20 * n, np.where(np.hypot(y - 20, x - 20) < 18, 40, -1000)).astype(np.int16)
        mask = (inside * np.where(z < 4, 2, 1)).astype(np.uint8)
        for name, array in (("ct.nii.gz", hu), ("mask.nii.gz", mask)):
            sitk.WriteImage(sitk.GetImageFromArray(array), str(place / name))
    return folder


def test_every_preset_can_be_asked_for():
    help_text = spineseg("train", "--help").stdout
    assert f"--preset {{{','.join(sorted(PRESETS))}}}" in " ".join(help_text.split())


def test_trains_a_model_that_segments(tmp_path):
    cases = write_cases(tmp_path / "cases", 3)
    done = spineseg("train", cases, "--out", tmp_path / "new.weights.h5", *QUICK, "--licence", "CC0", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["version"], result["parent"], result["epochs"]) == (1, None, 1)
    assert 0 <= result["metrics"]["validation_dice"] <= 1
    assert (tmp_path / "new.training" / "curve.png").exists()
    shown = spineseg("models", "show", tmp_path / "new.weights.h5", "--json")
    assert json.loads(shown.stdout)["licence"] == "CC0"
    ct = cases / "p0" / "ct.nii.gz"
    segmented = spineseg("segment", ct, "--model", tmp_path / "new.weights.h5", "-o", tmp_path / "out.nii.gz", "--json")
    assert segmented.returncode == 0, segmented.stderr
    assert sitk.ReadImage(str(tmp_path / "out.nii.gz")).GetSize() == (40, 40, 8)


def test_weights_of_the_recipe_have_the_licence_that_verse_obliges():
    def licence(*arguments):
        return train.licence_of(parser().parse_args(["train", "maps", "--out", "new.weights.h5", *arguments]))

    assert licence() == ""
    assert licence("--recipe", "default") == "CC BY-SA 4.0"
    assert licence("--recipe", "default", "--licence", "mine") == "mine"


def test_the_recipe_takes_one_folder(tmp_path):
    done = spineseg("train", tmp_path, tmp_path, "--recipe", "default", "--out", tmp_path / "new.weights.h5")
    assert done.returncode == 2
    assert "one folder of label maps" in done.stderr


@pytest.mark.parametrize(
    ("patients", "arguments", "code", "words"),
    [
        (1, (), 3, "two patients"),
        (0, (), 3, "no CT with a mask"),
        (2, ("--from", "nobody"), 4, "nobody"),
    ],
)
def test_what_can_not_be_trained_says_why_and_leaves_nothing(tmp_path, patients, arguments, code, words):
    (tmp_path / "cases").mkdir()
    write_cases(tmp_path / "cases", patients)
    done = spineseg("train", tmp_path / "cases", "--out", tmp_path / "new.weights.h5", *QUICK, *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["cases"]


@pytest.mark.parametrize(
    ("arguments", "epochs", "steps", "patch", "learning_rate"),
    [
        ((), 34, 200, 160, 2e-3),
        (("--from", "default"), 10, 200, 160, 3e-4),
        (("--from", "default", "--epochs", "2", "--patch", "96"), 2, 200, 96, 3e-4),
    ],
)
def test_going_on_from_a_model_has_its_own_numbers_unless_others_are_asked_for(
    arguments, epochs, steps, patch, learning_rate
):
    settings = train.settings_of(parser().parse_args(["train", "cases", "--out", "new.weights.h5", *arguments]))
    found = settings.epochs, settings.steps, settings.patch, settings.learning_rate
    assert found == (epochs, steps, patch, learning_rate)
