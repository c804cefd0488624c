"""Finding, splitting and preparing training cases, and drawing patches from them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.training.augmentation import NONE
from SpineSegLib.engine.training.training_data import (
    PatchSampler,
    PreparedCase,
    TrainingCase,
    find_cases,
    prepare,
    split_patients,
)

PREPROCESSING = Preprocessing(spacing=1.0, context=(-2.0, 0.0, 2.0), window=(-200.0, 1000.0))


def write_case(folder: Path, patient: str | None = None, labels: int = 2, orientation: str = "LPS") -> None:
    """A box of bone in soft tissue in air; its upper half has label 2 if `labels` is 2."""
    hu = np.full((24, 60, 50), -1000, dtype=np.int16)
    hu[:, 5:55, 5:45] = 40
    hu[4:20, 20:40, 10:30] = 600
    mask = np.zeros(hu.shape, dtype=np.uint8)
    mask[4:20, 20:40, 10:30] = 1
    if labels == 2:
        mask[12:20, 20:40, 10:30] = 2
    folder.mkdir(parents=True)
    for name, array in (("ct.nii.gz", hu), ("mask.nii.gz", mask)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1.0, 1.0, 2.0))
        sitk.WriteImage(sitk.DICOMOrient(image, orientation), str(folder / name))
    if patient:
        (folder / "case.json").write_text(json.dumps({"patient": patient}))


def test_finds_cases_and_their_patients(tmp_path):
    write_case(tmp_path / "b", "anna")
    write_case(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    assert [(c.name, c.patient) for c in find_cases(tmp_path)] == [("a", "a"), ("b", "anna")]


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(InputError, match="no CT with a mask"):
        find_cases(tmp_path)
    with pytest.raises(InputError, match="missing"):
        find_cases(tmp_path / "missing")


def test_no_patient_is_on_both_sides():
    cases = [TrainingCase(f"{p}{i}", p, Path("ct"), Path("mask")) for p in "abcdefghij" for i in range(3)]
    training, validation = split_patients(cases, 0.2, seed=3)
    assert {c.patient for c in training} & {c.patient for c in validation} == set()
    assert len({c.patient for c in validation}) == 2
    assert len(training) + len(validation) == len(cases)
    assert split_patients(cases, 0.2, seed=3) == (training, validation)


def test_one_patient_can_not_be_split():
    with pytest.raises(InputError, match="two patients"):
        split_patients([TrainingCase("a", "a", Path("ct"), Path("mask"))] * 3, 0.5, seed=0)


@pytest.mark.parametrize("orientation", ["LPS", "RAI", "PSR"])
def test_prepared_case_lies_on_the_working_grid(tmp_path, orientation):
    write_case(tmp_path / "a", orientation=orientation)
    case = prepare(find_cases(tmp_path)[0], PREPROCESSING, 2, tmp_path / "cache")
    assert case.step == pytest.approx(2.0)
    # Volumes of the two labels: 8 slices of 20 x 20 pixels each, the second one nearer to the head.
    assert np.count_nonzero(case.labels == 1) == 3200
    assert np.count_nonzero(case.labels == 2) == 3200
    assert np.argwhere(case.labels == 2)[:, 0].mean() > np.argwhere(case.labels == 1)[:, 0].mean()
    assert np.median(case.hu[case.labels > 0]) == pytest.approx(600, abs=1)
    np.testing.assert_array_equal(case.hu > 300, case.labels > 0)


def test_unknown_labels_are_refused(tmp_path):
    write_case(tmp_path / "a")
    mask = sitk.ReadImage(str(tmp_path / "a" / "mask.nii.gz"))
    sitk.WriteImage(mask * 20, str(tmp_path / "a" / "mask.nii.gz"))
    with pytest.raises(InputError, match="up to 40"):
        prepare(find_cases(tmp_path)[0], PREPROCESSING, 2, tmp_path / "cache")


def test_a_corrected_mask_is_prepared_anew(tmp_path):
    write_case(tmp_path / "a")
    case = find_cases(tmp_path)[0]
    before = prepare(case, PREPROCESSING, 2, tmp_path / "cache").labels.sum()
    mask = sitk.ReadImage(str(case.mask))
    sitk.WriteImage(sitk.Cast(mask > 0, sitk.sitkUInt8), str(case.mask))
    assert prepare(case, PREPROCESSING, 2, tmp_path / "cache").labels.sum() < before


def test_models_of_other_spacing_are_prepared_for_anew(tmp_path):
    write_case(tmp_path / "a")
    case = find_cases(tmp_path)[0]
    fine = prepare(case, PREPROCESSING, 2, tmp_path / "cache")
    coarse = prepare(case, replace(PREPROCESSING, spacing=2.0), 2, tmp_path / "cache")
    assert [round(a / b) for a, b in zip(fine.hu.shape, coarse.hu.shape, strict=True)] == [1, 2, 2]


def test_a_flipped_mask_is_refused(tmp_path):
    write_case(tmp_path / "a")
    mask = sitk.ReadImage(str(tmp_path / "a" / "mask.nii.gz"))
    mask.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(mask, str(tmp_path / "a" / "mask.nii.gz"))
    with pytest.raises(InputError, match="another grid"):
        prepare(find_cases(tmp_path)[0], PREPROCESSING, 2, tmp_path / "cache")


def test_a_broken_case_file_is_named(tmp_path):
    write_case(tmp_path / "a")
    (tmp_path / "a" / "case.json").write_text("[1")
    with pytest.raises(InputError, match=r"case\.json is damaged"):
        find_cases(tmp_path)


def test_one_label_takes_every_value(tmp_path):
    write_case(tmp_path / "a")
    case = prepare(find_cases(tmp_path)[0], PREPROCESSING, 1, tmp_path / "cache")
    assert np.unique(case.labels).tolist() == [0, 1]
    assert np.count_nonzero(case.labels) == 6400


def test_mask_on_another_grid_and_empty_mask_are_refused(tmp_path):
    write_case(tmp_path / "a")
    mask = sitk.ReadImage(str(tmp_path / "a" / "mask.nii.gz"))
    sitk.WriteImage(mask[:, :, 2:], str(tmp_path / "a" / "mask.nii.gz"))
    with pytest.raises(InputError, match="another grid"):
        prepare(find_cases(tmp_path)[0], PREPROCESSING, 2, tmp_path / "cache")
    sitk.WriteImage(mask * 0, str(tmp_path / "a" / "mask.nii.gz"))
    with pytest.raises(InputError, match="empty"):
        prepare(find_cases(tmp_path)[0], PREPROCESSING, 2, tmp_path / "cache")


def ramp_case() -> PreparedCase:
    """HU that rise by 10 per millimetre along z; spine in the middle of every slice."""
    hu = np.broadcast_to((np.arange(20) * 30)[:, None, None], (20, 70, 64)).astype(np.int16)
    labels = np.zeros(hu.shape, dtype=np.uint8)
    labels[:, 30:40, 30:40] = 1
    return PreparedCase("ramp", "ramp", hu, labels, 3.0, np.arange(20), np.arange(20))


def test_context_slices_lie_at_their_distance_in_mm():
    slab = ramp_case().slab(10, (-2.0, 0.0, 2.0, 4.5))
    np.testing.assert_allclose(slab[:, 0, 0], [280, 300, 320, 345], atol=1e-3)
    edge = ramp_case().slab(0, (-2.0, 0.0, 2.0))
    np.testing.assert_allclose(edge[:, 0, 0], [0, 0, 20], atol=1e-3)


def test_a_batch_depends_on_its_number_alone():
    sampler = PatchSampler([ramp_case()], PREPROCESSING, 48, NONE, seed=5)
    first = sampler.batch(3, 4)
    sampler.batch(4, 4)
    again = PatchSampler([ramp_case()], PREPROCESSING, 48, NONE, seed=5).batch(3, 4)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], sampler.batch(4, 4)[1])


def test_no_patch_shows_a_slice_that_nobody_checked():
    checked = np.array([3, 4, 11])
    case = replace(ramp_case(), slices=checked, spine_slices=checked[:2])
    images, _ = PatchSampler([case], replace(PREPROCESSING, context=(0.0,)), 32, NONE, seed=2).batch(0, 60)
    hu = np.unique(np.round(images * 1200 - 200))
    assert hu.tolist() == [90, 120, 330]  # HU tell the slice


def test_patches_larger_than_the_slice_are_filled_with_air():
    images, labels = PatchSampler([ramp_case()], PREPROCESSING, 96, NONE, seed=1).batch(0, 2)
    assert images.shape == (2, 96, 96, 3)
    assert labels.shape == (2, 96, 96)
    assert np.all(images[:, 0] == 0)  # air lies below the window
    assert np.count_nonzero(labels[0]) == 100


def test_a_case_known_to_hold_no_spine_teaches_the_background(tmp_path):
    write_case(tmp_path / "head")
    ct = sitk.ReadImage(str(tmp_path / "head" / "ct.nii.gz"))
    sitk.WriteImage(ct * 0, str(tmp_path / "head" / "mask.nii.gz"))
    with pytest.raises(InputError, match="empty"):
        prepare(find_cases(tmp_path)[0], PREPROCESSING, 2, tmp_path / "cache")
    (tmp_path / "head" / "case.json").write_text(json.dumps({"patient": "anna", "spineless": True}))
    case = prepare(find_cases(tmp_path)[0], PREPROCESSING, 2, tmp_path / "cache")
    assert not case.labels.any()
    assert len(case.spine_slices) == 0
    images, labels = PatchSampler([case], PREPROCESSING, 32, NONE, seed=1).batch(0, 6)
    assert images.max() > 0.5  # bone is looked at all the same
    assert not labels.any()


def test_names_of_segments_count_and_not_their_numbers(tmp_path):
    """Slicer numbers segments in the order in which they were drawn."""
    values = np.zeros((4, 8, 8), np.uint8)
    values[:2], values[2:] = 1, 2
    mask = sitk.GetImageFromArray(values)
    for index, name in enumerate(("Sacrum", "L5 vertebra")):
        mask.SetMetaData(f"Segment{index}_Name", name)
        mask.SetMetaData(f"Segment{index}_LabelValue", str(index + 1))
        mask.SetMetaData(f"Segment{index}_Layer", "0")
    sitk.WriteImage(mask, str(tmp_path / "mask.seg.nrrd"))
    sitk.WriteImage(sitk.GetImageFromArray(values.astype(np.int16) * 500 - 1000), str(tmp_path / "ct.nii.gz"))
    images = TrainingCase("a", "a", tmp_path / "ct.nii.gz", tmp_path / "mask.seg.nrrd").images()
    assert (sitk.GetArrayFromImage(images.mask) == 3 - values).all()
