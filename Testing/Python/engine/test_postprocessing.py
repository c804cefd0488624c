"""Islands, holes and patches of known size."""

import numpy as np
import pytest
from scipy import ndimage
from SpineSegLib.engine.postprocessing import Tidying, tidy


def ball(shape, centre, radius, spacing=(1.0, 1.0, 1.0)):
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return sum(((a - c) * s) ** 2 for a, c, s in zip(axes, centre, spacing, strict=True)) <= radius**2


SHAPE = (60, 80, 80)


def tidied(*masks, spacing=(1.0, 1.0, 1.0)):
    """The masks tidied up, without the smoothing, which rounds shapes by some voxels."""
    probabilities = np.stack(masks).astype(np.uint8) * 230
    tidy(probabilities, spacing, 0.5, Tidying(along=0.0))
    return probabilities >= 128


def test_small_island_goes_and_the_spine_stays():
    spine, island = ball(SHAPE, (30, 40, 40), 12), ball(SHAPE, (30, 40, 56), 2)
    np.testing.assert_array_equal(tidied(spine | island)[0], spine)


def test_fragment_near_the_spine_stays_and_far_away_goes():
    spine = ball(SHAPE, (15, 40, 20), 11)
    near, far = ball(SHAPE, (15, 40, 42), 5), ball(SHAPE, (50, 70, 72), 5)  # 500 mm³ each, 6 mm and 60 mm away
    np.testing.assert_array_equal(tidied(spine | near | far)[0], spine | near)


def test_a_chain_of_fragments_stays():
    parts = [ball(SHAPE, (30, 40, x), r) for x, r in ((12, 9), (32, 5), (52, 5), (70, 5))]
    everything = np.any(parts, axis=0)
    np.testing.assert_array_equal(tidied(everything)[0], everything)


def test_two_large_parts_stay():
    parts = ball(SHAPE, (15, 20, 20), 14) | ball(SHAPE, (40, 60, 60), 15)  # 11 and 14 ml
    np.testing.assert_array_equal(tidied(parts)[0], parts)


def test_a_far_part_goes_where_the_spine_is_much_larger():
    """A femoral head of 14 ml stays beside 11 ml of spine, but not beside 88 ml."""
    shape = (60, 100, 100)
    head = ball(shape, (30, 80, 82), 15)
    spine = ball(shape, (30, 30, 28), 27.5)
    np.testing.assert_array_equal(tidied(spine | head)[0], spine)
    small = ball(shape, (30, 30, 28), 14)
    np.testing.assert_array_equal(tidied(small | head)[0], small | head)


def test_a_small_spine_alone_stays_and_specks_alone_do_not():
    small, speck = ball(SHAPE, (30, 40, 40), 5), ball(SHAPE, (30, 40, 40), 3)  # 0.5 and 0.1 ml
    np.testing.assert_array_equal(tidied(small)[0], small)
    assert not tidied(speck).any()


def test_sizes_are_in_mm():
    """5 voxels across are 33 mm³ at 0.8 mm and 1000 mm³ at 2.5 mm."""
    spine, part = ball(SHAPE, (30, 40, 40), 12), ball(SHAPE, (30, 40, 56), 2.5)
    assert not tidied(spine | part, spacing=(0.8, 0.8, 0.8))[0][part].any()
    assert tidied(spine | part, spacing=(2.5, 2.5, 2.5))[0][part].all()


def test_hole_is_filled_but_a_canal_is_not():
    spine = ball(SHAPE, (30, 40, 40), 20)
    hole = ball(SHAPE, (30, 40, 30), 4)
    canal = np.zeros(SHAPE, dtype=bool)
    canal[:, 38:43, 44:49] = True
    np.testing.assert_array_equal(tidied(spine & ~hole & ~canal)[0], spine & ~canal)


def test_canal_in_a_stack_of_few_slices_stays_open():
    ring = np.zeros((3, 60, 60), dtype=bool)
    ring[:, 10:50, 10:50] = True
    ring[:, 25:35, 25:35] = False
    np.testing.assert_array_equal(tidied(ring)[0], ring)


def test_large_cavity_stays():
    spine, cavity = ball(SHAPE, (30, 40, 40), 25), ball(SHAPE, (30, 40, 40), 12)  # 7 ml
    np.testing.assert_array_equal(tidied(spine & ~cavity)[0], spine & ~cavity)


