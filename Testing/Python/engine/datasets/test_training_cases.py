"""Public data sets as cases to train on."""

import numpy as np
import pytest
import SimpleITK as sitk
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.training.from_folder import fingerprint
from SpineSegLib.engine.training.training_data import find_cases, prepare


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
