"""The command line itself, and the commands on models and phantoms."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import environment, spineseg
from SpineSegLib.cli import main, parser
from SpineSegLib.engine.errors import ComputeError, InputError, ModelError, OutputError


def test_help_names_everything():
    done = spineseg("--help")
    assert done.returncode == 0
    for word in ("segment", "models", "train", "phantom", "exit codes", "Ctrl-C"):
        assert word in done.stdout


def test_help_imports_nothing_heavy():
    check = (
        "import sys; from SpineSegLib.cli import parser; parser(); "
        "print([m for m in ('numpy', 'SimpleITK', 'keras', 'rich', 'pydicom') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], env=environment(), capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_documented_exit_codes():
    text = parser().format_help()
    for error in (InputError, ModelError, OutputError, ComputeError):
        assert f"\n  {error.exit_code} " in text


@pytest.mark.parametrize("arguments", [[], ["fly"], ["segment"], ["models"], ["phantom", "x", "--count", "0"],
                                       ["phantom", "x", "--kind", "water", "--region", "lumbar"],
                                       ["segment", "x", "--device", "moon"],
                                       ["models", "import", "x.h5", "--out", "y.h5"],
                                       ["train", "x", "--out", "x.h5"],
                                       ["train", "x", "--out", "x.weights.h5", "--epochs", "0"],
                                       ["train", "x", "--out", "x.weights.h5", "--patch", "100"],
                                       ["train", "x", "--out", "x.weights.h5", "--learning-rate", "-1"]])  # fmt: skip
def test_wrong_command_lines(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_models_list_and_show(place, model, capsys):
    assert main(["models", "list", "--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)["models"]}
    assert found["threshold"]["version"] == 3
    assert found["threshold"]["file"] == str(model)
    assert main(["models", "list"]) == 0
    assert "CC0" in capsys.readouterr().out
    assert main(["models", "show", "threshold", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["labels"] == ["spine"]
    assert shown["preprocessing"]["spacing"] == 1.5
    assert main(["models", "show", str(model)]) == 0
    assert "-200, 1000" in capsys.readouterr().out


def test_broken_models_are_listed_with_their_problem(place, monkeypatch, capsys):
    (place / "bad.weights.h5").write_bytes(b"nonsense")
    monkeypatch.setenv("SPINESEG_MODELS", str(place))
    assert main(["models", "list", "--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)["models"]}
    assert "bad.weights.h5" in found["bad"]["problem"]
    assert main(["models", "show", "bad"]) == 4


def test_import_of_foreign_files(place, capsys):
    (place / "foreign.h5").write_bytes(b"nonsense")
    assert main(["models", "import", "foreign.h5", "--out", "new.weights.h5"]) == 4
    assert main(["models", "import", "foreign.h5", "--out", "new.weights.h5", "--labels", "unicorn"]) == 4
    assert "unicorn" in capsys.readouterr().err
    assert main(["models", "import", "foreign.h5", "--out", "new.weights.h5", "--window", "5", "1"]) == 4
    assert [path.name for path in place.iterdir()] == ["foreign.h5"]


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_phantom_is_written_and_repeated(place, capsys):
    arguments = ["phantom", "case", "--seed", "3", "--kind", "water", "--format", "nifti", "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"cases": [{"seed": 3, "folder": "case"}]}
    written = files(place)
    assert {str(name) for name in written} == {"case/ct.nii.gz", "case/mask.nii.gz", "case/vertebrae.nii.gz"}
    assert main(arguments) == 5
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert files(place) == written


def test_several_phantoms_as_dicom(place, capsys):
    assert main(["phantom", "cases", "--count", "2", "--seed", "8", "--kind", "water", "--quiet"]) == 0
    assert [path.name for path in sorted((place / "cases").iterdir())] == ["case_0008", "case_0009"]
    assert list((place / "cases/case_0008/dicom").iterdir())


def test_phantom_replaces_nothing_else(place, capsys):
    (place / "case").mkdir()
    (place / "case" / "thesis.txt").write_text("precious")
    (place / "case" / "mask.nii.gz").write_text("old")
    assert main(["phantom", "case", "--kind", "water", "--overwrite"]) == 5
    assert len(files(place)) == 2


def test_phantom_does_not_replace_the_current_folder(place, capsys):
    assert main(["phantom", ".", "--kind", "water"]) == 5
    assert "folder you are in" in capsys.readouterr().err
    assert list(place.iterdir()) == []


def test_phantom_that_can_not_be(place, capsys):
    assert main(["phantom", "case", "--region", "moon"]) == 3
    assert "moon" in capsys.readouterr().err
    assert list(place.iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such names")
def test_names_that_are_no_text(place):
    """A file name on Linux may be any bytes; SimpleITK crashes on those that are no UTF-8."""
    folder = os.fsdecode(b"case-\xff")
    for arguments, says in ((["phantom", folder, "--kind", "water", "--format", "nifti"], "choose another name"),
                            (["segment", folder, "--model", "threshold"], "can't be opened")):  # fmt: skip
        done = spineseg(*arguments)
        assert done.returncode in (3, 5)
        assert says in done.stderr


def test_a_reader_that_has_enough(place):
    """`spineseg models list | head -1` must not end in an error."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "SpineSegLib.cli", "models", "list", "--json"],
        env=environment(), stdout=write, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="shells of Windows close no streams")
@pytest.mark.parametrize("ending", ["2>&-", ">&-", ">&- 2>&-", "2>&1 >/dev/null | true"])
def test_where_nobody_listens_the_work_is_done(place, ending):
    command = [sys.executable, "-m", "SpineSegLib.cli", "phantom", "case", "--kind", "head"]
    done = subprocess.run(f"{shlex.join(command)} {ending}", shell=True, env=environment(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert Path("case/mask.nii.gz").exists()


def test_peak_memory_is_that_of_this_process_alone():
    """A process started from a large one must not report the large one's memory."""
    measure = "from SpineSegLib.cli.measure import peak_memory_mb as peak; print(peak())"
    large = (
        "import subprocess, sys; block = bytearray(600_000_000); block[::4096] = b'x' * len(block[::4096]); "
        f"print(subprocess.run([sys.executable, '-c', {measure!r}], capture_output=True, text=True).stdout)"
    )
    done = subprocess.run([sys.executable, "-c", large], env=environment(), capture_output=True, text=True)
    assert 5 < float(done.stdout) < 200
