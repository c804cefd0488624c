"""Connected parts, against SciPy's."""

import numpy as np
import pytest
from scipy import ndimage
from SpineSegLib.engine.parts import Parts


@pytest.mark.parametrize(("corners", "structure"), [(True, np.ones((3, 3, 3))), (False, None)])
@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_parts_of_noise(corners, structure, value, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 14, 3)) < rng.uniform(0.05, 0.95)
    expected, count = ndimage.label(mask == value, structure)
    parts = Parts.of(mask, mask.shape, corners, value)
    assert parts.count == count
    found = np.zeros(mask.shape, dtype=int)
    for number in range(count):
        found[parts.voxels(number)] = number + 1
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(parts.sizes, np.bincount(expected.ravel(), minlength=count + 1)[1:])

    inner = np.pad(np.ones([n - 2 for n in mask.shape], dtype=bool), 1) if min(mask.shape) > 2 else np.zeros_like(mask)
    outside = set(expected[~inner].tolist()) - {0}
    assert {number + 1 for number in np.flatnonzero(parts.at_faces())} == outside

    odd = np.arange(count) % 2 == 1
    chosen = np.zeros_like(mask)
    chosen[parts.voxels_of(odd)] = True
    np.testing.assert_array_equal(chosen, (expected > 0) & (expected % 2 == 0))


@pytest.mark.parametrize("filled", [False, True])
def test_nothing_and_everything(filled):
    parts = Parts.of(np.full((3, 4, 5), filled), (3, 4, 5), corners=True)
    assert (parts.count, parts.sizes.tolist()) == ((1, [60]) if filled else (0, []))


def test_rows_and_planes_do_not_run_into_each_other():
    """The last voxel of a row is no neighbour of the next row's first, nor a plane's last row of the next's first."""
    mask = np.zeros((2, 3, 4), dtype=bool)
    mask[0, 0, 3] = mask[0, 1, 0] = mask[0, 2, 3] = mask[1, 0, 3] = True
    assert Parts.of(mask, mask.shape, corners=True).count == 3  # only the voxels in the corner of both planes touch


def test_bounds_and_the_voxels_of_some_planes():
    mask = np.random.default_rng(5).random((9, 12, 11)) < 0.12
    parts = Parts.of(mask, mask.shape, corners=True)
    assert parts.count > 5
    low, high = parts.bounds()
    for number in range(parts.count):
        voxels = np.stack(parts.voxels(number), axis=1)
        np.testing.assert_array_equal(low[number], voxels.min(axis=0))
        np.testing.assert_array_equal(high[number], voxels.max(axis=0))
        for first, last in ((2, 5), (-3, 4), (5, 99), (4, 4), (0, 9)):
            some = np.stack(parts.voxels(number, first, last), axis=1)
            np.testing.assert_array_equal(some, voxels[(voxels[:, 0] >= first) & (voxels[:, 0] < last)])
