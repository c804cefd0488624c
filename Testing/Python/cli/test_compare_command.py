"""`spineseg compare`."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from SpineSegLib.cli import main
from SpineSegLib.engine.files.dicom_write import write_ct_series


@pytest.fixture
def masks(tmp_path, monkeypatch):
    """prediction.nii.gz (1 vertebrae, 2 sacrum), verse.nii.gz (VerSe's numbers) and their ct.nii.gz."""
    monkeypatch.chdir(tmp_path)
    prediction, reference = np.zeros((12, 30, 30), np.uint8), np.zeros((12, 30, 30), np.uint8)
    prediction[1:5, 8:20, 8:20], prediction[5:11, 8:20, 8:20] = 2, 1
    reference[1:5, 8:20, 8:20], reference[5:9, 8:20, 8:21], reference[9:11, 8:20, 8:20] = 26, 24, 23
    for name, array in (("prediction", prediction), ("verse", reference), ("ct", (reference > 0) * 900 - 300)):
        image = sitk.GetImageFromArray(array.astype(np.int16 if name == "ct" else np.uint8))
        image.SetSpacing((0.8, 0.8, 2.0))
        sitk.WriteImage(image, f"{name}.nii.gz")
    return tmp_path


def as_json(capsys, *arguments):
    assert main(["compare", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json(masks, capsys):
    found = as_json(capsys, "prediction.nii.gz", "verse.nii.gz", "--labels", "verse")
    missed = 4 * 12
    expected = 2 * 10 * 144 / (2 * 10 * 144 + missed)
    metrics = found["metrics"]
    assert metrics["dice"] == pytest.approx(expected)
    assert metrics["true_positives"] == 1440
    assert metrics["false_negatives"] == missed
    assert metrics["hausdorff_mm"] == pytest.approx(0.8, abs=1e-4)
    assert {"hausdorff_95_mm", "assd_mm", "surface_dice", "sensitivity", "precision", "f1", "jaccard", "specificity",
            "volume_ml", "reference_volume_ml"} <= set(metrics)  # fmt: skip
    assert [s["key"] for s in found["structures"]] == ["vertebrae", "sacrum"]
    assert {"bias", "lower", "upper"} <= set(found["bland_altman"])
    assert found["bland_altman"]["bias"] == pytest.approx(-missed / 10)
    assert found["bland_altman"]["mm2"]["bias"] == pytest.approx(-missed / 10 * 0.64)
    assert [s["index"] for s in found["slices"]] == list(range(1, 11))
    assert all(0 < s["dice"] <= 1 for s in found["slices"])
    assert sorted(found["worst_slices"]) == [5, 6, 7, 8]


def test_tolerance(masks, capsys):
    strict, loose = (
        as_json(capsys, "prediction.nii.gz", "verse.nii.gz", "--tolerance", mm)["metrics"]["surface_dice"]
        for mm in (0.1, 0.9)
    )
    assert strict < 1
    assert loose == 1


def test_table(masks, capsys):
    assert main(["compare", "prediction.nii.gz", "verse.nii.gz", "--labels", "verse"]) == 0
    shown = capsys.readouterr().out
    for word in ("Dice", "vertebrae", "sacrum", "ASSD (mm)", "bias", "Worst slices: 5"):
        assert word in shown


def test_report(masks, capsys):
    command = ["compare", "prediction.nii.gz", "verse.nii.gz", "--ct", "ct.nii.gz", "--report", "report"]
    assert main(command) == 0
    names = {path.name for path in (masks / "report").iterdir()}
    assert {"report.html", "cases.csv", "slices.csv", "summary.csv", "results.json"} <= names
    assert "data:image/jpeg;base64," in (masks / "report" / "report.html").read_text()
    capsys.readouterr()
    assert main(command) == 5
    assert "--overwrite" in capsys.readouterr().err
    (masks / "report" / "mine.txt").write_text("kept")
    assert main([*command, "--overwrite"]) == 5
    assert (masks / "report" / "mine.txt").exists()
    (masks / "report" / "mine.txt").unlink()
    assert main([*command, "--overwrite"]) == 0


def test_the_series_of_the_pictures_can_be_chosen(masks, capsys):
    for number in (1, 2):
        ct = sitk.ReadImage("ct.nii.gz")
        write_ct_series(masks / f"series{number}", ct, seed=number, series_number=number)
        for file in (masks / f"series{number}").iterdir():
            (masks / "ct").mkdir(exist_ok=True)
            file.rename(masks / "ct" / f"{number}{file.name}")
    command = ["compare", "prediction.nii.gz", "verse.nii.gz", "--ct", "ct", "--report", "report"]
    assert main(command) == 3
    assert "--series" in capsys.readouterr().err
    assert main([*command, "--series", "2"]) == 0
    assert "data:image/jpeg;base64," in (masks / "report" / "report.html").read_text()


def test_what_can_not_be_compared(masks, capsys):
    other = sitk.ReadImage("verse.nii.gz")
    other.SetOrigin((500.0, 0.0, 0.0))
    sitk.WriteImage(other, "other.nii.gz")
    for arguments, says in (
        (["prediction.nii.gz", "other.nii.gz"], "different scans"),
        (["prediction.nii.gz", "nowhere.nii.gz"], "does not exist"),
        (["prediction.nii.gz", "ct.nii.gz"], "not a mask"),
        (["prediction.nii.gz", "verse.nii.gz", "--labels", "spineseg"], "scheme spineseg"),
    ):
        assert main(["compare", *arguments, "--report", "report"]) == 3
        assert says in capsys.readouterr().err
    assert not (masks / "report").exists()


def test_empty_prediction_is_said(masks, capsys):
    sitk.WriteImage(sitk.ReadImage("prediction.nii.gz") * 0, "empty.nii.gz")
    found = as_json(capsys, "empty.nii.gz", "verse.nii.gz")
    assert found["metrics"]["dice"] == 0
    assert found["metrics"]["hausdorff_mm"] is None
    assert "the prediction is empty" in found["notes"][0]
    assert main(["compare", "empty.nii.gz", "verse.nii.gz"]) == 0
    assert "undefined" in capsys.readouterr().out
