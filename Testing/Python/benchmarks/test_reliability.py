"""Counts by probability, and how far they are from what was promised."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.Benchmarks.reliability import count, draw, expected_error


def test_probabilities_that_keep_their_promise_have_no_error():
    rng = np.random.default_rng(0)
    probability = rng.random((20, 200, 200)).astype(np.float32)
    counts = count(probability, rng.random(probability.shape) < probability)
    assert counts[:, 0].sum() == probability.size
    assert expected_error(counts) < 0.005


def test_what_promises_too_much_is_found_out():
    probability = np.full((10, 10), 0.9, np.float32)
    truth = np.zeros((10, 10), bool)
    truth[:6] = True  # 60 % are spine where 90 % were promised
    counts = count(probability, truth)
    assert counts[9].tolist() == pytest.approx([100, 60, 90], abs=1e-4)
    assert expected_error(counts) == pytest.approx(0.3, abs=1e-6)


def test_certain_voxels_fall_into_the_outer_bins(tmp_path):
    counts = count(np.array([0.0, 1.0]), np.array([False, True]))
    assert counts[0].tolist() == [1, 0, 0]
    assert counts[-1].tolist() == [1, 1, 1]
    draw(counts, "default 2", tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
