"""The conditions of the robustness benchmark change scan and mask alike, and as much as they say."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from Testing.Benchmarks.robustness import CONDITIONS, Scan, cut, field_of_view, markdown, noisy, resampled, turned


@pytest.fixture(scope="module")
def scan() -> Scan:
    """A lopsided block of 800 HU in muscle, off the middle, on a grid whose axes differ."""
    mask = np.zeros((30, 50, 60), np.uint8)
    mask[4:26, 18:34, 22:40] = 1
    mask[10:20, 30:36, 40:48] = 1
    image = sitk.GetImageFromArray(np.where(mask, 800, 50).astype(np.int16))
    labels = sitk.GetImageFromArray(mask)
    for one in (image, labels):
        one.SetSpacing((0.9, 0.9, 2.0))
        one.SetOrigin((-30.0, 12.0, 100.0))
    return Scan(image, labels)


@pytest.mark.parametrize("name", CONDITIONS)
def test_the_mask_goes_with_the_scan(scan, name):
    changed = CONDITIONS[name](scan, np.random.default_rng(0))
    assert changed.image.GetSize() == changed.mask.GetSize()
    np.testing.assert_allclose(changed.image.GetOrigin(), changed.mask.GetOrigin())
    hu, mask = sitk.GetArrayFromImage(changed.image).astype(float), sitk.GetArrayFromImage(changed.mask) > 0
    assert mask.any()
    bone = hu > 425
    overlap = 2 * np.count_nonzero(bone & mask) / (np.count_nonzero(bone) + np.count_nonzero(mask))
    assert overlap > (0.8 if "metal" in name else 0.9)


def test_sizes_are_those_asked_for(scan):
    def size(condition):
        image = condition(scan, np.random.default_rng(0)).image
        return image.GetSize(), image.GetSpacing()

    assert size(field_of_view(0.5)) == ((30, 25, 30), (0.9, 0.9, 2.0))
    assert size(field_of_view(2.0)) == ((120, 100, 30), (0.9, 0.9, 2.0))
    assert size(resampled(None, 5.0)) == ((60, 50, 12), (0.9, 0.9, 5.0))
    assert size(resampled(3.0, 3.0)) == ((18, 15, 20), (3.0, 3.0, 3.0))
    assert size(cut(0.5))[0] == (60, 50, 10)  # of 22 slices with spine


def test_turning_moves_where_it_should(scan):
    """Turned by 90 degrees about z, what lay at (x, y) from the middle lies at (y, -x) or (-y, x)."""

    def centre(one: sitk.Image) -> np.ndarray:
        shape = sitk.LabelShapeStatisticsImageFilter()
        shape.Execute(one)
        middle = one.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in one.GetSize()])
        return np.array(shape.GetCentroid(1)) - middle

    before = centre(scan.mask)
    after = centre(turned((0, 0, 1), 90)(scan, np.random.default_rng(0)).mask)
    assert abs(before @ after - before[2] ** 2) < 1
    assert np.linalg.norm(after) == pytest.approx(np.linalg.norm(before), abs=0.5)


def test_noise_has_the_asked_strength(scan):
    changed = noisy(60)(scan, np.random.default_rng(0))
    added = sitk.GetArrayFromImage(changed.image).astype(float) - sitk.GetArrayFromImage(scan.image)
    assert added.std() == pytest.approx(60, rel=0.03)


def test_the_table_says_what_a_condition_changes():
    rows = {
        "as it is": {"dice": 0.95, "sensitivity": 0.94, "precision": 0.96},
        "mirrored": {"dice": 0.9, "sensitivity": 0.9, "precision": None},
    }
    text = markdown(
        {"model": "default 2", "ct": "a phantom", "conditions": rows, "empty": {"water": 0.0, "head": 1.25}}
    )
    assert "| mirrored | 0.900 | -0.050 | 0.900 | – |" in text
    assert "| head | 1.2 |" in text
