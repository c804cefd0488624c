"""Augmentation changes image and labels together and leaves the rest alone."""

from dataclasses import replace

import numpy as np
from SpineSegLib.engine.training.augmentation import NONE, augment


def patch() -> tuple[np.ndarray, np.ndarray]:
    """A bright off-centre block in three channels, and its labels."""
    hu = np.full((3, 40, 40), -50, dtype=np.float32)
    labels = np.zeros((40, 40), dtype=np.uint8)
    hu[:, 8:20, 22:34] = 500
    labels[8:20, 22:34] = 1
    return hu, labels


def test_none_changes_nothing():
    hu, labels = patch()
    after, after_labels = augment(hu, labels, NONE, np.random.default_rng(0))
    np.testing.assert_array_equal(after, hu)
    np.testing.assert_array_equal(after_labels, labels)


def test_mirror_moves_image_and_labels_alike():
    hu, labels = patch()
    after, after_labels = augment(hu, labels, replace(NONE, mirror=1.0), np.random.default_rng(0))
    np.testing.assert_array_equal(after_labels, labels[:, ::-1])
    np.testing.assert_array_equal(after[1] > 200, after_labels == 1)


def test_turning_keeps_image_and_labels_together():
    hu, labels = patch()
    for seed in range(5):
        after, after_labels = augment(hu, labels, replace(NONE, geometry=1.0), np.random.default_rng(seed))
        overlap = np.count_nonzero((after[0] > 225) & (after_labels == 1))
        assert not np.array_equal(after_labels, labels)
        assert 2 * overlap / (np.count_nonzero(after[0] > 225) + np.count_nonzero(after_labels)) > 0.97


def test_intensity_stays_within_its_range():
    hu, labels = patch()
    for seed in range(20):
        settings = replace(NONE, intensity=1.0, contrast=0.1, shift_hu=20.0)
        after, after_labels = augment(hu, labels, settings, np.random.default_rng(seed))
        assert 500 * 0.9 - 20 <= after.max() <= 500 * 1.1 + 20
        np.testing.assert_array_equal(after_labels, labels)


def test_noise_has_at_most_the_asked_strength_and_no_bias():
    hu = np.zeros((3, 64, 64), dtype=np.float32)
    spreads = []
    for seed in range(20):
        settings = replace(NONE, noise=1.0, noise_hu=60.0)
        after, _ = augment(hu, np.zeros((64, 64), dtype=np.uint8), settings, np.random.default_rng(seed))
        spreads.append(after.std())
        assert abs(after.mean()) < 4
    assert max(spreads) < 63
    assert max(spreads) > 30
