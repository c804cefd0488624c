"""The picture: shows the right place in the right proportions, whatever the storage."""

import io

import numpy as np
import pytest
import SimpleITK as sitk
from geometry import rotated, smooth_ct
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from SpineSegLib.engine.overview import PREDICTION, REFERENCE, draw_overview


def picture(image, prediction, reference=None):
    file = io.BytesIO()
    draw_overview(file, image, prediction, reference)
    return imread(io.BytesIO(file.getvalue()))[..., :3]


def coloured(pixels, colour):
    return np.linalg.norm(pixels - np.array(to_rgb(colour)), axis=-1) < 0.15


@pytest.fixture(scope="module")
def scene():
    image = smooth_ct()
    return image, image > 300, sitk.BinaryDilate(image > 300, (2, 2, 2))


def test_outlines_of_both(scene):
    pixels = picture(*scene)
    assert coloured(pixels, PREDICTION).sum() > 500
    assert coloured(pixels, REFERENCE).sum() > 500
    assert not coloured(picture(*scene[:2]), REFERENCE).any()


def test_storage_does_not_matter(scene):
    stored = [sitk.Flip(sitk.PermuteAxes(one, (2, 0, 1)), (True, False, False)) for one in scene]
    np.testing.assert_allclose(picture(*stored), picture(*scene), atol=0.01)


def test_proportions_are_physical(scene):
    """The same scene in voxels of another shape looks nearly the same."""
    image = scene[0]
    coarse = rotated(image, (0, 0, 0), (1.0, 1.0, 4.0))
    fine = rotated(image, (0, 0, 0), (1.0, 1.0, 1.0))
    places = []
    for one in (coarse, fine):
        rows, columns = np.nonzero(coloured(picture(one, one > 300), PREDICTION))
        places.append([rows.min(), rows.max(), columns.min(), columns.max()])
    np.testing.assert_allclose(*places, atol=20)


def test_nothing_segmented(scene):
    empty = scene[0] > 30000
    pixels = picture(scene[0], empty)
    assert pixels.std() > 0.05
    assert not coloured(pixels[: -pixels.shape[0] // 6], PREDICTION).any()
