"""Working grid against SimpleITK's own resampling and against analytic scenes."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from geometry import rotated, smooth_ct
from SpineSegLib.engine import axial
from SpineSegLib.engine.axial import AxialSlices, aligned_axes
from SpineSegLib.engine.models.preprocessing import Preprocessing

WIDE = (-1100.0, 2000.0)  # a window in which nothing is clipped


def hu(slices, first, last, preprocessing):
    low, high = preprocessing.window
    return slices.batch(first, last) * (high - low) + low


def everything(image, preprocessing):
    slices = AxialSlices(image, preprocessing, whole=True)
    return slices, hu(slices, 0, slices.grid.shape[0], preprocessing)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (False, True, False)])
def test_stored_orientation_does_not_matter(order, flips):
    image = smooth_ct(size=(20, 16, 12), spacing=(1.4, 1.4, 2.5))
    preprocessing = Preprocessing(spacing=1.1, context=(-2.0, 0.0), window=WIDE)
    expected_slices, expected = everything(image, preprocessing)
    stored = sitk.PermuteAxes(image, order)
    # flips keep every voxel where it is in the patient
    stored = sitk.Flip(stored, flips, flipAboutOrigin=False)
    slices, found = everything(stored, preprocessing)
    np.testing.assert_allclose(slices.grid.origin, expected_slices.grid.origin, atol=1e-6)
    np.testing.assert_allclose(slices.grid.direction, np.eye(3).ravel(), atol=1e-9)
    np.testing.assert_array_equal(found, expected)


def test_z_ascends_to_the_head_from_the_cts_own_slices():
    image = smooth_ct(spacing=(1.5, 1.5, 2.0), origin=(0.0, 0.0, -700.0))
    slices = AxialSlices(sitk.Flip(image, (False, False, True)), Preprocessing(spacing=1.5), whole=True)
    positions = [slices.position(n) for n in range(slices.grid.shape[0])]
    np.testing.assert_allclose(positions, [image.TransformIndexToPhysicalPoint((0, 0, k))[2] for k in range(36)])


def test_stored_pixels_are_kept_where_the_model_asks_for_them():
    image = smooth_ct(size=(20, 16, 12), spacing=(0.8, 0.8, 2.5))
    slices, found = everything(image, Preprocessing(spacing=None, context=(0.0,), window=WIDE))
    assert slices.grid.shape == (12, 16, 20)
    np.testing.assert_allclose(found[:, 0], sitk.GetArrayFromImage(image), atol=1e-3)


def test_pixels_that_are_not_square_become_so():
    image = smooth_ct(size=(20, 40, 12), spacing=(3.0, 0.75, 2.5))
    slices = AxialSlices(image, Preprocessing(spacing=None, context=(0.0,)))
    assert slices.grid.spacing == (2.5, 0.75, 0.75)
    assert slices.grid.shape == (12, 40, 80)


@pytest.mark.parametrize("degrees", [(0.0, 0.0, 0.0), (12.0, -7.0, 20.0), (0.0, 35.0, 0.0)])
def test_agrees_with_simpleitk(degrees):
    """Upsampling is linear interpolation, also of oblique volumes."""
    image = rotated(smooth_ct(), degrees) if any(degrees) else smooth_ct()
    slices, found = everything(image, Preprocessing(spacing=0.9, context=(0.0,), window=WIDE))
    grid = slices.grid
    np.testing.assert_allclose(grid.direction, np.eye(3).ravel(), atol=1e-9)
    expected = sitk.GetArrayFromImage(
        sitk.Resample(image, grid.image(np.zeros(grid.shape, np.uint8)), sitk.Transform(), sitk.sitkLinear, -1024.0,
                      sitk.sitkFloat32)
    )  # fmt: skip
    # beyond the outermost voxel centres SimpleITK gives air or extrapolates
    inner = (slice(1, -1), slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(found[:, 0][inner], np.maximum(expected[inner], -1024), atol=0.5)


def test_an_oblique_volume_goes_on_beyond_its_edges():
    """A bone that is cut by them must not look like one that ends in air."""
    image = sitk.Image((20, 24, 30), sitk.sitkInt16) + 300
    image.SetSpacing((2.0, 2.0, 1.5))
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.3, -0.2, 0.1)
    image.SetDirection(turn.GetMatrix())
    slices, found = everything(image, Preprocessing(spacing=1.0, context=(-3.0, 0.0), window=WIDE))
    assert np.prod(slices.grid.shape) * np.prod(slices.grid.spacing) > 1.5 * 20 * 24 * 30 * 6.0
    np.testing.assert_allclose(found, 300, atol=0.1)


def test_strips_of_an_oblique_volume_join_without_a_seam(monkeypatch):
    """Rows are resampled in strips, also where a strip lies wholly beside the volume."""
    image = rotated(smooth_ct(size=(30, 60, 24)), (12.0, -7.0, 20.0))[20:45, 10:60, 15:40]
    preprocessing = Preprocessing(spacing=0.8, context=(0.0,), window=WIDE)
    slices, expected = everything(image, preprocessing)
    assert slices.grid.shape[1] > 2 * axial.STRIP
    monkeypatch.setattr(axial, "STRIP", 10_000)
    np.testing.assert_array_equal(everything(image, preprocessing)[1], expected)


def test_fine_oblique_pixels_are_averaged():
    noise = np.random.default_rng(0).normal(0, 100, (40, 60, 60))
    image = sitk.GetImageFromArray(noise.astype(np.int16))
    image.SetSpacing((0.25, 0.25, 0.25))
    angle = np.radians(20)
    image.SetDirection((np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1))
    slices, found = everything(image, Preprocessing(spacing=1.0, context=(0.0,), window=WIDE))
    middle = tuple(slice(n // 2 - 2, n // 2 + 3) for n in slices.grid.shape)
    assert found[:, 0][middle].std() < 50  # picking single values would leave about 60 after linear interpolation


def test_slightly_tilted_volume_keeps_its_own_slices():
    image = smooth_ct()
    angle = np.radians(1.0)
    image.SetDirection((1, 0, 0, 0, np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle)))
    slices, found = everything(image, Preprocessing(spacing=1.5, context=(0.0,), window=WIDE))
    np.testing.assert_allclose(found[:, 0], sitk.GetArrayFromImage(image), atol=1e-3)
    # and knows where they are
    np.testing.assert_allclose(slices.grid.point(5, 6, 7), image.TransformIndexToPhysicalPoint((7, 6, 5)), atol=1e-6)


def test_which_volumes_count_as_aligned():
    image = smooth_ct(size=(4, 4, 4))
    assert aligned_axes(image.GetDirection()) == ((0, 1, 2), (False, False, False))
    assert aligned_axes(rotated(image, (0, 5, 0)).GetDirection()) is None
    image.SetDirection((0, 0, -1, 1, 0, 0, 0, 1, 0))  # x right to left along k, y along i, z along j
    assert aligned_axes(image.GetDirection()) == ((2, 0, 1), (True, False, False))


@pytest.mark.parametrize("spacing_z", [2.0, 5.0, 0.5, 0.7])
def test_context_is_interpolated_at_its_offset(spacing_z):
    """On a ramp along z, a slice at z + offset shows exactly the ramp's value there, and the end's beyond the ends."""
    count = 40
    z = -300.0 + spacing_z * np.arange(count)
    image = sitk.GetImageFromArray(
        np.broadcast_to((10 * (z + 300)).astype(np.float32)[:, None, None], (count, 6, 6)).copy()
    )
    image.SetSpacing((1.0, 1.0, spacing_z))
    image.SetOrigin((0.0, 0.0, -300.0))
    offsets = (-3.0, 0.0, 1.7)
    preprocessing = Preprocessing(spacing=1.0, context=offsets, window=(-500.0, 3000.0))
    slices, found = everything(image, preprocessing)
    positions = np.array([slices.position(n) for n in range(slices.grid.shape[0])])
    for channel, offset in enumerate(offsets):
        wanted = np.clip(positions + offset, positions[0], positions[-1])
        np.testing.assert_allclose(found[:, channel, 3, 3], 10 * (wanted + 300), atol=0.1)


def test_thin_slices_are_averaged_in_groups():
    noise = np.random.default_rng(0).normal(0, 100, (60, 30, 30))
    image = sitk.GetImageFromArray(noise.astype(np.int16))
    image.SetSpacing((1.0, 1.0, 0.5))
    slices, found = everything(image, Preprocessing(spacing=1.0, context=(0.0,), window=WIDE))
    assert slices.grid.shape[0] == 30
    assert slices.grid.spacing[0] == pytest.approx(1.0)
    expected = sitk.GetArrayFromImage(image).reshape(30, 2, 30, 30).mean(axis=1)
    np.testing.assert_allclose(found[:, 0], expected, atol=0.01)


def test_padding_and_nan_do_not_reach_the_body():
    image = sitk.Cast(smooth_ct(size=(40, 40, 8), spacing=(0.5, 0.5, 2.0)), sitk.sitkFloat32)
    array = sitk.GetArrayFromImage(image)
    array[:, :, :21] = -3024
    array[:, 0, 0] = np.nan
    padded = sitk.GetImageFromArray(array)
    padded.CopyInformation(image)
    array = np.nan_to_num(np.maximum(array, -1024), nan=-1024)
    plain = sitk.GetImageFromArray(array)
    plain.CopyInformation(image)
    preprocessing = Preprocessing(spacing=1.0, context=(0.0,), window=WIDE)
    np.testing.assert_array_equal(everything(padded, preprocessing)[1], everything(plain, preprocessing)[1])


def test_batches_are_the_same_however_they_are_cut():
    image = smooth_ct()
    preprocessing = Preprocessing(spacing=1.0, context=(-4.0, 0.0, 4.0))
    slices = AxialSlices(image, preprocessing)
    along = slices.region[0]
    whole = slices.batch(along.start, along.stop)
    again = AxialSlices(image, preprocessing)
    cut = [again.batch(n, min(n + 5, along.stop)) for n in range(along.start, along.stop, 5)]
    np.testing.assert_array_equal(np.concatenate(cut), whole)


@pytest.mark.parametrize("degrees", [None, (12.0, -7.0, 20.0)])
@pytest.mark.parametrize(("spacing", "size"), [(1.0, (50, 44, 36)), (2.1, (60, 50, 70))])
def test_a_part_is_a_part_of_the_whole(degrees, spacing, size):
    image = smooth_ct(size=size, spacing=(1.5, 1.5, 0.6))
    preprocessing = Preprocessing(spacing=spacing, context=(-4.0, 0.0, 4.0), window=WIDE)
    slices, whole = everything(rotated(image, degrees) if degrees else image, preprocessing)
    box = tuple(slice(n // 2 - 4, n // 2 + 3) for n in slices.grid.shape)
    part = slices.part(*box)
    assert part.region == box
    assert slices.region == tuple(slice(0, n) for n in slices.grid.shape)
    middle = slices.grid.shape[0] // 2
    found = hu(part, middle - 4, middle, preprocessing), hu(part, middle, middle + 3, preprocessing)
    expected = whole[:, :, box[1], box[2]][box[0]]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=0.01)
    assert expected.std() > 20


def test_region_holds_the_body_and_not_the_table():
    image = smooth_ct(size=(120, 110, 10), spacing=(3.0, 3.0, 3.0))
    array = sitk.GetArrayFromImage(image)
    array[:, 100, :] = 200  # a thin table, 3 mm
    with_table = sitk.GetImageFromArray(array)
    with_table.CopyInformation(image)
    slices = AxialSlices(with_table, Preprocessing(spacing=1.5, context=(0.0,)))
    _, rows, columns = slices.region
    body = np.argwhere(array[:, :90] > -300)
    for part, axis in ((rows, 1), (columns, 2)):
        low, high = 2 * body[:, axis].min(), 2 * body[:, axis].max() + 2
        assert part.start <= low - 10
        assert part.stop >= high + 10
    assert rows.stop < 200
    assert (rows.stop - rows.start) * (columns.stop - columns.start) < 0.4 * 240 * 220


def test_region_holds_a_body_in_several_pieces_and_no_small_thing_beside_it():
    """As legs are, or a body whose slices in the middle are lost; a bottle is not."""
    array = np.full((40, 60, 80), -1000, np.int16)
    array[:16, 20:40, 20:36] = 40  # two thirds of the other one, and both far apart
    array[24:, 15:45, 50:66] = 40
    array[18:22, 50:55, 3:8] = 40
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((4.0, 4.0, 4.0))
    along, rows, columns = AxialSlices(image, Preprocessing(spacing=4.0, context=(0.0,))).region
    assert (along.start, along.stop) == (0, 40)
    assert (rows.start, rows.stop) == (10, 50)  # 20 mm more on each side
    assert (columns.start, columns.stop) == (15, 71)


def test_memory_is_bounded():
    """Whatever the number of slices, only a few planes are held."""
    image = smooth_ct(size=(30, 30, 300), spacing=(2.0, 2.0, 1.0))
    slices = AxialSlices(image, Preprocessing(spacing=2.0, context=(-2.0, 0.0, 2.0)), whole=True)
    most = 0
    for first in range(0, 300, 4):
        slices.batch(first, first + 4)
        most = max(most, len(slices._ready))
    assert most <= 32
