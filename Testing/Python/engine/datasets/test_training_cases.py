"""Public data sets as cases to train on."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from SpineSegLib.engine.datasets.labels import CERVICAL, LUMBAR, THORACIC
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.training.from_folder import fingerprint
from SpineSegLib.engine.training.training_data import find_cases, prepare, prepare_all


def put(path, array, origin=(0.0, 0.0, 0.0), orientation="LPS", turned=False):
    """A volume of 1.5 x 1.5 x 3 mm."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.5, 1.5, 3.0))
    image.SetOrigin(origin)
    if turned:
        turn = sitk.Euler3DTransform()
        turn.SetRotation(0.0, 0.3, 0.0)
        image.SetDirection(turn.GetMatrix())
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.DICOMOrient(image, orientation) if not turned else image, str(path))


def ct():
    hu = np.full((40, 30, 30), -1000, dtype=np.int16)
    hu[:, 4:26, 4:26] = 40
    hu[:, 10:20, 10:20] = 500
    return hu


def verse(folder, **place):
    """Vertebrae L4 to T12 from slice 10 to 34, the sacrum below them not annotated."""
    mask = np.zeros((40, 30, 30), dtype=np.uint8)
    for label, first in ((23, 10), (22, 15), (21, 20), (20, 25), (19, 30)):
        mask[first : first + 5, 10:20, 10:20] = label
    put(folder / "rawdata" / "sub-verse1" / "sub-verse1_ct.nii.gz", ct(), **place)
    put(folder / "derivatives" / "sub-verse1" / "sub-verse1_seg-vert_msk.nii.gz", mask, **place)
    return find_cases(folder)


@pytest.mark.parametrize("orientation", ["LPS", "PIR", "RAS"])
def test_partly_annotated_case_teaches_nothing_beyond_its_vertebrae(tmp_path, orientation):
    (case,) = verse(tmp_path, orientation=orientation)
    assert (case.name, case.patient) == ("sub-verse1", "sub-verse1")
    prepared = prepare(case, Preprocessing(spacing=1.5, context=(0.0,)), 2, tmp_path / "cache")
    assert set(np.unique(prepared.labels)) == {0, 1}
    heights = prepared.slices * prepared.step
    assert len(heights) == len(prepared.spine_slices) > 0
    spine = np.flatnonzero(prepared.labels.any(axis=(1, 2))) * prepared.step
    assert heights.min() >= spine.min() + 29
    assert heights.max() <= spine.max() - 29


def test_oblique_and_partly_annotated_case_is_refused(tmp_path):
    (case,) = verse(tmp_path, turned=True)
    with pytest.raises(InputError, match="obliquely"):
        case.images()


def nnunet(folder, orientation="LPS", **place):
    """Spine everywhere; slices 0 to 9 and a voxel of slice 30 are ignored."""
    mask = np.zeros((40, 30, 30), dtype=np.uint8)
    mask[:, 10:20, 10:20] = 1
    mask[:10] = 3
    mask[30, 15, 15] = 3
    put(folder / "imagesTr" / "x_0000.nii.gz", ct(), orientation=orientation, **place)
    put(folder / "labelsTr" / "x.nii.gz", mask, orientation=orientation, **place)
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "vertebrae": 1, "sacrum": 2, "ignore": 3}}
    (folder / "dataset.json").write_text(json.dumps(about))
    return find_cases(folder)


@pytest.mark.parametrize("orientation", ["LPS", "PIR", "RAS"])
def test_slices_that_nnunet_would_ignore_teach_nothing(tmp_path, orientation):
    (case,) = nnunet(tmp_path, orientation)
    prepared = prepare(case, Preprocessing(spacing=1.5, context=(0.0,)), 2, tmp_path / "cache")
    assert set(np.unique(prepared.labels)) == {0, 1}
    heights = prepared.slices * prepared.step
    assert heights.min() >= 3.0 * 9.5
    assert not np.any(np.abs(heights - 90.0) < 1.5)
    assert np.any(np.abs(heights - 84.0) < 1.5)
    assert np.any(np.abs(heights - 96.0) < 1.5)


