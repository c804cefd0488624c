"""`spineseg segment` as people run it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from commandline import environment, scene, spineseg
from SpineSegLib.cli import main
from SpineSegLib.cli.outputs import check_new_file, free_name
from SpineSegLib.engine.errors import OutputError
from SpineSegLib.engine.files.dicom_write import write_ct_series


def read(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def sentence(capsys):
    """What was said, when it is one sentence and nothing else."""
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("spineseg: ")
    assert said.err.endswith(".\n")
    assert said.err.count("\n") == 1
    return said.err


def test_all_in_one_go_as_json(place, case):
    done = spineseg("segment", case.ct, "--model", "threshold", "--reference", case.mask, "-o", "out/spine.seg.nrrd",
                    "--picture", "out/spine.png", "--metrics", "out/spine.json", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert result["output"] == "out/spine.seg.nrrd"
    assert result["model"] == "threshold 3"
    assert result["backend"] == "openvino"
    assert result["slices"] == 20
    assert result["compared"] == ["spine"]
    assert result["notes"] == []
    assert 0 < result["seconds"] < 60
    assert list(result["stages"]) == ["start", "read", "network", "postprocess", "write"]
    assert result["stages"]["network"] > 0
    assert sum(result["stages"].values()) <= result["seconds"] + 0.01  # each is rounded
    assert 50 < result["peak_memory_mb"] < 2500
    assert result["metrics"]["dice"] > 0.999
    truth = np.count_nonzero(read(case.mask)) * 1.5 * 1.5 * 3 / 1000
    assert result["metrics"]["reference_volume_ml"] == pytest.approx(truth)
    assert json.loads((place / "out/spine.json").read_text()) == result
    assert (place / "out/spine.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (place / "out").iterdir()} == {"spine.seg.nrrd", "spine.png", "spine.json"}
    written = sitk.ReadImage(str(place / "out/spine.seg.nrrd"))
    assert written.GetOrigin() == pytest.approx(case.image.GetOrigin())
    assert written.GetMetaData("Segment0_Name") == "Spine"


def test_for_people(place, case):
    for expected in ("ct.seg.nrrd", "ct-2.seg.nrrd"):
        done = spineseg("segment", case.ct, "--model", "threshold", "--reference", case.mask)
        assert done.returncode == 0, done.stderr
        assert (place / expected).exists()
        assert expected in done.stdout
    assert "Dice" in done.stdout
    assert "Segmenting: 20 of 20 slices" in done.stderr
    assert len(done.stderr.splitlines()) == 3
    assert len(list(place.iterdir())) == 2


def test_dicom_to_dicom_seg_and_without_reference(place, case):
    write_ct_series(place / "series", case.image, seed=1)
    done = spineseg("segment", "series", "--model", "threshold", "-o", "spine.dcm", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result["metrics"]) == ["volume_ml"]
    assert result["compared"] == []
    assert (place / "spine.dcm").read_bytes()[128:132] == b"DICM"


def test_ctrl_c_leaves_nothing(place):
    sitk.WriteImage(scene(600, 160), "long.nrrd")
    running = subprocess.Popen(
        [sys.executable, "-m", "SpineSegLib.cli", "segment", "long.nrrd", "--model", "threshold", "-o", "spine.nii.gz"],
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in running.stderr:
        lines.append(line)
        if line.startswith("Model "):
            running.send_signal(signal.SIGINT)
    assert running.wait(timeout=60) == 130
    assert lines[-1] == "spineseg: Stopped; nothing was left half-written.\n"
    assert running.stdout.read() == ""
    running.stdout.close()
    running.stderr.close()
    assert [path.name for path in place.iterdir()] == ["long.nrrd"]


def segment(case, *arguments):
    return main(["segment", str(case.ct), "--model", "threshold", *map(str, arguments)])


def test_existing_files_stay(place, case, capsys):
    (place / "mine.seg.nrrd").write_text("corrected by hand")
    assert segment(case, "-o", "mine.seg.nrrd") == 5
    assert "--overwrite" in sentence(capsys)
    assert segment(case, "-o", "new.nii.gz", "--picture", "a.png", "--metrics", "mine.seg.nrrd") == 5
    sentence(capsys)
    assert (place / "mine.seg.nrrd").read_text() == "corrected by hand"
    assert len(list(place.iterdir())) == 1


def test_inputs_are_never_replaced(place, case, capsys):
    before = case.ct.read_bytes()
    assert segment(case, "-o", case.ct, "--overwrite") == 5
    assert "input" in sentence(capsys)
    assert segment(case, "--reference", case.mask, "-o", case.mask, "--overwrite") == 5
    sentence(capsys)
    assert case.ct.read_bytes() == before
    slices = {path: path.read_bytes() for path in write_ct_series(place / "series", case.image, seed=1)}
    output = next(iter(slices))
    assert main(["segment", "series", "--model", "threshold", "-o", str(output), "--overwrite"]) == 5
    assert "input" in sentence(capsys)
    assert {path: path.read_bytes() for path in (place / "series").iterdir()} == slices


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-o", "spine.stl"], 5, "ending"),
        (["-o", "spine.dcm"], 5, "DICOM"),
        (["-o", "."], 5, "folder"),
        (["--picture", "spine.jpg"], 5, ".png"),
        (["--picture", "same.nii.gz", "-o", "same.nii.gz"], 5, ".png"),
        (["--reference", "nowhere.nii.gz"], 3, "does not exist"),
        (["--model", "nothing"], 4, "threshold"),
        (["--series", "3"], 3, "series"),
    ],
)
def test_what_can_not_be_done(place, case, capsys, arguments, code, says):
    assert segment(case, *arguments) == code
    assert says in sentence(capsys)
    assert list(place.iterdir()) == []


def test_reference_of_another_scan(place, case, capsys):
    mask = sitk.ReadImage(str(case.mask))
    mask.SetOrigin((300.0, 0.0, 0.0))
    sitk.WriteImage(mask, "other.nii.gz")
    assert segment(case, "--reference", "other.nii.gz") == 3
    assert "different scans" in sentence(capsys)


def test_missing_and_foreign_files(place, case, capsys):
    assert main(["segment", "nowhere.nii.gz", "--model", "threshold"]) == 3
    assert "does not exist" in sentence(capsys)
    (place / "ct.nii.gz").write_text("not an image")
    assert main(["segment", "ct.nii.gz", "--model", "threshold"]) == 3
    sentence(capsys)
    assert segment(case, "--model", place / "ct.nii.gz") == 4
    sentence(capsys)
    assert [path.name for path in place.iterdir()] == ["ct.nii.gz"]


@pytest.fixture
def at_once(monkeypatch):
    """A network that needs no time: what is brighter than 40 % of the window."""
    from SpineSegLib.engine.models import network

    class Fake:
        backend, device = "fake", "cpu"

        def __init__(self, path, **choices):
            self.info = network.read_info(path)

        def batch_size(self, height, width):
            return 5

        def predict(self, batch):
            return (batch > 0.4).astype(np.float32)

    monkeypatch.setattr(network, "Network", Fake)


@pytest.mark.parametrize("output", [(), ("-o", "ct.seg.nrrd")])
def test_a_file_that_comes_into_being_meanwhile_stays(place, case, capsys, monkeypatch, at_once, output):
    from SpineSegLib.cli import segment as command

    read_inputs = command._read

    def meanwhile(*arguments):
        found = read_inputs(*arguments)
        Path("ct.seg.nrrd").write_text("of another program")
        return found

    monkeypatch.setattr(command, "_read", meanwhile)
    assert segment(case, *output, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["output"].endswith("ct-2.seg.nrrd")
    assert "was left as it is" in printed["notes"][-1]
    assert Path("ct.seg.nrrd").read_text() == "of another program"
    np.testing.assert_array_equal(read("ct-2.seg.nrrd"), read(case.mask))


def test_failure_while_writing_leaves_nothing(place, case, capsys, monkeypatch, at_once):
    """The picture fails after the segmentation is written: the segmentation is whole, the picture isn't there."""
    import SpineSegLib.engine.overview as overview

    def broken(file, *_):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(overview, "draw_overview", broken)
    assert segment(case, "-o", "spine.nii.gz", "--picture", "spine.png", "--quiet") == 5
    assert "disk is full" in sentence(capsys)
    assert [path.name for path in place.iterdir()] == ["spine.nii.gz"]
    np.testing.assert_array_equal(read("spine.nii.gz"), read(case.mask))


def test_unexpected_errors_are_one_sentence(place, case, capsys, monkeypatch):
    from SpineSegLib.engine.files import reading

    def broken(*_):
        raise ValueError("first line\nsecond line")

    monkeypatch.setattr(reading, "read_volume", broken)
    assert segment(case) == 1
    assert "ValueError (first line second line)" in sentence(capsys)
    with pytest.raises(ValueError, match="first line"):
        segment(case, "--debug")


def test_a_link_that_leads_nowhere_is_a_name_that_is_taken(tmp_path):
    """Else writing would find the name taken, look for a free one, get the same again, and never end."""
    (tmp_path / "ct.seg.nrrd").symlink_to("/not/mounted/ct.seg.nrrd")
    assert free_name(tmp_path, "ct", ".seg.nrrd") == tmp_path / "ct-2.seg.nrrd"
    with pytest.raises(OutputError, match="exists already"):
        check_new_file(tmp_path / "ct.seg.nrrd", [], overwrite=False)
