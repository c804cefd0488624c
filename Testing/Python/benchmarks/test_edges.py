"""Where a mask's edge lies in HU, on volumes whose HU tell where they are."""

import numpy as np
import pytest
import SimpleITK as sitk

from Testing.Benchmarks.edges import edge_hu


def slope(axis: int, spacing: tuple[float, float, float]) -> tuple[sitk.Image, sitk.Image]:
    """HU that rise by 100 a voxel along an axis (z, y, x), and a mask of what is at least 300 HU."""
    hu = np.indices((8, 8, 8))[axis] * 100
    images = [sitk.GetImageFromArray(array.astype(kind)) for array, kind in ((hu, np.int16), (hu >= 300, np.uint8))]
    for image in images:
        image.SetSpacing(spacing)
    return images[0], images[1]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_edge_lies_between_the_last_voxel_outside_and_the_first_inside(axis):
    np.testing.assert_array_equal(edge_hu(*slope(axis, (1.0, 1.0, 1.0))), np.full(64, 250.0))


def test_voxels_far_apart_do_not_count():
    image, mask = slope(0, (1.0, 1.0, 5.0))  # thick slices: nothing changes within one
    assert len(edge_hu(image, mask)) == 0
    assert len(edge_hu(*slope(2, (1.0, 1.0, 5.0)))) == 64


def test_a_shifted_edge_of_a_blurred_ball_shows():
    z, y, x = np.indices((40, 40, 40)) - 19.5
    distance = np.sqrt(z**2 + y**2 + x**2)
    image = sitk.GetImageFromArray((300 * np.clip(0.5 + (12 - distance) / 4, 0, 1)).astype(np.float32))
    medians = []
    for radius in (12, 13):
        mask = sitk.GetImageFromArray((distance < radius).astype(np.uint8))
        medians.append(np.median(edge_hu(image, mask)))
    # 75 HU a mm: at the ball's surface half of its 300 HU, a mm further out 75 less
    assert medians == pytest.approx([150, 75], abs=10)