def test_an_oblique_case_with_ignored_voxels_is_refused(tmp_path):
    (case,) = nnunet(tmp_path, turned=True)
    with pytest.raises(InputError, match="obliquely"):
        case.images()


def test_masks_of_single_structures(tmp_path):
    for name, key, rows in (("s1", "vertebrae_L5", slice(20, 30)), ("s1", "sacrum", slice(5, 15))):
        mask = np.zeros((40, 30, 30), dtype=np.uint8)
        mask[rows, 10:20, 10:20] = 1
        put(tmp_path / name / "ct.nii.gz", ct())
        put(tmp_path / name / "segmentations" / f"{key}.nii.gz", mask)
    (case,) = find_cases(tmp_path)
    images = case.images()
    assert images.checked is None
    array = sitk.GetArrayFromImage(images.mask)
    assert set(np.unique(array[20:30])) == {0, 1}
    assert set(np.unique(array[5:15])) == {0, 2}
    before, state = fingerprint([case]), case.state()
    put(tmp_path / "s1" / "segmentations" / "sacrum.nii.gz", np.ones((40, 30, 30), dtype=np.uint8))
    assert fingerprint([case]) != before
    assert case.state() != state


PREPROCESSING = Preprocessing(spacing=1.5, context=(0.0,))


def totalsegmentator(folder, name, structures, marked):
    """A case with a file for each of `structures`, empty but in those that are `marked`."""
    put(folder / name / "ct.nii.gz", ct())
    for key in structures:
        mask = np.zeros((40, 30, 30), dtype=np.uint8)
        mask[15:25, 10:20, 10:20] = key in marked
        put(folder / name / "segmentations" / f"{key}.nii.gz", mask)


def test_a_head_of_totalsegmentator_teaches_what_is_no_spine(tmp_path):
    every = [f"vertebrae_{level}" for level in (*CERVICAL, *THORACIC, *LUMBAR)] + ["sacrum"]
    totalsegmentator(tmp_path, "s1", [*every, "brain"], ["brain"])
    totalsegmentator(tmp_path, "s2", every, ["vertebrae_L5"])
    head, trunk = prepare_all(find_cases(tmp_path), PREPROCESSING, 2, tmp_path / "cache")
    assert (head.name, trunk.name) == ("s1", "s2")
    assert not head.labels.any()
    assert len(head.slices) == len(head.labels)
    assert trunk.labels.any()


def test_cases_of_a_data_set_that_can_not_be_used_are_left_out_by_name(tmp_path):
    totalsegmentator(tmp_path, "s1", ["vertebrae_L5", "sacrum"], [])  # not all there is has a file: who knows
    totalsegmentator(tmp_path, "s2", ["vertebrae_L5", "sacrum"], ["vertebrae_L5"])
    said, progress = [], []
    prepared = prepare_all(
        find_cases(tmp_path), PREPROCESSING, 2, tmp_path / "cache", lambda *done: progress.append(done), said.append
    )
    assert [case.name for case in prepared] == ["s2"]
    assert progress == [(1, 2), (2, 2)]
    (sentence,) = said
    assert sentence.startswith("s1 is left out. The mask of s1 is empty")


def test_where_none_can_be_used_the_reason_is_told(tmp_path):
    cases = verse(tmp_path, turned=True)
    with pytest.raises(InputError, match=r"^No case of the data set can be used; .*sub-verse1 is left out.*obliquely"):
        prepare_all(cases, PREPROCESSING, 2, tmp_path / "cache")


def test_a_case_of_ones_own_must_be_right(tmp_path):
    for name, empty in (("a", True), ("b", False)):
        mask = np.zeros((40, 30, 30), dtype=np.uint8)
        mask[10:20, 10:20, 10:20] = not empty
        put(tmp_path / name / "ct.nii.gz", ct())
        put(tmp_path / name / "mask.nii.gz", mask)
    with pytest.raises(InputError, match="mask of a is empty"):
        prepare_all(find_cases(tmp_path), PREPROCESSING, 2, tmp_path / "cache")
