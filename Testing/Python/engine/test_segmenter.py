"""The way from a CT to its segmentation, with a network that thresholds softly, against SimpleITK."""

import itertools
import threading

import numpy as np
import pytest
import SimpleITK as sitk
from geometry import Info, SoftThreshold, rotated, smooth_ct
from SpineSegLib.engine.errors import ModelError
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.segmenter import Segmentation
from SpineSegLib.engine.volume import Volume


def segment(image, network=None, **choices):
    segmentation = Segmentation(Volume(image, "test"), network or SoftThreshold(), **choices)
    for _ in segmentation:
        pass
    return segmentation.labelmap(postprocess=False)


def dice(one, other):
    a, b = (sitk.GetArrayFromImage(image) > 0 for image in (one, other))
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_own_grid_is_exact():
    image = smooth_ct()
    labels = segment(image)
    assert labels.GetPixelID() == sitk.sitkUInt8
    assert labels.GetDirection() == image.GetDirection()
    assert labels.GetOrigin() == image.GetOrigin()
    assert labels.GetSpacing() == image.GetSpacing()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(image >= 300))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(False, True, True), (True, False, False)])
def test_stored_orientation_does_not_matter(order, flips):
    image = smooth_ct()
    network = SoftThreshold(Info(Preprocessing(spacing=1.0, context=(-2.0, 0.0), window=(-200.0, 1000.0))))
    expected = segment(image, network)
    stored = sitk.Flip(sitk.PermuteAxes(image, order), flips)
    found = sitk.Resample(segment(stored, network), image, sitk.Transform(), sitk.sitkNearestNeighbor)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(expected))


@pytest.mark.parametrize("degrees", [(10.0, 0.0, 0.0), (-15.0, 8.0, 25.0), (0.0, 40.0, 10.0)])
def test_oblique_storage_gives_the_same_place(degrees):
    stored = rotated(smooth_ct(size=(60, 56, 70), spacing=(1.2, 1.2, 1.2)), degrees)
    expected = stored >= 300  # the scene itself, on the oblique grid
    found = segment(stored, SoftThreshold(Info(Preprocessing(spacing=1.0, context=(0.0,), window=(-200.0, 1000.0)))))
    assert found.GetDirection() == stored.GetDirection()
    assert dice(found, expected) > 0.98
    # misplacing by one voxel would show
    shifted = sitk.GetArrayFromImage(expected)
    shifted = sitk.GetImageFromArray(np.roll(shifted, 1, axis=2))
    assert dice(found, shifted) < 0.96


@pytest.mark.parametrize("degrees", [(10.0, 0.0, 0.0), (-15.0, 8.0, 25.0)])
def test_an_oblique_volume_is_segmented_up_to_its_edges(degrees):
    """Spine is found beyond them too then, where there is no voxel to write."""
    image = sitk.Image((20, 24, 30), sitk.sitkInt16) + 900
    image.SetSpacing((2.0, 2.0, 1.5))
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*np.radians(degrees).tolist())
    image.SetDirection(turn.GetMatrix())
    assert sitk.GetArrayFromImage(segment(image)).all()


