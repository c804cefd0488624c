"""The model that ships: it segments what it never saw, whichever way it is stored, and its card goes with it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from commandline import spineseg
from SpineSegLib.engine.comparison.metrics import compare
from SpineSegLib.engine.models.model_file import read_info
from SpineSegLib.engine.models.unet import PRESETS
from SpineSegLib.resources import resources_dir

MODELS = resources_dir() / "Models"


def segmented(ct: Path, out: Path, *more: object) -> tuple[sitk.Image, dict]:
    done = spineseg("segment", ct, "-o", out, "--json", *more)
    assert done.returncode == 0, done.stderr
    return sitk.ReadImage(str(out)), json.loads(done.stdout)


# The first has 120 HU of noise and streaks in voxels of 1.5 mm, the second 5 HU in voxels of 1 mm.
@pytest.mark.parametrize(("seed", "region", "least"), [(301, "L4-L2", 0.9), (302, "T9-T7", 0.92)])
def test_phantoms_never_trained_on(tmp_path, seed, region, least):
    case = tmp_path / "case"
    made = spineseg("phantom", case, "--seed", seed, "--region", region, "--view", "spine", "--format", "nifti")
    assert made.returncode == 0, made.stderr
    _, result = segmented(case / "ct.nii.gz", tmp_path / "out.nii.gz", "--reference", case / "mask.nii.gz")
    assert result["metrics"]["dice"] > least


@pytest.mark.parametrize("kind", ["water", "head"])
def test_what_is_no_spine_is_left_empty(tmp_path, kind):
    spineseg("phantom", tmp_path / kind, "--kind", kind, "--seed", 3, "--format", "nifti")
    labels, result = segmented(tmp_path / kind / "ct.nii.gz", tmp_path / "out.nii.gz")
    assert result["metrics"]["volume_ml"] == 0
    assert not sitk.GetArrayViewFromImage(labels).any()


@pytest.mark.parametrize(("case", "least"), [("ts_example_dicom", 0.8), ("tptbox_L3", 0.91)])
def test_real_ct_stored_otherwise_gives_the_same(shared_data, tmp_path, case, least):
    place = shared_data / "cases" / case
    ct = place / "dicom" if (place / "dicom").is_dir() else place / "ct.nii.gz"
    straight, result = segmented(ct, tmp_path / "straight.nrrd", "--reference", place / "mask.nii.gz")
    assert result["metrics"]["dice"] > least
    if ct.is_dir():
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(ct)))
        image = reader.Execute()
    else:
        image = sitk.ReadImage(str(ct))
    sitk.WriteImage(sitk.DICOMOrient(image, "PIR"), str(tmp_path / "sagittal.nii.gz"))
    turned, _ = segmented(tmp_path / "sagittal.nii.gz", tmp_path / "turned.nrrd")
    back = sitk.Resample(turned, straight, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert compare(back, straight, {"spine": 1}).metrics["dice"] > 0.995
    differing = np.mean(sitk.GetArrayViewFromImage(back) != sitk.GetArrayViewFromImage(straight))
    assert differing < 1e-3


@pytest.mark.parametrize("name", ["default", "fast"])
def test_model_and_card_belong_together(name):
    info = read_info(MODELS / f"{name}.weights.h5")
    card = (MODELS / f"{name}.md").read_text(encoding="utf-8")
    assert info.name == name
    assert info.architecture == PRESETS[name].architecture
    assert replace(info.preprocessing, threshold=0.5) == replace(PRESETS[name].preprocessing, threshold=0.5)
    assert info.labels == ("vertebrae", "sacrum")
    assert info.licence in card
    assert "research" in card.lower()
    assert "@" not in card  # no figure left to fill in
    assert all((MODELS / picture).exists() for picture in re.findall(r"\]\((\S+\.png)\)", card))


def test_models_are_small_enough_to_ship():
    assert sum(file.stat().st_size for file in MODELS.glob("*.h5")) < 40e6


def test_fast_model_segments_too(tmp_path):
    case = tmp_path / "case"
    spineseg("phantom", case, "--seed", 302, "--region", "T9-T7", "--view", "spine", "--format", "nifti")
    truth = ("--reference", case / "mask.nii.gz")
    _, result = segmented(case / "ct.nii.gz", tmp_path / "out.nii.gz", *truth, "--model", "fast")
    assert result["metrics"]["dice"] > 0.92
