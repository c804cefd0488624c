"""Cases come into a training set from files and data sets, and go out for other programs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from corrected_cases import SEGMENTS, ball_case, ball_submission
from SpineSegLib.engine.datasets.find import find_dataset
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.dicom_write import write_ct_series
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.training import training_set
from SpineSegLib.engine.training.training_data import find_cases, prepare_all
from SpineSegLib.engine.training.training_set import TrainingSet, slice_indices
from SpineSegLib.engine.training.training_set_files import export_nifti, export_nnunet, submission_of_files, submissions
from SpineSegLib.engine.volume import Grid


@pytest.fixture
def target(tmp_path, monkeypatch) -> TrainingSet:
    monkeypatch.setattr(training_set, "_HASH_COST", {"n": 2, "r": 1, "p": 1})
    return TrainingSet.create(tmp_path / "balls.cases.h5", "balls", SEGMENTS)


def array(path_or_image):
    image = sitk.ReadImage(str(path_or_image)) if not isinstance(path_or_image, sitk.Image) else path_or_image
    return sitk.GetArrayFromImage(image)


def write_case(folder, seed, air=True):
    """A case in files; with air, as a CT has."""
    ct, mask = ball_case(seed)
    hu = sitk.GetArrayFromImage(ct)
    if air:
        hu[:, :4] = -1000
    image = sitk.GetImageFromArray(hu)
    image.CopyInformation(ct)
    folder.mkdir(parents=True)
    sitk.WriteImage(image, str(folder / "ct.nii.gz"))
    sitk.WriteImage(mask, str(folder / "mask.nii.gz"))
    return image, mask


def test_a_mask_cut_to_what_it_marks_and_turned_lies_on_the_ct_again(target, tmp_path):
    ct, mask = write_case(tmp_path / "case", 1)
    cut = sitk.DICOMOrient(mask[5:38, 3:39, :], "RAI")
    sitk.WriteImage(cut, str(tmp_path / "cut.nrrd"))
    submission = submission_of_files(tmp_path / "case" / "ct.nii.gz", tmp_path / "cut.nrrd", SEGMENTS)
    target.add(submission)
    stored = target.images("case_0001")
    np.testing.assert_array_equal(array(stored[0]), array(ct))
    np.testing.assert_array_equal(array(stored[1]), array(mask))


def test_scans_of_a_dicom_patient_belong_together(target, tmp_path):
    for seed in (1, 2):
        ct, mask = write_case(tmp_path / f"nifti{seed}", seed)
        write_ct_series(tmp_path / f"dicom{seed}", ct, patient="One")
        sitk.WriteImage(mask, str(tmp_path / f"mask{seed}.nii.gz"))
    for seed in (1, 2):
        target.add(submission_of_files(tmp_path / f"dicom{seed}", tmp_path / f"mask{seed}.nii.gz", SEGMENTS))
    one, other = target.cases()
    assert one.patient == other.patient
    assert one.scan != other.scan
    target.add(submission_of_files(tmp_path / "dicom1", tmp_path / "mask1.nii.gz", SEGMENTS))
    assert len(target.cases()) == 2  # the same series again


def test_a_data_set_comes_in_but_for_what_is_broken(target, tmp_path):
    for seed in range(3):
        write_case(tmp_path / "data" / f"p{seed}", seed)
    (tmp_path / "data" / "p1" / "ct.nii.gz").write_bytes(b"broken")
    cases = find_dataset(tmp_path / "data").cases
    found = {case.name: result for case, result in submissions(cases, target.segments)}
    assert isinstance(found["p1"], InputError)
    for name in ("p0", "p2"):
        target.add(found[name])
    assert len({case.patient for case in target.cases()}) == 2


def test_one_dicom_patient_in_two_folders_is_one_patient(target, tmp_path):
    for seed, folder in ((1, "before"), (2, "after"), (3, "other")):
        ct, mask = write_case(tmp_path / f"nifti{seed}", seed)
        (tmp_path / "data" / folder).mkdir(parents=True)
        write_ct_series(tmp_path / "data" / folder / "dicom", ct, patient="One")
        sitk.WriteImage(mask, str(tmp_path / "data" / folder / "mask.nii.gz"))
    (tmp_path / "data" / "other" / "case.json").write_text('{"patient": "two"}')  # whoever wrote it knows better
    for _, submission in submissions(find_dataset(tmp_path / "data").cases, SEGMENTS):
        target.add(submission)
    patients = [case.patient for case in target.cases()]  # after, before, other
    assert patients[0] == patients[1] != patients[2]


@pytest.mark.parametrize("labels", [(0, 24, 26), (0, 1, 3)])
def test_several_labels_that_nobody_explains_are_refused(target, tmp_path, labels):
    _, mask = write_case(tmp_path / "case", 1)
    numbered = sitk.GetImageFromArray(np.array(labels, dtype=np.uint8)[array(mask)])
    numbered.CopyInformation(mask)
    sitk.WriteImage(numbered, str(tmp_path / "case" / "mask.nii.gz"))
    files = tmp_path / "case" / "ct.nii.gz", tmp_path / "case" / "mask.nii.gz"
    with pytest.raises(InputError, match=f"label {labels[1] if labels[1] > 1 else labels[2]}"):
        target.add(submission_of_files(*files, SEGMENTS))
    assert target.cases() == []
    if labels[1] == 24:
        target.add(submission_of_files(*files, SEGMENTS, scheme="verse"))
        np.testing.assert_array_equal(array(target.images("case_0001")[1]), array(mask))


def test_a_single_segment_takes_every_label(tmp_path, target):
    write_case(tmp_path / "case", 1)
    submission = submission_of_files(tmp_path / "case/ct.nii.gz", tmp_path / "case/mask.nii.gz", ("spine",))
    assert set(np.unique(array(submission.mask))) == {0, 1}


def test_exported_pairs_are_what_train_reads(target, tmp_path):
    target.add(ball_submission(1))
    above = ball_submission(2, slices=12, checked=(2, 3, 4, 6, 8, 9))
    above.mask[:, :, 8:] = 0
    target.add(above)
    assert export_nifti(target, tmp_path / "out") == (3, 1)
    cases = find_cases(tmp_path / "out")
    assert [case.name for case in cases] == ["case_0001", "case_0002_1", "case_0002_3"]
    assert cases[1].patient == cases[2].patient == target.cases()[1].patient
    assert [case.spineless for case in cases] == [False, False, True]
    preprocessing = Preprocessing(spacing=1.0, context=(0.0,))
    assert len(prepare_all(cases, preprocessing, 2, tmp_path / "cache")) == 3
    whole = [array(image) for image in ball_case(2, slices=12)]
    run = [array(cases[1].ct), array(cases[1].mask)]
    for stored, truth in zip(run, whole, strict=True):
        np.testing.assert_array_equal(stored, truth[2:5])
    place = sitk.ReadImage(str(cases[2].ct))
    assert place.GetOrigin()[2] == ball_case(2, slices=12)[0].GetOrigin()[2] + 8 * 2.0


@pytest.mark.parametrize("orientation", ["PIR", "LPI"])
def test_runs_are_exported_along_the_patient_however_stored(target, tmp_path, orientation):
    ct, mask = (sitk.DICOMOrient(image, orientation) for image in ball_case(2, slices=12))
    checked = slice_indices(Grid.of(ct), [ball_case(2, slices=12)[0].GetOrigin()[2] + 2.0 * n for n in (2, 3, 4, 8)])
    target.add(replace(ball_submission(2), image=ct, mask=mask, checked=checked))
    assert export_nifti(target, tmp_path / "out") == (1, 1)
    (case,) = find_cases(tmp_path / "out")
    for file, whole in zip((case.ct, case.mask), ball_case(2, slices=12), strict=True):
        np.testing.assert_array_equal(array(sitk.DICOMOrient(sitk.ReadImage(str(file)), "LPS")), array(whole)[2:5])


def test_single_slices_alone_are_no_export(target, tmp_path):
    target.add(ball_submission(2, slices=12, checked=(2, 8)))
    with pytest.raises(InputError, match="single"):
        export_nifti(target, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_exported_nnunet_data_set(target, tmp_path):
    target.add(ball_submission(1))
    target.add(ball_submission(2, slices=12, checked=(2, 3, 4, 8)))
    assert export_nnunet(target, tmp_path / "Dataset042_Balls") == (2, 0)
    out = tmp_path / "Dataset042_Balls"
    about = json.loads((out / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "vertebrae": 1, "sacrum": 2, "ignore": 3}
    assert about["numTraining"] == len(list((out / "imagesTr").iterdir())) == len(list((out / "labelsTr").iterdir()))
    labels = array(out / "labelsTr" / "case_0002.nii.gz")
    truth = array(ball_case(2, slices=12)[1])
    seen = [2, 3, 4, 8]
    np.testing.assert_array_equal(labels[seen], truth[seen])
    assert (np.delete(labels, seen, axis=0) == 3).all()
    np.testing.assert_array_equal(array(out / "imagesTr" / "case_0001_0000.nii.gz"), array(ball_case(1)[0]))
    assert json.loads((out / "splits_final.json").read_text()) == [{"train": ["case_0001"], "val": ["case_0002"]}]
    # Our own reader of nnU-Net data sets finds the cases again, and what nobody checked stays unchecked.
    again = TrainingSet.create(tmp_path / "again.cases.h5", "balls", SEGMENTS)
    for _, submission in submissions(find_dataset(out).cases, SEGMENTS):
        again.add(submission)
    assert [case.checked for case in again.cases()] == [None, (2, 3, 4, 8)]
    for case in again.cases():
        np.testing.assert_array_equal(array(again.images(case.case)[1]), array(target.images(case.case)[1]))
