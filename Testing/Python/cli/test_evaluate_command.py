"""`spineseg evaluate`: a small data set with all that goes wrong in one, and two models."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from SpineSegLib.cli import main
from SpineSegLib.engine import evaluation
from SpineSegLib.engine.comparison.pair import compare_pair
from SpineSegLib.engine.comparison.study import CaseResult
from SpineSegLib.engine.crew import Died


@pytest.fixture(scope="module")
def dataset(case, tmp_path_factory):
    """Two good cases; one without a reference, one whose CT is damaged, one whose reference is another patient's, one
    with an empty reference."""
    folder = tmp_path_factory.mktemp("dataset")
    mask = sitk.ReadImage(str(case.mask))
    names = ("a_good", "b_good", "c_no_reference", "d_damaged", "e_elsewhere", "f_empty")
    for name in names:
        (folder / name).mkdir()
        shutil.copy(case.ct, folder / name / "ct.nii.gz")
        shutil.copy(case.mask, folder / name / "mask.nii.gz")
    thinner = sitk.BinaryErode(mask, [1, 1, 0])
    sitk.WriteImage(thinner, str(folder / "b_good" / "mask.nii.gz"))
    (folder / "c_no_reference" / "mask.nii.gz").unlink()
    (folder / "d_damaged" / "ct.nii.gz").write_bytes(b"nothing")
    mask.SetOrigin((900.0, 0.0, 0.0))
    sitk.WriteImage(mask, str(folder / "e_elsewhere" / "mask.nii.gz"))
    sitk.WriteImage(thinner * 0, str(folder / "f_empty" / "mask.nii.gz"))
    return folder


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    """A model that knows nothing."""
    from small_models import write_model

    path = tmp_path_factory.mktemp("other") / "random.weights.h5"
    write_model(path, inputs=1, outputs=1)
    return path


@pytest.fixture(scope="module")
def evaluated(dataset, model, other_model, tmp_path_factory):
    """The report of the first evaluation, and what it printed."""
    report = tmp_path_factory.mktemp("evaluated") / "report"
    command = ["evaluate", str(dataset), "--model", str(model), "--model", str(other_model), "--report", str(report)]
    assert main([*command, "--quiet"]) == 0
    return command, report, json.loads((report / "results.json").read_text())


def test_every_case_has_a_result_or_a_reason(evaluated):
    _, _, results = evaluated
    first = {c["case"]: c for c in results["cases"] if c["model"] == "threshold 3"}
    assert list(first) == ["a_good", "b_good", "c_no_reference", "d_damaged", "e_elsewhere", "f_empty"]
    assert first["a_good"]["metrics"]["dice"] > 0.9
    assert "no reference" in first["c_no_reference"]["problem"]
    assert first["d_damaged"]["problem"].startswith("The CT is damaged")
    assert "different scans" in first["e_elsewhere"]["problem"]
    assert first["f_empty"]["metrics"]["dice"] == 0
    assert "the reference is empty" in first["f_empty"]["notes"][0]


def test_means_are_of_what_was_compared(evaluated):
    _, _, results = evaluated
    model = results["models"][0]
    assert (model["cases"], model["compared"]) == (6, 3)
    dice = [c["metrics"]["dice"] for c in results["cases"] if c["model"] == "threshold 3" and c.get("metrics")]
    summary = model["mean_over_cases"]["dice"]
    assert summary["mean"] == pytest.approx(np.mean(dice))
    assert summary["sd"] == pytest.approx(np.std(dice, ddof=1))
    assert (summary["minimum"], summary["maximum"]) == (min(dice), max(dice))
    assert model["mean_over_cases"]["hausdorff_mm"]["undefined"] == 1
    assert results["paired_differences"]["small 1"]["dice"]["count"] == 3
    assert results["paired_differences"]["small 1"]["dice"]["mean"] < 0


def test_report_names_no_files(evaluated, dataset):
    _, report, _ = evaluated
    for name in ("report.html", "cases.csv", "results.json", "evaluation.json"):
        assert str(dataset) not in (report / name).read_text(encoding="utf-8"), name
    assert "data:image/jpeg;base64," in (report / "report.html").read_text(encoding="utf-8")


def test_same_command_goes_on(evaluated, dataset, monkeypatch, capsys):
    """Only what has no result is computed again; a report that was lost comes back as it was."""
    command, report, results = evaluated
    asked = []

    def no_process(_work, jobs, _places):
        asked.extend(job.case.name for job in jobs)
        yield from ((n, Died(-9)) for n in range(len(jobs)))

    monkeypatch.setattr(evaluation, "run_jobs", no_process)
    (report / "results.json").unlink()
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert asked == ["d_damaged", "e_elsewhere"]
    assert printed["models"] == results["models"]
    again = json.loads((report / "results.json").read_text())
    assert [c.get("metrics") for c in again["cases"]] == [c.get("metrics") for c in results["cases"]]
    assert "ended without a result" in next(c for c in again["cases"] if c["case"] == "e_elsewhere")["problem"]


def test_changed_case_is_computed_again(evaluated, dataset, monkeypatch, tmp_path, capsys):
    command, _, _ = evaluated
    asked = []

    def no_process(_work, jobs, _places):
        asked.extend((job.case.name, [model.name for model in job.models]) for job in jobs)
        yield from ((n, Died(1)) for n in range(len(jobs)))

    monkeypatch.setattr(evaluation, "run_jobs", no_process)
    file = dataset / "a_good" / "mask.nii.gz"
    before = file.read_bytes()
    sitk.WriteImage(sitk.ReadImage(str(file)) * 2, str(file))
    try:
        assert main([*command, "--quiet"]) == 0
    finally:
        file.write_bytes(before)
    assert asked[0] == ("a_good", ["threshold 3", "small 1"])


def test_a_mask_corrected_meanwhile_does_not_get_the_old_result(evaluated, dataset, model, monkeypatch, tmp_path):
    """The result of the old mask may be shown, but is not kept for the new one."""
    shutil.copytree(dataset / "b_good", tmp_path / "data" / "b")
    whole = (dataset / "a_good" / "mask.nii.gz").read_bytes()

    computed = []

    def corrected_meanwhile(job, model, volume, reference):
        computed.append(job.case.name)
        if len(computed) == 1:
            (tmp_path / "data" / "b" / "mask.nii.gz").write_bytes(whole)
        pair = compare_pair(reference.image, reference.image)
        return CaseResult(job.case.name, model.name, replace(pair, _difference=None), seconds=1.0)

    monkeypatch.setattr(evaluation, "_evaluated", corrected_meanwhile)
    monkeypatch.setattr(evaluation, "run_jobs", lambda work, jobs, _: ((n, work(job)) for n, job in enumerate(jobs)))
    command = ["evaluate", str(tmp_path / "data"), "--model", str(model), "--report", str(tmp_path / "r"), "--quiet"]
    for _ in range(3):
        assert main(command) == 0
    assert computed == ["b", "b"]  # once more for the corrected mask, then its result is kept


def test_other_evaluation_needs_overwrite(evaluated, model, capsys):
    command, report, _ = evaluated
    before = (report / "report.html").read_bytes()
    assert main([*command[:2], "--model", str(model), "--report", str(report)]) == 5
    assert "--overwrite" in capsys.readouterr().err
    assert (report / "report.html").read_bytes() == before


def test_folder_of_other_things_stays(dataset, model, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("kept")
    assert main(["evaluate", str(dataset), "--model", str(model), "--report", str(tmp_path), "--overwrite"]) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere"], 3, "does not exist"),
        ([".", "--model", "nothing"], 4, "no model"),
        (["."], 3, "holds no CT with a mask"),
    ],
)
def test_what_can_not_be_evaluated(place, capsys, arguments, code, says):
    assert main(["evaluate", "--model", "threshold", *arguments]) == code
    assert says in capsys.readouterr().err


def test_no_case_can_be_compared(place, dataset, capsys):
    shutil.copytree(dataset / "d_damaged", "only/d_damaged")
    assert main(["evaluate", "only", "--model", "threshold"]) == 3
    assert "None of the 1 cases could be compared; The CT is damaged" in capsys.readouterr().err


def test_the_report_on_other_masks_of_the_same_ct_is_another_one(case, model, tmp_path, capsys):
    """Two readers' masks beside one CT: the second evaluation must not take the place of the first."""
    (tmp_path / "set" / "a").mkdir(parents=True)
    shutil.copy(case.ct, tmp_path / "set" / "a" / "ct.nii.gz")
    for reader in ("one", "two"):
        shutil.copy(case.mask, tmp_path / "set" / "a" / f"{reader}.nii.gz")
    command = ["evaluate", str(tmp_path / "set"), "--model", str(model), "--report", str(tmp_path / "report"),
               "--quiet", "--ct", "{case}/ct.nii.gz", "--mask"]  # fmt: skip
    assert main([*command, "{case}/one.nii.gz"]) == 0
    assert main([*command, "{case}/one.nii.gz"]) == 0
    assert main([*command, "{case}/two.nii.gz"]) == 5
    assert main([*command, "{case}/one.nii.gz", "--labels", "any"]) == 5
    assert "--overwrite" in capsys.readouterr().err
