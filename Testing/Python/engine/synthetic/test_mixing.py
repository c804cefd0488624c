"""Patients made of others' vertebrae."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from SpineSegLib.engine.synthetic import recipe
from SpineSegLib.engine.synthetic.anatomy import Anatomy
from SpineSegLib.engine.synthetic.labelmaps import with_vertebrae
from SpineSegLib.engine.synthetic.mixing import exchange_vertebrae, find_shapes
from SpineSegLib.engine.synthetic.tissues import Tissue

Z, Y, X = np.mgrid[:110, :70, :70].astype(float)
MIDDLES = {20: 82.0, 21: 52.0}


def ellipsoid(z: float, y: float, x: float, radii: tuple[float, float, float], turn: float = 0.0) -> np.ndarray:
    """Turned by `turn` degrees about z."""
    angle = np.radians(turn)
    dy, dx = Y - y, X - x
    along, across = np.cos(angle) * dy - np.sin(angle) * dx, np.sin(angle) * dy + np.cos(angle) * dx
    return ((Z - z) / radii[0]) ** 2 + (along / radii[1]) ** 2 + (across / radii[2]) ** 2 < 1


def spine(radii: tuple[float, float, float], turn: float = 0.0, hollow: bool = False) -> np.ndarray:
    """L1 and L2, which taper; a T12 that the top of the scan cuts off; a sacrum."""
    labels = np.zeros(Z.shape, dtype=np.uint8)
    for number, z in MIDDLES.items():
        labels[ellipsoid(z, 32, 34, radii, turn)] = number
        if hollow:
            labels[ellipsoid(z, 32, 34, (2 * radii[0], 4, 4))] = 0
    labels[ellipsoid(112, 32, 34, radii, turn)] = 19
    labels[ellipsoid(18, 32, 34, (14, 12, 20))] = 26
    return labels


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_only_whole_vertebrae_are_taken():
    shapes = find_shapes("one", spine((12, 20, 16)), 1.0)
    assert [(s.patient, s.number) for s in shapes] == [("one", 20), ("one", 21)]
    # deepest in the middle: the smallest radius
    assert shapes[0].depth.max() == pytest.approx(12, abs=1)
    assert shapes[0].depth.min() < -6


def test_vertebrae_of_another_patient_are_fitted_into_the_place_of_the_old_ones():
    host, donor = spine((12, 20, 16), turn=20), spine((10, 17, 19), turn=-10, hollow=True)
    shapes = find_shapes("donor", donor, 1.0)
    exchanged = 0
    for seed in range(6):
        result = exchange_vertebrae("host", host, shapes, 1.0, np.random.default_rng(seed))
        for number, z in MIDDLES.items():
            assert dice(ndimage.binary_fill_holes(result == number), host == number) > 0.8
            # the donor's vertebrae have a canal where the host's are full
            exchanged += result[int(z), 32, 34] == 0
        for kept in (19, 26):
            np.testing.assert_array_equal((result == kept)[5:], (host == kept)[5:])
    assert 5 <= exchanged < 12  # of 12; three of four on average


def test_ones_own_vertebrae_and_those_of_far_levels_are_not_taken():
    host, donor = spine((12, 20, 16)), spine((10, 17, 19), hollow=True)
    own = find_shapes("host", donor, 1.0)
    far = [replace(s, patient="other", number=s.number - 8) for s in own]
    for seed in range(4):
        result = exchange_vertebrae("host", host, own + far, 1.0, np.random.default_rng(seed))
        for number, z in MIDDLES.items():
            assert result[int(z), 32, 34] == number
            assert 0.8 < dice(result == number, host == number) < 0.999  # moved, though


def test_what_does_not_fit_is_not_exchanged():
    host, star = spine((12, 20, 16)), np.zeros(Z.shape, dtype=np.uint8)
    for number, z in MIDDLES.items():
        for radii in ((14, 4, 4), (4, 24, 4), (4, 4, 24)):
            star[ellipsoid(z, 32, 34, radii)] = number
    shapes = find_shapes("star", star, 1.0)
    assert [s.number for s in shapes] == [20, 21]
    for seed in range(4):
        result = exchange_vertebrae("host", host, shapes, 1.0, np.random.default_rng(seed))
        assert all(dice(result == number, host == number) > 0.8 for number in MIDDLES)


def patient() -> Anatomy:
    tissue = np.full(Z.shape, Tissue.FAT, dtype=np.uint8)
    labels = spine((12, 20, 16))
    tissue[labels > 0] = Tissue.VERTEBRA
    tissue[labels == 26] = Tissue.SACRUM
    tissue[(np.abs(Z - 82) < 4) & (np.abs(Y - 32) < 4) & (X > 50)] = Tissue.RIB
    return Anatomy.from_tissue("host-body", tissue, labels, 1.0)


def test_a_patient_gets_other_vertebrae_and_keeps_the_rest():
    host = patient()
    other = spine((11, 18, 18))
    result = with_vertebrae(host, other, np.random.default_rng(0))
    np.testing.assert_array_equal(result.vertebrae, other)
    np.testing.assert_array_equal(result.tissue == Tissue.VERTEBRA, (other > 0) & (other < 26))
    np.testing.assert_array_equal(result.tissue == Tissue.SACRUM, other == 26)
    rib = result.tissue == Tissue.RIB
    assert rib.any()
    assert not (ndimage.binary_dilation(rib) & (other > 0)).any()  # a joint lies between
    assert host.tissue[82, 32, 34] == Tissue.VERTEBRA  # the host is as it was


def test_new_patients_are_cases_of_their_own_and_depend_on_their_number_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "SCANS_OF_EACH", 1)
    host = patient()
    donor = replace(host, name="donor", vertebrae=spine((10, 17, 19), hollow=True))
    patients = [host, donor]
    shapes = recipe.shapes_of(patients)
    recipe.render_exchanged(patients, shapes, tmp_path / "a", range(2), seed=2)
    recipe.render_exchanged(patients, shapes, tmp_path / "b", range(1, 2), seed=2)
    names = [sorted(p.name for p in (tmp_path / folder).iterdir()) for folder in "ab"]
    assert names == [["donor-exchanged01_3001", "host-body-exchanged00_3000"], ["donor-exchanged01_3001"]]
    files = [tmp_path / folder / names[1][0] / "ct.nrrd" for folder in "ab"]
    np.testing.assert_array_equal(*(sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in files))
    written = files[0].stat().st_mtime_ns
    recipe.render_exchanged(patients, shapes, tmp_path / "a", range(2), seed=2)
    assert files[0].stat().st_mtime_ns == written
