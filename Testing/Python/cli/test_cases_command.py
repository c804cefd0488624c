"""`spineseg cases` and `spineseg train --cases`: from corrected masks to the next version of a model."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from commandline import environment, spineseg
from SpineSegLib.cli import main
from SpineSegLib.engine.training import training_set

QUICK = ("--epochs", "1", "--steps", "2", "--batch", "2", "--patch", "32", "--no-rehearsal")


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch):
    monkeypatch.setattr(training_set, "_HASH_COST", {"n": 2, "r": 1, "p": 1})


def write_case(folder: Path, number: int) -> tuple[str, str]:
    """A bright cylinder in soft tissue in air."""
    _, y, x = np.mgrid[:8, :40, :40]
    inside = np.hypot(y - 20, x - 18 - number) < 8
    hu = np.where(inside, 300 + 20 * number, np.where(np.hypot(y - 20, x - 20) < 18, 40, -1000)).astype(np.int16)
    names = []
    for name, array in ((f"ct{number}.nii.gz", hu), (f"mask{number}.nii.gz", inside.astype(np.uint8))):
        folder.mkdir(exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / name))
        names.append(str(folder / name))
    return names[0], names[1]


def printed(capsys):
    return json.loads(capsys.readouterr().out)


def test_the_life_of_a_training_set(place, capsys):
    first, second = write_case(place / "in", 1), write_case(place / "in", 2)
    assert main(["cases", "add", "x.cases.h5", *first, "--model", "threshold", "--json"]) == 0
    assert printed(capsys) == {"case": "case_0001", "side": "training", "replaced": False, "cases": 1}
    assert main(["cases", "list", "x.cases.h5"]) == 0
    assert "1 case of 1 patient." in capsys.readouterr().out
    assert main(["cases", "add", "x.cases.h5", *second, "--slices", "2-4,6", "--patient", "Meier"]) == 0
    assert "case_0002 added, for validation; x.cases.h5 holds 2 cases." in capsys.readouterr().out
    assert main(["cases", "list", "x.cases.h5", "--json"]) == 0
    listed = printed(capsys)
    assert listed["segments"] == ["spine"]  # those of the model
    assert [case["slices"] for case in listed["cases"]] == [8, 4]
    assert b"Meier" not in (place / "x.cases.h5").read_bytes()
    assert main(["cases", "list", "x.cases.h5"]) == 0
    assert "2 cases of 2 patients." in capsys.readouterr().out
    assert main(["cases", "lock", "x.cases.h5", "case_0001"]) == 0
    assert main(["cases", "remove", "x.cases.h5", "case_0001"]) == 3
    assert "case_0001 is locked" in capsys.readouterr().err
    assert main(["cases", "unlock", "x.cases.h5", "case_0001"]) == 0
    assert main(["cases", "remove", "x.cases.h5", "case_0002"]) == 0
    assert main(["cases", "export", "x.cases.h5", "out", "--format", "nnunet", "--json"]) == 0
    assert (place / "out" / "imagesTr" / "case_0001_0000.nii.gz").exists()
    assert main(["cases", "export", "x.cases.h5", "out"]) == 5
    assert "isn't empty" in capsys.readouterr().err


def test_a_data_set_is_imported(place, capsys):
    for number in range(3):
        ct, mask = write_case(place / "in", number)
        (place / "data" / f"p{number}").mkdir(parents=True)
        Path(ct).rename(place / "data" / f"p{number}" / "ct.nii.gz")
        Path(mask).rename(place / "data" / f"p{number}" / "mask.nii.gz")
    (place / "data" / "p1" / "ct.nii.gz").write_bytes(b"broken")
    assert main(["cases", "import", "x.cases.h5", "data", "--json", "--quiet"]) == 0
    result = printed(capsys)
    assert [each["from"] for each in result["added"]] == ["p0", "p2"]
    assert result["problems"][0]["from"] == "p1"
    assert main(["cases", "list", "x.cases.h5", "--json"]) == 0
    assert len(printed(capsys)["cases"]) == 2


def test_an_import_does_not_tell_names_of_folders_with_dicom(place, capsys):
    _, mask = write_case(place / "in", 1)
    for folder in ("MUSTERMANN_MAX", "MUSTERMANN_EVA"):
        (place / "data" / folder / "dicom").mkdir(parents=True)
        (place / "data" / folder / "dicom" / "x.dcm").write_bytes(b"broken")
        (place / "data" / folder / "mask.nii.gz").write_bytes(Path(mask).read_bytes())
    assert main(["cases", "import", "x.cases.h5", "data", "--json", "--quiet"]) == 3
    said = capsys.readouterr()
    assert [each["from"] for each in json.loads(said.out)["problems"]] == ["case 1", "case 2"]
    assert "MUSTERMANN" not in said.out + said.err


def test_labels_of_a_mask_can_be_named(place, capsys):
    ct, mask = write_case(place / "in", 1)
    numbered = sitk.ReadImage(mask)
    numbered[:, :, 4:] = sitk.Cast(numbered[:, :, 4:] * 21, numbered.GetPixelID())
    numbered[:, :, :4] = sitk.Cast(numbered[:, :, :4] * 22, numbered.GetPixelID())
    sitk.WriteImage(numbered, mask)
    assert main(["cases", "add", "x.cases.h5", ct, mask]) == 3
    assert "label 21" in capsys.readouterr().err
    assert main(["cases", "add", "x.cases.h5", ct, mask, "--labels", "verse", "--json"]) == 0
    assert printed(capsys)["cases"] == 1


def test_what_an_export_leaves_out_is_told(place, capsys):
    assert main(["cases", "add", "x.cases.h5", *write_case(place / "in", 1), "--slices", "2-4,6"]) == 0
    capsys.readouterr()
    assert main(["cases", "export", "x.cases.h5", "out"]) == 0
    said = capsys.readouterr().out
    assert "out: 1 case." in said
    assert "left out, as a single slice is no CT: 1 without" in said


@pytest.mark.parametrize("arguments", [["cases"], ["cases", "add", "x.h5"], ["cases", "remove", "x.h5"],
                                       ["cases", "add", "x.h5", "ct", "mask", "--slices", "a-b"],
                                       ["train", "--cases", "x.h5", "--out", "y.weights.h5"],
                                       ["train", "--cases", "x.h5", "--rehearsal", "x", "--no-rehearsal"],
                                       ["train", "x", "--out", "y.weights.h5", "--without-validation"],
                                       ["train", "--out", "y.weights.h5"]])  # fmt: skip
def test_wrong_command_lines(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


@pytest.fixture
def trainable(place, model, monkeypatch, capsys) -> Path:
    """A model folder of its own, and a training set of two patients."""
    pytest.importorskip("tensorflow", reason="training needs TensorFlow")
    models = place / "models"
    models.mkdir()
    (models / model.name).write_bytes(model.read_bytes())
    monkeypatch.setenv("SPINESEG_MODELS", str(models))
    for number in (1, 2):
        assert main(["cases", "add", "x.cases.h5", *write_case(place / "in", number), "--model", "threshold"]) == 0
    capsys.readouterr()
    return models


def train(models, *arguments):
    return spineseg("train", "--cases", "x.cases.h5", "--from", "threshold", *arguments,
                    SPINESEG_MODELS=str(models), KERAS_BACKEND="tensorflow")  # fmt: skip


def test_training_makes_a_version_that_can_be_used(trainable, capsys):
    done = train(trainable, *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["model"] == str(trainable / "threshold-4.weights.h5")
    assert (result["version"], result["parent"], len(result["history"])) == (4, "threshold 3", 1)
    assert main(["models", "list", "--tree", "--json"]) == 0
    tree = {each["name"]: each for each in printed(capsys)["models"]}
    assert tree["threshold"]["children"] == ["threshold-4"]
    assert tree["threshold-4"]["current"] == result["made_current"]
    assert main(["models", "show", "threshold-4", "--json"]) == 0
    assert printed(capsys)["training"]["scores"] == result["scores"]
    assert main(["models", "use", "threshold-4"]) == 0
    assert main(["models", "delete", "threshold"]) == 4
    assert main(["models", "rename", "threshold-4", "mine"]) == 0
    assert main(["models", "export", "mine", str(trainable.parent / "copy.weights.h5")]) == 0
    assert main(["models", "delete", "mine"]) == 0
    assert [path.name for path in trainable.glob("*.weights.h5")] == ["threshold.weights.h5"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_keeps_the_best_epoch(trainable):
    command = [sys.executable, "-m", "SpineSegLib.cli", "train", "--cases", "x.cases.h5", "--from", "threshold", *QUICK]
    command[command.index("--epochs") + 1] = "5000"
    variables = environment(SPINESEG_MODELS=str(trainable), KERAS_BACKEND="tensorflow")
    running = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in running.stderr:
        if line.startswith("epoch 1 of 5000 done"):
            running.send_signal(signal.SIGINT)
            break
    said, complained = running.communicate()
    assert running.returncode == 130, complained
    assert "threshold-4.weights.h5: Cancelled; the best epoch so far was kept." in said, complained
    assert (trainable / "threshold-4.weights.h5").exists()
    assert not list(trainable.glob(".training-*"))


# Ctrl-C in the second epoch, inside a library that makes an error of its own of it.
INTERRUPTED_IN_A_LIBRARY = """
import os, signal, sys, time
from SpineSegLib.cli import main
from SpineSegLib.engine.training.trainer import Trainer

