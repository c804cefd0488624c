"""What the tests of the command line share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk
from commandline import MAKE_MODEL, Case, environment, scene


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """Model file that marks what is denser than 300 HU."""
    path = tmp_path_factory.mktemp("models") / "threshold.weights.h5"
    made = subprocess.run(
        [sys.executable, "-c", MAKE_MODEL, str(path)], env=environment(), capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    return path


@pytest.fixture(scope="session")
def case(tmp_path_factory) -> Case:
    folder = tmp_path_factory.mktemp("case")
    image = scene()
    sitk.WriteImage(image, str(folder / "ct.nii.gz"))
    sitk.WriteImage(sitk.Cast(image > 300, sitk.sitkUInt8), str(folder / "mask.nii.gz"))
    return Case(folder / "ct.nii.gz", folder / "mask.nii.gz", image)


@pytest.fixture
def place(tmp_path, monkeypatch, model) -> Path:
    """An empty current folder, and only the test's model to be found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPINESEG_MODELS", str(model.parent))
    return tmp_path