@pytest.mark.parametrize("degrees", [0.0, 20.0])
def test_nothing_beyond_an_oblique_volume_counts(degrees):
    """Neither a piece at its edge, which would be large enough to stay if it went on, nor doubt."""
    array = np.full((60, 90, 90), 40, np.int16)
    array[:, 35:55, 35:55] = 700  # the spine, and beside it something smaller than what stays
    array[54:, 42:48, 63:69] = 700
    image = sitk.GetImageFromArray(array)
    turn = sitk.Euler3DTransform()
    turn.SetRotation(np.radians(degrees), 0.0, 0.0)
    image.SetDirection(turn.GetMatrix())
    network = SoftThreshold(Info(Preprocessing(spacing=1.0, context=(0.0,), window=(-200.0, 1000.0))))
    segmentation = Segmentation(Volume(image, "test"), network, whole=True)
    beyond = 0.0
    for finished in segmentation:
        rows, columns = np.indices(finished.shape[1:])
        points = np.array(segmentation.grid.origin) + np.stack(
            [columns * 1.0, rows * 1.0, np.full(rows.shape, finished.index * 1.0)], axis=-1
        )
        index = Volume(image, "").grid.index(points)
        outside = ((index < -3) | (index > np.array(array.shape) + 2)).any(axis=-1)
        beyond = max(beyond, finished.probabilities[0][outside].max(initial=0.0))
    assert beyond == 0.0
    found = sitk.GetArrayFromImage(segmentation.labelmap())
    assert found[:, 38:52, 38:52].mean() > 0.99
    assert not found[:, :, 60:].any()
    assert sitk.GetArrayFromImage(segmentation.labelmap(postprocess=False))[55:, 43:47, 64:68].all()


@pytest.mark.parametrize(("spacing", "size"), [((0.6, 0.6, 3.0), (120, 110, 24)), ((3.0, 3.0, 3.0), (26, 24, 24)),
                                          ((0.7, 0.7, 0.5), (100, 90, 140))])  # fmt: skip
def test_other_spacings_come_back_to_the_same_place(spacing, size):
    image = smooth_ct(size=size, spacing=spacing)
    found = segment(image, SoftThreshold(Info(Preprocessing(spacing=1.0, context=(0.0,), window=(-200.0, 1000.0)))))
    expected = image >= 300
    assert dice(found, expected) > 0.97
    centres = []
    for mask in (found, expected):
        statistics = sitk.LabelShapeStatisticsImageFilter()
        statistics.Execute(mask > 0)
        centres.append(statistics.GetCentroid(1))
    np.testing.assert_allclose(centres[0], centres[1], atol=0.2)  # half a working pixel would be 0.5


def test_slices_come_in_order_and_as_computed():
    image = smooth_ct()
    segmentation = Segmentation(Volume(image, "test"), SoftThreshold(), whole=True)
    finished = list(segmentation)
    assert [s.index for s in finished] == list(range(len(segmentation))) == list(range(36))
    assert {s.count for s in finished} == {36}
    assert np.all(np.diff([s.position for s in finished]) > 0)
    array = sitk.GetArrayFromImage(image)
    expected = np.clip((np.clip(array, -200, 1000) - 300) / 200 + 0.5, 0, 1)
    np.testing.assert_allclose(np.stack([s.probabilities[0] for s in finished]), expected, atol=1e-5)


def test_slices_without_body_need_no_network():
    image = sitk.ConstantPad(smooth_ct(), [0, 0, 40], [0, 0, 40], -1000)
    network = SoftThreshold()
    segmentation = Segmentation(Volume(image, "test"), network)
    assert [s.index for s in segmentation] == list(range(116))
    assert sum(shape[0] for shape in network.batches) < 70
    expected = sitk.GetArrayFromImage(image >= 300)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(segmentation.labelmap(postprocess=False)), expected)


def test_all_air_is_empty():
    image = sitk.Image((20, 20, 10), sitk.sitkInt16) - 1000
    assert not sitk.GetArrayFromImage(segment(image)).any()


def test_leaving_early_leaves_nothing_running():
    before = threading.active_count()
    segmentation = Segmentation(Volume(smooth_ct(), "test"), SoftThreshold())
    running = iter(segmentation)
    next(running)
    running.close()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError):
        segmentation.labelmap()