def test_patch_of_the_wrong_label_takes_the_one_around():
    vertebrae, sacrum = ball(SHAPE, (42, 40, 40), 15), ball(SHAPE, (12, 40, 40), 12)
    patch = ball(SHAPE, (42, 40, 44), 4)
    found = tidied(vertebrae & ~patch, sacrum | patch)
    np.testing.assert_array_equal(found[0], vertebrae & ~sacrum)
    np.testing.assert_array_equal(found[1], sacrum)


def test_hole_gets_the_label_around_it():
    vertebrae, sacrum = ball(SHAPE, (44, 40, 40), 13), ball(SHAPE, (14, 40, 40), 13)
    hole = ball(SHAPE, (14, 40, 40), 3)
    found = tidied(vertebrae, sacrum & ~hole)
    np.testing.assert_array_equal(found[1], sacrum)


def test_sizes_of_patches_and_holes_are_in_mm():
    """9 voxels across are 195 mm³ at 0.8 mm and 6 ml at 2.5 mm, more than either may have."""
    vertebrae, sacrum = ball(SHAPE, (42, 40, 40), 15), ball(SHAPE, (12, 40, 40), 12)
    patch, hole = ball(SHAPE, (42, 40, 47), 4.5), ball(SHAPE, (42, 40, 33), 4.5)
    for size, changes in ((0.8, True), (2.5, False)):
        found = tidied(vertebrae & ~patch & ~hole, sacrum | patch, spacing=(size,) * 3)
        for place in (patch, hole):
            assert found[0][place].all() == changes
            assert found[0][place].any() == changes


def test_a_small_sacrum_stays_where_it_is_the_only_one():
    """The CT may end in it: 1 ml below the vertebrae."""
    vertebrae, sacrum = ball(SHAPE, (30, 40, 40), 15), np.zeros(SHAPE, dtype=bool)
    sacrum[13:18, 33:47, 33:47] = True
    found = tidied(vertebrae & ~sacrum, sacrum)
    np.testing.assert_array_equal(found[1], sacrum)
    np.testing.assert_array_equal(found[0], vertebrae & ~sacrum)


def test_a_patch_in_a_patch_takes_the_label_around_both():
    vertebrae, sacrum = ball(SHAPE, (44, 40, 40), 13), ball(SHAPE, (14, 40, 40), 13)
    patch, core = ball(SHAPE, (14, 40, 40), 6), ball(SHAPE, (14, 40, 40), 3)
    found = tidied(vertebrae | patch & ~core, sacrum & (~patch | core))
    np.testing.assert_array_equal(found[1], sacrum)
    np.testing.assert_array_equal(found[0], vertebrae)


def test_parts_that_touch_at_a_corner_are_one_and_holes_are_two():
    both = np.zeros((40, 40, 40), dtype=bool)
    both[10:16, 10:16, 10:16] = both[16:22, 16:22, 16:22] = True  # 216 mm³ each
    np.testing.assert_array_equal(tidied(both)[0], both)
    solid = np.zeros((40, 40, 40), dtype=bool)
    solid[5:35, 5:35, 5:35] = True
    open_hole = solid.copy()
    open_hole[5:12, 10:16, 10:16] = open_hole[12:16, 16:20, 16:20] = (
        False  # a pit from outside, and a hole at its corner
    )
    closed = solid.copy()
    closed[5:12, 10:16, 10:16] = False
    np.testing.assert_array_equal(tidied(open_hole)[0], closed)


def test_two_chains_that_meet_are_one():
    """Their ends come first and are not near each other."""
    shape = (60, 20, 90)
    ends = ball(shape, (10, 10, 10), 9) | ball(shape, (14, 10, 76), 5)
    inner = ball(shape, (30, 10, 30), 5) | ball(shape, (30, 10, 60), 5)
    middle = ball(shape, (40, 10, 38), 5) | ball(shape, (40, 10, 53), 5)
    everything = ends | inner | middle
    np.testing.assert_array_equal(tidied(everything)[0], everything)


def test_smoothing_is_scipys_for_every_label():
    """Of 0.8 mm, along the body, over more slices than are done at once; to a level in 255."""
    lowest = np.array([130, 50])[:, None, None, None]
    truth = (lowest + np.random.default_rng(1).integers(0, 60, (2, 50, 12, 12))).astype(np.uint8)
    for step in (0.5, 1.0, 1.5):
        found = truth.copy()
        tidy(found, (step, 1.0, 1.0), 0.5)
        expected = ndimage.gaussian_filter1d(truth.astype(float), 0.8 / step, axis=1, mode="nearest")
        np.testing.assert_allclose(found, expected, atol=0.51)


