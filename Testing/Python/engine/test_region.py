"""Parts of a CT, and labels before the end: both must agree with the whole, to the last voxel, however it is stored."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from ct_samples import assert_sentence
from geometry import Info, SoftThreshold, rotated, smooth_ct
from SpineSegLib.engine.axial import AxialSlices
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.segmenter import Segmentation
from SpineSegLib.engine.stored_labels import Decision, way_back
from SpineSegLib.engine.volume import Grid, Volume

UNTOUCHED = 77
ROUNDING = 1e-3  # mm


def stored_otherwise(order, flips):
    return sitk.Flip(sitk.PermuteAxes(smooth_ct(), order), flips)


VOLUMES = {
    "axial": smooth_ct,
    "feet first": lambda: stored_otherwise((0, 1, 2), (True, False, True)),
    "sagittal": lambda: stored_otherwise((1, 2, 0), (False, True, True)),
    "coronal": lambda: stored_otherwise((0, 2, 1), (True, True, False)),
    "thick slices": lambda: smooth_ct(size=(90, 80, 14), spacing=(0.8, 0.8, 5.0)),
    "thin slices": lambda: smooth_ct(size=(50, 44, 110), spacing=(1.5, 1.5, 0.6)),
    "coarse pixels": lambda: smooth_ct(size=(26, 24, 36), spacing=(3.0, 3.0, 2.0)),
    "slightly tilted": lambda: turned(smooth_ct(), 1.0),
    "oblique": lambda: rotated(smooth_ct(size=(40, 36, 40), spacing=(1.8, 1.8, 1.8)), (-15.0, 8.0, 25.0)),
    "steep": lambda: rotated(
        smooth_ct(size=(40, 36, 30), spacing=(1.8, 1.8, 2.4)), (40.0, 5.0, -10.0), (1.6, 2.2, 2.6)
    ),
}


def turned(image, degrees):
    angle = np.radians(degrees)
    image.SetDirection((1, 0, 0, 0, np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle)))
    return image


def network():
    """Two labels that take turns in the plane, so that mixing up axes shows; probabilities at half of the voxels."""

    class TwoLabels(SoftThreshold):
        def predict(self, batch):
            bone = super().predict(batch)
            share = np.linspace(0, 1, bone.shape[2], dtype=np.float32)[:, None]
            share = np.clip(share * 3 - 1 + np.linspace(0, 0.3, bone.shape[3], dtype=np.float32), 0, 1)
            return np.concatenate([bone * share, bone * (1 - share)], axis=1)

    context = Preprocessing(spacing=1.3, context=(-2.0, 0.0), window=(-200.0, 1000.0))
    return TwoLabels(Info(context, ("vertebrae", "sacrum")))


def run(image, region=None, postprocess=False):
    """The labels on an array that held `UNTOUCHED` before, and the segmentation."""
    segmentation = Segmentation(Volume(image, "test"), network(), region=region)
    for _ in segmentation:
        pass
    labels = np.full(image.GetSize()[::-1], UNTOUCHED, np.uint8)
    segmentation.write_labels(labels, postprocess)
    return labels, segmentation


@pytest.fixture(scope="module", params=VOLUMES)
def case(request):
    """An image, its whole segmentation, and the height (LPS z) of each voxel, or of its slice where it is slightly
    tilted: (k, j, i)."""
    image = VOLUMES[request.param]()
    size = image.GetSize()
    heights = np.array(image.GetOrigin())[2] + sum(
        np.array(image.GetDirection())[6 + axis] * image.GetSpacing()[axis] * (np.indices(size[::-1])[2 - axis])
        for axis in range(3)
    )
    if request.param == "slightly tilted":
        heights[...] = heights[:, (size[1] - 1) // 2 : size[1] // 2 + 1].mean(axis=(1, 2), keepdims=True)
    labels = run(image)[0]
    assert {1, 2} == set(np.unique(labels[labels > 0]))
    return image, labels, heights


@pytest.mark.parametrize("region", [(-675.0, -655.5), (-720.0, -668.0), (-663.0, -600.0)])
def test_a_region_is_that_part_of_the_whole(case, region):
    image, whole, heights = case
    labels, segmentation = run(image, region)
    inside = (heights >= region[0] - ROUNDING) & (heights <= region[1] + ROUNDING)
    assert 0.1 < inside.mean() < 0.9
    np.testing.assert_array_equal(labels, np.where(inside, whole, UNTOUCHED))
    assert whole[inside].any()
    # no more slices than the region's voxels lie between
    step = segmentation.grid.spacing[0]
    heights = heights[inside]
    computed = sum(batch[0] for batch in segmentation.network.batches)
    assert computed <= len(segmentation) <= (heights.max() - heights.min()) / step + 3
    image = segmentation.labelmap(postprocess=False)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), np.where(inside, whole, 255))


def test_one_position_is_the_slice_there(case):
    image, whole, heights = case
    position = -673.2
    labels, segmentation = run(image, (position, position))
    inside = labels != UNTOUCHED
    np.testing.assert_array_equal(labels[inside], whole[inside])
    assert labels[inside].any()
    oblique = np.unique(heights).size > 200
    nearest = np.abs(heights - position).min()
    if oblique:
        # all of the slice can be seen: at each of its points the nearest voxel is there
        (slice_position,) = {
            s.position for s in segmentation if abs(s.position - position) <= segmentation.grid.spacing[0] / 2
        }
        low, high = segmentation.grid.outer_corners().min(axis=0), segmentation.grid.outer_corners().max(axis=0)
        seen = 0
        for x, y in np.random.default_rng(0).uniform(low[:2], high[:2], (400, 2)):
            index = np.rint(image.TransformPhysicalPointToContinuousIndex((x, y, slice_position))).astype(int)
            if np.all(index >= 0) and np.all(index < image.GetSize()):
                assert inside[tuple(index[::-1])]
                seen += 1
        assert seen > 100
        assert inside.mean() < 0.2
        assert len(segmentation) <= 5
    else:
        np.testing.assert_array_equal(inside, np.abs(np.abs(heights - position) - nearest) < 1e-6)
        thin = segmentation.grid.spacing[0] > 1.5 * min(np.diff(np.unique(heights)))
        assert sum(batch[0] for batch in segmentation.network.batches) == (2 if thin else 1)


@pytest.mark.parametrize("region", [None, (-680.0, -655.0)])
def test_labels_appear_while_slices_are_computed(case, region):
    """Each label is there early, never changes, lies in its box, and all boxes together hold all labels."""
    image, whole, _ = case
    segmentation = Segmentation(Volume(image, "test"), network(), region=region)
    labels = np.full(whole.shape, 255, np.uint8)
    updates = []
    for finished in segmentation:
        before = labels.copy()
        box = segmentation.write_decided(labels)
        assert segmentation.write_decided(labels) is None  # nothing new
        changed = labels != before
        assert (before[changed] == 255).all()
        if box is None:
            assert not changed.any()
        else:
            outside = changed.copy()
            outside[box] = False
            assert not outside.any()
            assert (labels[box] < 255).any()
            updates.append(finished.index)
    written = labels < 255
    np.testing.assert_array_equal(labels[written], whole[written])
    final = np.zeros(whole.shape, np.uint8)
    segmentation.write_labels(final, postprocess=False)
    np.testing.assert_array_equal(np.where(written, labels, 0), final)
    assert updates[0] < len(segmentation) - 1
    assert len(updates) > 1


def test_a_slice_is_shown_as_soon_as_it_is_computed():
    segmentation = Segmentation(Volume(smooth_ct(), "test"), network())
    labels = np.full((36, 44, 50), 255, np.uint8)
    for finished in segmentation:
        segmentation.write_decided(labels)
        shown = np.flatnonzero((labels < 255).any(axis=(1, 2)))
        assert shown.size == 0 or shown[-1] <= finished.index
        if 8 <= finished.index <= 15:
            assert shown[-1] == finished.index


def test_slices_of_a_region_are_counted_and_placed():
    image = smooth_ct()
    segmentation = Segmentation(Volume(image, "test"), network(), region=(-679.0, -671.0))
    assert segmentation.left_to_compute == len(segmentation) == 4
    finished = []
    for one in segmentation:
        finished.append((one.index, one.count, one.position))
        assert segmentation.left_to_compute == 3 - one.index
    assert finished == [(0, 4, -678.0), (1, 4, -676.0), (2, 4, -674.0), (3, 4, -672.0)]


def test_a_region_without_a_body_needs_no_network():
    image = sitk.ConstantPad(smooth_ct(), [0, 0, 40], [0, 0, 40], -1000)
    for region in [(-780.0, -760.0), (-580.0, -570.0)]:
        labels, segmentation = run(image, region)
        assert not segmentation.network.batches
        assert set(np.unique(labels)) == {0, UNTOUCHED}


@pytest.mark.parametrize("volume", ["axial", "oblique"])
@pytest.mark.parametrize("region", [(-900.0, -850.0), (-500.0, -500.0)])
def test_a_region_outside_the_ct_is_refused(volume, region):
    with pytest.raises(InputError, match="outside the CT") as error:
        run(VOLUMES[volume](), region)
    assert_sentence(error)


def test_a_region_between_two_slices_is_refused():
    with pytest.raises(InputError, match="outside the CT"):
        run(smooth_ct(size=(90, 80, 14), spacing=(0.8, 0.8, 5.0)), (-689.0, -686.0))


def test_ends_of_a_region_may_be_rounded():
    """Slices lie at -700, -698 ... -630 mm; one that a region misses by half a micrometre belongs to it."""
    rounded = 5e-4  # mm
    labels, segmentation = run(smooth_ct(), (-678.0 + rounded, -672.0 - rounded))
    assert np.flatnonzero((labels != UNTOUCHED).any(axis=(1, 2))).tolist() == [11, 12, 13, 14]
    assert len(segmentation) == 4


@pytest.mark.parametrize(("position", "index"), [(-701.0, 0), (-700.9, 0), (-629.1, 35), (-629.0, 35)])
def test_the_outer_half_of_the_last_slice_belongs_to_it(position, index):
    labels, _ = run(smooth_ct(), (position, position))
    assert np.flatnonzero((labels != UNTOUCHED).any(axis=(1, 2))).tolist() == [index]


@pytest.mark.parametrize("step", [0.4, 3.0])
def test_slice_by_slice_no_voxel_of_an_oblique_ct_is_left_out(step):
    """Also where voxels are thinner than the slices, so that some lie between the middles of two."""
    image = rotated(smooth_ct(size=(12, 10, 12)), (4.0, -3.0, 20.0), (3.0, 3.0, step))
    stored, grid = Grid.of(image), AxialSlices(image, Preprocessing(spacing=3.0), whole=True).grid
    labels = np.full(stored.shape, UNTOUCHED, np.uint8)
    for height in (grid.origin[2] + np.arange(grid.shape[0]) * grid.spacing[0]).tolist():
        way_back(grid, stored, Decision(0.5, (1,)), (height, height)).clear(labels)
    assert not labels.any()


def test_a_region_upside_down_is_a_mistake():
    with pytest.raises(ValueError, match="rise"):
        run(smooth_ct(), (-650.0, -660.0))


def bones(count=60):
    """Int16 HU, 1 mm voxels, z from 0: a vertebral ring with a canal all the way up, a process beside it that is thin
    where it crosses 20 mm, a speck of 3 mm at 20 mm, and a ball of 6 mm at 30 mm that is far away."""
    hu = np.full((count, 80, 80), 0, np.int16)
    z, y, x = np.indices(hu.shape)
    distance = np.hypot(y - 40, x - 40)
    hu[(distance < 18) & (distance > 8)] = 800
    hu[:, 62:65, 38:43] = 800  # 15 mm² in each slice
    hu[19:22, 20:23, 8:11] = 800
    hu[(z - 30) ** 2 + (y - 10) ** 2 + (x - 70) ** 2 < 9] = 800
    image = sitk.GetImageFromArray(hu)
    image.SetOrigin((0.0, 0.0, 0.0))
    return image


def test_a_single_slice_is_tidied_for_what_one_can_tell_from_it():
    image = bones()
    segmentation = Segmentation(
        Volume(image, "test"), SoftThreshold(Info(Preprocessing(spacing=None, context=(0.0,)))), region=(20.0, 20.0)
    )
    for _ in segmentation:
        pass
    slice_labels = sitk.GetArrayFromImage(segmentation.labelmap())[20]
    bone = sitk.GetArrayFromImage(image)[20] > 300
    bone[20:23, 8:11] = False  # the speck goes, the thin process stays, the canal stays open
    np.testing.assert_array_equal(slice_labels, bone)


def test_in_a_region_parts_are_judged_by_what_is_known_of_them():
    image = bones()
    choices = SoftThreshold(Info(Preprocessing(spacing=None, context=(0.0,))))

    def tidied(region):
        segmentation = Segmentation(Volume(image, "test"), choices, region=region)
        for _ in segmentation:
            pass
        return sitk.GetArrayFromImage(segmentation.labelmap())

    # 10 slices of the process are 150 mm³, less than an island may have; speck and ball end within the region
    labels = tidied((24.0, 33.0))
    expected = sitk.GetArrayFromImage(image)[24:34] > 300
    expected[:, :20, 60:] = False
    np.testing.assert_array_equal(labels[24:34], expected)
    assert (labels[:24] == 255).all()
    assert (labels[34:] == 255).all()
    # at the ends of the CT nothing is cut off by the region: the same as the whole
    np.testing.assert_array_equal(tidied((0.0, 59.0)), tidied(None))


@pytest.mark.parametrize("end", ["feet", "head"])
def test_at_the_ends_of_the_ct_nothing_is_thought_to_go_on(end):
    """200 mm³ there are too small to be spine; with 15 mm more they would be large enough."""
    hu = np.zeros((40, 40, 40), np.int16)
    hu[:, 10:20, 10:20] = 800
    spine = hu > 300
    hu[:10, 10:20, 30:32] = 800
    image, expected = (sitk.GetImageFromArray(a if end == "feet" else a[::-1]) for a in (hu, spine.astype(np.uint8)))
    segmentation = Segmentation(Volume(image, "test"), SoftThreshold(Info(Preprocessing(spacing=None, context=(0.0,)))))
    for _ in segmentation:
        pass
    np.testing.assert_array_equal(sitk.GetArrayFromImage(segmentation.labelmap()), sitk.GetArrayFromImage(expected))