def test_foreground_is_the_sum_and_the_label_the_most_probable():
    class Split(SoftThreshold):
        """Splits probability 0.9 between two labels, unevenly in y."""

        def predict(self, batch):
            share = np.full((batch.shape[0], 2, *batch.shape[2:]), 0.4, np.float32)
            share[:, 0] += np.linspace(-0.3, 0.3, batch.shape[2])[:, None]
            share[:, :, :, : batch.shape[3] // 2] = 0.2
            return share

    image = smooth_ct(size=(20, 21, 6))
    network = Split(Info(Preprocessing(spacing=1.5, context=(0.0,)), ("vertebrae", "sacrum")))
    labels = sitk.GetArrayFromImage(segment(image, network, whole=True))
    assert not labels[:, :, :10].any()  # 0.2 + 0.2, at most 0.5 + 0.2 beyond
    assert set(np.unique(labels[:, 11:, 10:])) == {1}
    # the sum falls below 0.5 no earlier than where one label has less than 0.1
    assert set(np.unique(labels[:, 4:10, 10:])) == {2}


def test_postprocessing_removes_an_island_and_fills_a_hole():
    image = smooth_ct(size=(50, 44, 36), spacing=(1.5, 1.5, 2.0))
    array = sitk.GetArrayFromImage(image)
    array[12:15, 27:29, 28:30] = 0  # within the large ellipsoid
    array[30:32, 30:32, 12:14] = 900
    image_with = sitk.GetImageFromArray(array)
    image_with.CopyInformation(image)
    segmentation = Segmentation(Volume(image_with, "test"), SoftThreshold())
    for _ in segmentation:
        pass
    raw, tidied = (sitk.GetArrayFromImage(segmentation.labelmap(postprocess)) for postprocess in (False, True))
    assert raw[31, 31, 13]
    assert not raw[13, 28, 29]
    assert not tidied[31, 31, 13]
    assert tidied[13, 28, 29]
    assert raw[13, 20:40].sum() > 0
    np.testing.assert_array_equal(raw, sitk.GetArrayFromImage(segmentation.labelmap(postprocess=False)))


@pytest.mark.parametrize("pixel", [4.0, 6.5])
def test_tidying_what_needs_none_changes_nothing_of_pixels_coarser_than_the_networks(pixel):
    """Each of them is the mean of many of the network's: all of these must be there when only a part is tidied."""
    image = smooth_ct(size=(round(100 / pixel), round(90 / pixel), 20), spacing=(pixel, pixel, 4.0))
    segmentation = Segmentation(
        Volume(image, "test"), SoftThreshold(Info(Preprocessing(1.0, (0.0,), (-200.0, 1000.0)))), whole=True
    )
    for _ in segmentation:
        pass
    raw, tidied = (sitk.GetArrayFromImage(segmentation.labelmap(postprocess)) for postprocess in (False, True))
    assert raw.any()
    np.testing.assert_array_equal(tidied, raw)


def test_stopped_while_tidying_nothing_is_written():
    class StopError(Exception):
        """Somebody doesn't want to wait."""

    def stop():
        raise StopError

    image = smooth_ct()
    segmentation = Segmentation(Volume(image, "test"), SoftThreshold())
    for _ in segmentation:
        pass
    labels = np.full(image.GetSize()[::-1], 77, np.uint8)
    with pytest.raises(StopError):
        segmentation.write_labels(labels, check=stop)
    assert (labels == 77).all()
    segmentation.write_labels(labels)
    np.testing.assert_array_equal(labels, sitk.GetArrayFromImage(segmentation.labelmap()))


def test_unknown_label():
    network = SoftThreshold(Info(labels=("unicorn",)))
    with pytest.raises(ModelError, match="unicorn"):
        Segmentation(Volume(smooth_ct(), "test"), network)


def test_real_case_stored_otherwise(shared_data):
    image = sitk.ReadImage(str(shared_data / "cases" / "tptbox_L3" / "ct.nii.gz"), sitk.sitkInt16)
    expected = segment(image)
    stored = sitk.Flip(sitk.PermuteAxes(image, (2, 0, 1)), (True, True, False))
    found = sitk.Resample(segment(stored), image, sitk.Transform(), sitk.sitkNearestNeighbor)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(expected))
    assert sitk.GetArrayFromImage(expected).any()