def test_nothing_to_tidy():
    assert not tidied(np.zeros(SHAPE, dtype=bool)).any()


def test_a_hole_in_a_single_slice_closes():
    """Noise in one slice of 1 mm is no disc; in slices of 3 mm it may be one."""
    probabilities = np.zeros((1, 30, 30, 30), dtype=np.uint8)
    probabilities[0, 4:26, 5:25, 5:25] = 230
    probabilities[0, 14, 5:25, 5:20] = 60  # open to the side, so that it is no enclosed hole
    thick = probabilities.copy()
    tidy(probabilities, (1.0, 1.0, 1.0), 0.5)
    assert (probabilities[0, 14, 5:25, 5:20] >= 128).all()
    tidy(thick, (3.0, 1.0, 1.0), 0.5)
    assert (thick[0, 14, 5:25, 5:20] < 128).all()


@pytest.mark.parametrize("disc", [2, 3])
def test_narrow_discs_and_ends_stay(disc):
    probabilities = np.zeros((1, 30, 30, 30), dtype=np.uint8)
    probabilities[0, 4:26, 5:25, 5:25] = 255
    probabilities[0, 14 : 14 + disc, 5:25] = 0
    before = probabilities >= 128
    tidy(probabilities, (1.0, 1.0, 1.0), 0.5)
    np.testing.assert_array_equal(probabilities >= 128, before)


@pytest.mark.parametrize(("gap", "stays"), [(14, True), (15, True), (16, False)])
@pytest.mark.parametrize("axis", range(3))
def test_near_is_the_distance_between_voxels(axis, gap, stays):
    """7 x 7 x 7 mm beside a spine, `gap` mm from its last voxel to the fragment's first one."""
    shape = [20, 20, 20]
    shape[axis] = 60
    masks = np.zeros((2, *shape), dtype=bool)
    for mask, start, length in zip(masks, (2, 21 + gap), (20, 7), strict=True):
        middle = [slice(6, 13)] * 3
        middle[axis] = slice(start, start + length)
        mask[tuple(middle)] = True
    spine, fragment = masks
    np.testing.assert_array_equal(tidied(spine | fragment)[0], spine | fragment if stays else spine)


def test_distances_are_in_mm():
    """The fragment is 6 voxels away: 12 mm where slices are 2 mm apart, 18 mm where they are 3 mm apart."""
    both = np.zeros((30, 20, 20), dtype=bool)
    both[2:14, 4:16, 4:16] = True
    spine = both.copy()
    both[19:26, 6:13, 6:13] = True
    np.testing.assert_array_equal(tidied(both, spacing=(2.0, 1.0, 1.0))[0], both)
    np.testing.assert_array_equal(tidied(both, spacing=(3.0, 1.0, 1.0))[0], spine)


class StopError(Exception):
    pass


@pytest.mark.parametrize("after", range(1, 6))
def test_tidying_can_be_stopped(after):
    """Asked at least as often as there are steps; what it raises comes through."""
    left = [after]

    def check():
        left[0] -= 1
        if left[0] == 0:
            raise StopError

    masks = np.stack([ball(SHAPE, (42, 40, 40), 15), ball(SHAPE, (12, 40, 40), 12)]).astype(np.uint8) * 230
    with pytest.raises(StopError):
        tidy(masks, (1.0, 1.0, 1.0), 0.5, check=check)


def test_smoothing_far_from_the_foreground_changes_nothing_of_it():
    """Only what may count is smoothed: the labels are those of smoothing everything."""
    rng = np.random.default_rng(5)
    z, y, x = np.ogrid[:60, :40, :80]
    column = np.exp(-((y - 20) ** 2 + (x - 10 - z) ** 2) / 30)  # leaning, in noise that is no foreground
    near = (rng.integers(0, 60, (2, 60, 40, 80)) + 90 * column).astype(np.uint8)
    far = near.copy()
    assert 0.01 < (near.sum(axis=0, dtype=int) >= 128).mean() < 0.05
    tidy(near, (1.0, 1.0, 1.0), 0.5, Tidying(island=0.0, far_island=0.0, far_share=0.0))
    tidy(far, (1.0, 1.0, 1.0), 0.5, Tidying(island=0.0, far_island=0.0, far_share=0.0), margin=60)
    assert (near != far).any()
    foreground = near.sum(axis=0, dtype=int) >= 128
    np.testing.assert_array_equal(foreground, far.sum(axis=0, dtype=int) >= 128)
    np.testing.assert_array_equal(near[:, foreground], far[:, foreground])
