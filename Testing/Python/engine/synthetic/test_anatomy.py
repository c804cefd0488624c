"""Warping an anatomy, rendering cases from it, and reading label maps of real patients."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from small_anatomy import small_anatomy, write_trunk
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.synthetic.anatomy import Anatomy, Deformation, roughen, spine_kinds, warp
from SpineSegLib.engine.synthetic.cases import render_case
from SpineSegLib.engine.synthetic.labelmaps import tissue_of, trunk_anatomy, vertebra_number, vertebrae_anatomy
from SpineSegLib.engine.synthetic.recipe import load_anatomies, render_cases, render_heads
from SpineSegLib.engine.synthetic.tissues import Tissue
from SpineSegLib.engine.training.training_data import find_cases

STILL = Deformation(np.eye(3), (), (0.0, 100.0, 0.0), False, (0.0, 20.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return small_anatomy()


def test_warping_with_nothing_to_do_gives_the_same(anatomy):
    centre = (np.array(anatomy.tissue.shape) - 1) / 2
    same = warp(anatomy, anatomy.tissue.shape, centre, STILL, np.random.default_rng(0))
    np.testing.assert_array_equal(same.tissue, anatomy.tissue)
    labels = spine_kinds(same)
    inside = np.where(anatomy.vertebrae == 26, 2, anatomy.vertebrae > 0)
    agree = (labels > 0) & (inside > 0)
    assert 2 * agree.sum() / ((labels > 0).sum() + (inside > 0).sum()) > 0.97
    np.testing.assert_array_equal(labels[agree], inside[agree])


def test_warping_scales_volumes_and_mirrors(anatomy):
    centre = (np.array(anatomy.tissue.shape) - 1) / 2
    grown = Deformation(np.eye(3) / 1.2, (), (0.0, 100.0, 0.0), False, (0.0, 20.0, 1.0, 1.0))
    shape = tuple(int(1.2 * n) + 2 for n in anatomy.tissue.shape)
    volume = np.count_nonzero(spine_kinds(warp(anatomy, shape, centre, grown, np.random.default_rng(0))))
    still = np.count_nonzero(spine_kinds(warp(anatomy, anatomy.tissue.shape, centre, STILL, np.random.default_rng(0))))
    assert volume / still == pytest.approx(1.2**3, rel=0.03)
    mirrored = Deformation(np.eye(3), (), (0.0, 100.0, 0.0), True, (0.0, 20.0, 1.0, 1.0))
    other = warp(anatomy, anatomy.tissue.shape, centre, mirrored, np.random.default_rng(0))
    np.testing.assert_array_equal(other.tissue, anatomy.tissue[:, :, ::-1])


def test_squeezing_flattens_one_layer(anatomy):
    centre = (np.array(anatomy.tissue.shape) - 1) / 2
    squeezed = Deformation(np.eye(3), (), (0.0, 100.0, 0.0), False, (0.5, 18.0, 1.5, 1.5))
    result = warp(anatomy, anatomy.tissue.shape, centre, squeezed, np.random.default_rng(0))
    heights = [np.count_nonzero((a.vertebrae == 22)[:, 30, 40]) for a in (anatomy, result)]
    assert heights[1] / heights[0] == pytest.approx(1 / 1.5, abs=0.1)


def test_outside_the_source_there_is_air(anatomy):
    far = warp(anatomy, (10, 10, 10), np.array([-500.0, 0, 0]), STILL, np.random.default_rng(0))
    assert (far.tissue == Tissue.AIR).all()
    assert not spine_kinds(far).any()


def test_spurs_grow_on_bone_but_not_into_the_canal():
    tissue = np.full((60, 60, 60), Tissue.MUSCLE, dtype=np.uint8)
    vertebrae = np.zeros_like(tissue)
    vertebrae[20:40, 10:50, 20:40] = 20
    tissue[vertebrae > 0] = Tissue.VERTEBRA
    tissue[:, :, 40:] = Tissue.CANAL
    plain = Anatomy.from_tissue("box", tissue, vertebrae, 1.0)
    rough = roughen(plain, 0.0, 3.0, 0.0, np.random.default_rng(2))
    gained = rough.spine_depth.astype(float) - plain.spine_depth
    assert gained.min() >= 0
    assert gained.max() > 2
    assert np.count_nonzero((rough.spine_depth > 0) & (plain.spine_depth < 0)) > 50
    assert not gained[:, :, 40:].any()
    uneven = roughen(plain, 0.4, 0.0, 0.0, np.random.default_rng(2))
    near = np.abs(plain.spine_depth) < 2
    assert (uneven.spine_depth - plain.spine_depth)[near].std() == pytest.approx(0.4, abs=0.1)


def test_other_bones_swell_and_shrink(anatomy):
    for swelling in (0.8, -0.8):
        changed = roughen(anatomy, 0.0, 0.0, swelling, np.random.default_rng(0))
        np.testing.assert_allclose(changed.bone_depth - anatomy.bone_depth.astype(float), swelling, atol=0.05)
        np.testing.assert_array_equal(changed.spine_depth, anatomy.spine_depth)


@pytest.mark.parametrize(("seed", "view", "tallest"), [(0, "long", 150), (1, "wide", 150), (2, "short", 80)])
def test_rendered_mask_lies_on_bone(anatomy, seed, view, tallest):
    case = render_case(anatomy, np.random.default_rng(seed), view)
    assert case.image.GetSize()[2] * case.image.GetSpacing()[2] <= tallest
    assert case.image.GetSize() == case.mask.GetSize()
    assert case.image.GetSpacing() == case.mask.GetSpacing()
    hu, mask = sitk.GetArrayFromImage(case.image), sitk.GetArrayFromImage(case.mask)
    assert set(np.unique(mask)) <= {0, 1, 2}
    assert mask.any()
    shell = (mask > 0) & (sitk.GetArrayFromImage(sitk.BinaryErode(case.mask > 0, [1, 1, 1])) == 0)
    assert hu[shell].mean() > hu[(mask == 0) & (hu > -300)].mean() + 80


def test_cases_depend_on_their_number_alone(anatomy, tmp_path):
    render_cases([anatomy], tmp_path / "a", range(2), seed=4)
    render_cases([anatomy], tmp_path / "b", range(1), seed=4)
    first, again = (sitk.ReadImage(str(tmp_path / f / "small_0000" / "ct.nrrd")) for f in "ab")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(first), sitk.GetArrayFromImage(again))
    about = json.loads((tmp_path / "a" / "small_0001" / "case.json").read_text())
    assert about == {"patient": "small"}


@pytest.mark.parametrize(
    ("name", "tissue", "number"),
    [
        ("L5 vertebra", Tissue.VERTEBRA, 24),
        ("T12 vertebra", Tissue.VERTEBRA, 19),
        ("C2 vertebra", Tissue.VERTEBRA, 2),
        ("Thoracic9", Tissue.VERTEBRA, 16),
        ("S1 vertebra", Tissue.SACRUM, 26),
        ("Sacrum-L5-IntervertebralDisc", Tissue.DISC, 0),
        ("left rib 7", Tissue.RIB, 0),
        ("right_renal_pelvis", Tissue.BLADDER, 0),
        ("Pelvis", Tissue.PELVIS, 0),
        ("left hip", Tissue.PELVIS, 0),
        ("superior lobe of left lung", Tissue.LUNG, 0),
        ("portal vein and splenic vein", Tissue.VEIN, 0),
        ("left_iliacus_muscle", Tissue.MUSCLE, 0),
        ("antenna", None, 0),
    ],
)
def test_structures_by_name(name, tissue, number):
    assert tissue_of(name) == tissue
    assert vertebra_number(name) == number


def test_trunk_from_a_label_map(tmp_path):
    write_trunk(tmp_path / "trunk.seg.nrrd")
    trunk = trunk_anatomy(tmp_path / "trunk.seg.nrrd", np.random.default_rng(0))
    assert set(np.unique(trunk.vertebrae)) == {0, 20, 21, 22, 23, 26}
    heights = {v: np.argwhere(trunk.vertebrae == v)[:, 0].mean() for v in (20, 23, 26)}
    assert heights[20] > heights[23] > heights[26]  # z ascends to the head
    spinous = np.argwhere(trunk.vertebrae == 22)[:, 1]
    body = np.argwhere(trunk.vertebrae == 22)[:, 1]
    assert spinous.max() > np.median(body) + 25  # y ascends to the back
    counts = np.bincount(trunk.tissue.ravel(), minlength=40)
    for tissue in (Tissue.FAT, Tissue.SKIN, Tissue.DISC, Tissue.RIB):
        assert counts[tissue] > 0


def test_a_better_mask_replaces_the_spine_of_a_trunk(tmp_path):
    write_trunk(tmp_path / "trunk.seg.nrrd")
    small = small_anatomy()
    better = sitk.GetImageFromArray(np.where(small.vertebrae == 21, 21, 0).astype(np.uint8))
    sitk.WriteImage(better, str(tmp_path / "spine.nii.gz"))
    trunk = trunk_anatomy(tmp_path / "trunk.seg.nrrd", np.random.default_rng(0), tmp_path / "spine.nii.gz")
    assert set(np.unique(trunk.vertebrae)) == {0, 21}
    assert np.count_nonzero(trunk.tissue == Tissue.VERTEBRA) == np.count_nonzero(trunk.vertebrae)
    assert np.count_nonzero(trunk.tissue == Tissue.SACRUM) == 0


def test_vertebrae_are_set_into_a_trunk(tmp_path):
    write_trunk(tmp_path / "trunk.seg.nrrd")
    trunk = trunk_anatomy(tmp_path / "trunk.seg.nrrd", np.random.default_rng(0))
    small = small_anatomy()
    wider = np.where((small.vertebrae >= 20) & (small.vertebrae <= 23), small.vertebrae, 0).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(wider), str(tmp_path / "mask.nii.gz"))
    result = vertebrae_anatomy(tmp_path / "mask.nii.gz", trunk, np.random.default_rng(0))
    for value in (20, 21, 22, 23):
        assert np.count_nonzero(result.vertebrae == value) == np.count_nonzero(wider == value)
    assert np.count_nonzero(result.tissue == Tissue.VERTEBRA) == np.count_nonzero(wider)
    assert np.count_nonzero(result.tissue == Tissue.RIB) > 0


def test_no_part_of_the_spine_stands_out_of_the_body(tmp_path):
    write_trunk(tmp_path / "trunk.seg.nrrd")
    trunk = trunk_anatomy(tmp_path / "trunk.seg.nrrd", np.random.default_rng(0))
    near = sitk.GetArrayFromImage(
        sitk.BinaryDilate(sitk.GetImageFromArray((trunk.vertebrae > 0).astype(np.uint8)), [6] * 3)
    )
    assert not (trunk.tissue[near > 0] == Tissue.AIR).any()


def test_missing_label_maps_are_named(tmp_path):
    with pytest.raises(InputError, match=r"ts_s0328_117\.seg\.nrrd"):
        next(load_anatomies(tmp_path))


def test_heads_are_training_cases_without_a_spine(tmp_path):
    render_heads(tmp_path, range(1))
    case = find_cases(tmp_path)[0]
    assert case.spineless
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(case.mask))).any()
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(case.ct))).max() > 700
