"""Padding found, filled and cleared, against places that SimpleITK's resampling or a formula says are padding."""

import numpy as np
import pytest
import SimpleITK as sitk
from geometry import Info, SoftThreshold
from scipy import ndimage
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.padding import find_padding
from SpineSegLib.engine.segmenter import Segmentation
from SpineSegLib.engine.volume import Volume

SPACING = (2.0, 1.5, 1.5)
EVERYTHING = (slice(None), slice(None), slice(None))


class Blurring(SoftThreshold):
    """Looks at the mean of 9 mm, so that air beside bone makes it less."""

    def predict(self, batch):
        return super().predict(ndimage.uniform_filter(batch, (1, 1, 6, 6), mode="nearest"))


def block(seed=0):
    """Noisy soft tissue all through (k, j, i), and a column of bone along k, aside from the middle."""
    hu = np.random.default_rng(seed).normal(40, 20, (96, 140, 140))
    hu[:, 38:52, 63:78] += 400
    return hu.astype(np.int16)


def body(air=-1024.0, noise=20.0):
    """A round body whose skin voxels are part air, part tissue, as the mean of 4 x 4 points in each says."""
    y = x = (np.arange(640) + 0.5) / 4 - 80
    inside = (y[:, None] / 33) ** 2 + (x[None] / 36) ** 2 < 1
    share = inside.reshape(160, 4, 160, 4).mean(axis=(1, 3))
    hu = share * (40 - air) + air + np.random.default_rng(1).normal(0, noise, (80, 160, 160)) * (share > 0)
    return np.maximum(np.round(hu), air).astype(np.int16)


def image_of(array, spacing=SPACING):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1])
    image.SetOrigin((-40.0, -20.0, 300.0))
    return image


