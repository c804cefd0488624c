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


def test_misplaced_patients_lie_on_a_side_or_on_their_front():
    hu, labels = patch()
    seen = set()
    for seed in range(20):
        after, after_labels = augment(hu, labels, replace(NONE, misplaced=1.0), np.random.default_rng(seed))
        np.testing.assert_array_equal(after[1] > 200, after_labels == 1)
        seen.add(tuple(np.argwhere(after_labels).mean(axis=0)))
    # where (13.5, 27.5) of 40 x 40 pixels comes to lie by 90, 180 and 270 degrees
    assert seen == {(11.5, 13.5), (25.5, 11.5), (27.5, 25.5)}


def test_turning_keeps_image_and_labels_together():
    hu, labels = patch()
    for seed in range(5):
        after, after_labels = augment(hu, labels, replace(NONE, geometry=1.0), np.random.default_rng(seed))
        overlap = np.count_nonzero((after[0] > 225) & (after_labels == 1))
        assert not np.array_equal(after_labels, labels)
        assert 2 * overlap / (np.count_nonzero(after[0] > 225) + np.count_nonzero(after_labels)) > 0.97


def test_bending_moves_image_and_labels_together_by_what_was_asked():
    y, x = np.indices((160, 160))
    places = np.stack([y, x]).astype(
        np.float32
    )  # a picture whose values are its coordinates shows where they come from
    labels = (x < 80).astype(np.uint8)
    rms = []
    for seed in range(30):
        settings = replace(NONE, geometry=1.0, turn=0.0, scale=0.0, bend=3.0)
        after, after_labels = augment(places, labels, settings, np.random.default_rng(seed))
        inner = np.s_[20:140, 20:140]
        moved = (after - places)[:, *inner]
        rms.append(np.sqrt(np.mean(moved**2)))
        assert np.abs(np.diff(moved, axis=2)).max() < 1.0  # smooth: nothing folds over
        np.testing.assert_array_equal(after_labels[inner], np.rint(after[1][inner]) < 80)
    # The strength is uniform between 0 and 3 pixels: its root mean square is 3 / sqrt(3).
    assert 1.3 < np.sqrt(np.mean(np.square(rms))) < 2.1


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