step = Trainer._step

def interrupted(self, images, labels):
    if self.history:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        except KeyboardInterrupt:
            raise RuntimeError("a callback failed")
    return step(self, images, labels)

Trainer._step = interrupted
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_keeps_the_best_epoch_whatever_a_library_makes_of_it(trainable):
    arguments = ["train", "--cases", "x.cases.h5", "--from", "threshold", *QUICK]
    arguments[arguments.index("--epochs") + 1] = "3"
    command = [sys.executable, "-c", INTERRUPTED_IN_A_LIBRARY, *arguments]
    variables = environment(SPINESEG_MODELS=str(trainable), KERAS_BACKEND="tensorflow")
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 130
    assert "threshold-4.weights.h5: Cancelled; the best epoch so far was kept." in done.stdout
    assert (trainable / "threshold-4.weights.h5").exists()


def test_one_patient_is_too_few_and_what_could_be_done_is_told(trainable):
    assert main(["cases", "remove", "x.cases.h5", "case_0002", "--json"]) == 0
    done = train(trainable, *QUICK)
    assert done.returncode == 3
    assert done.stderr == (
        "spineseg: There is no patient to validate on; submit a case of another one, or train without validation.\n"
    )


def test_a_case_that_can_not_be_read_leaves_no_empty_training_set(place):
    ct, _ = write_case(place / "in", 1)
    assert main(["cases", "add", "x.cases.h5", ct, "missing.nii.gz", "--model", "threshold"]) == 3
    assert not Path("x.cases.h5").exists()


def test_a_segment_that_nobody_named_is_told(place, capsys):
    """A vertebra added in Slicer as "Segment_1" would be learned as background."""
    ct, mask = write_case(place / "in", 1)
    image = sitk.ReadImage(mask)
    image[:, :, 4:] = image[:, :, 4:] * 2
    for index, name in enumerate(("Vertebrae", "Segment_1")):
        image.SetMetaData(f"Segment{index}_Name", name)
        image.SetMetaData(f"Segment{index}_LabelValue", str(index + 1))
    sitk.WriteImage(image, "x.seg.nrrd")
    assert main(["cases", "add", "x.cases.h5", ct, "x.seg.nrrd", "--model", "threshold"]) == 0
    assert "Note: Nobody named Segment_1, so it counts as background" in capsys.readouterr().out