def tilted(array, air=-1024.0, axis=(1, 0, 0)):
    """The inner half of an array, turned by 20 degrees on its grid; where that is padding; and what it would show."""
    image = image_of(array)
    inner = image[tuple(slice(n // 4, n - n // 4) for n in image.GetSize())]
    middle = inner.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in inner.GetSize()])
    turn = sitk.VersorTransform(axis, float(np.radians(20)), middle)
    scanned = sitk.Resample(inner * 0 + 1, inner, turn, sitk.sitkNearestNeighbor, 0)
    turned = [sitk.Resample(each, inner, turn, sitk.sitkLinear, air) for each in (inner, image)]
    outside = sitk.GetArrayFromImage(scanned) == 0
    return sitk.GetArrayFromImage(turned[0]), outside, sitk.GetArrayFromImage(turned[1])


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
@pytest.mark.parametrize("air", [-1024.0, -1000.0, -3024.0])
def test_corners_of_a_turned_scan_are_padding(axis, air):
    array, outside, _ = tilted(block(), air, axis)
    padded = find_padding(array, SPACING).within(EVERYTHING)
    # nearly all that can matter to what is beside it, and nothing else
    assert padded[outside & near(~outside, 12.0)].mean() > 0.99
    assert not padded[~outside].any()


def near(mask, mm):
    distance = sitk.SignedMaurerDistanceMap(image_of(mask.astype(np.uint8)), False, False, True)
    return sitk.GetArrayFromImage(distance) <= mm


def test_a_round_field_of_view_that_cuts_the_body():
    array = block()[:48, :70, :70]
    y, x = np.mgrid[:70, :70]
    outside = np.broadcast_to((y - 34.5) ** 2 + (x - 34.5) ** 2 > 33**2, array.shape)
    array[outside] = -2000
    np.testing.assert_array_equal(find_padding(array, SPACING).within(EVERYTHING), outside)


def test_what_is_no_number_is_padding_too():
    array, outside, _ = tilted(block())
    filled = find_padding(np.where(outside, np.nan, array.astype(np.float32)), SPACING).filled(EVERYTHING)
    assert np.isfinite(filled[outside & near(~outside, 12.0)]).mean() > 0.99


@pytest.mark.parametrize("air", [-1024.0, -1000.0])
def test_air_around_a_body_is_none(air):
    assert find_padding(body(air), SPACING) is None


def test_air_around_a_body_stays_air_beside_padding():
    """A turned scan whose body ends in it on two sides: only what cuts through the body is padding."""
    array, outside, _ = tilted(body())
    plain = np.maximum(array, -1024)
    filled = find_padding(array, SPACING).filled(EVERYTHING)
    air = ~outside & (plain == -1024)
    deep = air & ~near(plain > -1024, 9.0)
    assert np.count_nonzero(deep) > 1000
    assert (filled[deep] == -1024).all()
    tissue = outside & near(~outside & (plain > -100), 4.0)
    assert np.count_nonzero(tissue) > 1000
    assert np.mean(filled[tissue] > -300) > 0.8


def test_other_values_than_airs_are_left_alone():
    array, outside, _ = tilted(block(), air=-500.0)
    assert outside.any()
    assert find_padding(array, SPACING) is None


def test_nothing_but_air_is_none():
    assert find_padding(np.full((20, 30, 30), -1024, np.int16), SPACING) is None


def test_filled_with_what_is_next_to_it():
    array, outside, truth = tilted(block())
    filled = find_padding(array, SPACING).filled(EVERYTHING)
    assert filled.dtype == array.dtype
    np.testing.assert_array_equal(filled[~outside], array[~outside])
    beside = outside & near(~outside, 8.0)
    bone, soft = beside & (truth > 250), beside & ~near(truth > 250, 12.0)
    assert np.count_nonzero(bone) > 300
    assert filled[bone].mean() > 300
    assert filled[soft].mean() == pytest.approx(40, abs=15)


def test_the_last_digits_of_the_spacing_decide_nothing():
    array, _, _ = tilted(block())
    array = array[:, ::2, ::2]
    expected = find_padding(array, (2.0, 2.0, 2.0)).filled(EVERYTHING)
    for spacing in ((2.0000000000000004, 1.9999999999999998, 2.0), (1.9999999999999996, 2.0, 2.000000000000001)):
        np.testing.assert_array_equal(find_padding(array, spacing).filled(EVERYTHING), expected)


def test_a_part_is_as_the_whole():
    array, _, _ = tilted(block())
    padding = find_padding(array, SPACING)
    box = slice(3, 9), slice(10, 64), slice(7, 55)
    np.testing.assert_array_equal(padding.filled(box), padding.filled(EVERYTHING)[box])
    padded = padding.within(EVERYTHING)
    np.testing.assert_array_equal(padding.within(box), padded[box])
    index = tuple(np.random.default_rng(0).integers(0, n, 5000) for n in array.shape)
    np.testing.assert_array_equal(padding.at(index), padded[index])
    assert 100 < np.count_nonzero(padded[index]) < 4900


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_bone_is_found_up_to_padding_and_not_in_it(order):
    """The network blurs over 9 mm, so that air beside it would thin the bone; stored in any order of axes."""
    array, outside, truth = tilted(block())
    image, there = (sitk.PermuteAxes(image_of(a), order) for a in (array, outside.astype(np.uint8)))
    segmentation = Segmentation(Volume(sitk.Flip(image, (True, False, True)), "test"), Blurring())
    live = np.zeros(image.GetSize()[::-1], np.uint8)
    for _ in segmentation:
        segmentation.write_decided(live)
    found = sitk.GetArrayFromImage(sitk.Flip(segmentation.labelmap(postprocess=False), (True, False, True)))
    padded = sitk.GetArrayFromImage(there) > 0
    assert not found[padded].any()
    np.testing.assert_array_equal(live, sitk.GetArrayFromImage(segmentation.labelmap(postprocess=False)))
    bone = image_of((ndimage.uniform_filter(truth.astype(float), 7) > 320).astype(np.uint8))
    bone = (sitk.GetArrayFromImage(sitk.PermuteAxes(bone, order)) > 0) & ~padded
    assert np.count_nonzero(bone & ndimage.binary_dilation(padded)) > 50
    assert found[bone].mean() > 0.98


def turned(array: np.ndarray, degrees: float) -> sitk.Image:
    """`image_of` an array, turned about the patient's x axis."""
    image = image_of(array)
    turn = sitk.Euler3DTransform()
    turn.SetRotation(np.radians(degrees), 0.0, 0.0)
    image.SetDirection(turn.GetMatrix())
    return image


@pytest.mark.parametrize("degrees", [0.0, 10.0], ids=["aligned", "oblique"])
def test_outside_a_region_padding_is_left_as_it_is(degrees):
    array, _, _ = tilted(block())
    image = turned(array, degrees)
    segmentation = Segmentation(Volume(image, "test"), SoftThreshold(), region=(330.0, 350.0))
    for _ in segmentation:
        pass
    labels = np.full(array.shape, 7, np.uint8)
    segmentation.write_labels(labels, postprocess=False)
    z = np.array(image.GetOrigin())[2] + np.einsum(
        "n,nkji->kji",
        np.array(image.GetDirection()).reshape(3, 3)[2] * image.GetSpacing(),
        np.indices(array.shape)[::-1],
    )
    np.testing.assert_array_equal(labels == 7, (z < 330.0) | (z > 350.0))
    padded = find_padding(array, SPACING).within(EVERYTHING)
    assert np.count_nonzero(padded & (labels != 7)) > 200
    assert not labels[padded & (labels != 7)].any()


@pytest.mark.parametrize("degrees", [0.0, 10.0], ids=["aligned", "oblique"])
def test_voxels_beside_padding_and_at_the_ends_are_decided_from_pixels_beyond_them(degrees):
    """Pixels of 4 mm: half of those around such a voxel lie where nothing was scanned, and no voxel there is spine."""
    array, outside, truth = tilted(block())
    image = turned(array, degrees)
    sure = SoftThreshold(Info(Preprocessing(4.0, (0.0,), (-200.0, 1000.0), threshold=0.9)))
    segmentation = Segmentation(Volume(image, "test"), sure)
    for _ in segmentation:
        pass
    found = sitk.GetArrayFromImage(segmentation.labelmap(postprocess=False)) > 0
    assert not found[outside].any()
    bone = ndimage.binary_erosion(truth > 250, np.ones((1, 5, 5))) & ~outside
    beside = bone & ndimage.binary_dilation(outside)
    assert np.count_nonzero(beside) > 30
    assert found[beside].mean() > 0.85
    assert np.count_nonzero(bone[[0, -1]]) > 100
    assert found[[0, -1]][bone[[0, -1]]].mean() > 0.75
