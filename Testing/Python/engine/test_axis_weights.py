"""Weights along one axis, against numpy and against conservation laws."""

import numpy as np
import pytest
from SpineSegLib.engine.axis_weights import average_weights, axis_weights, linear_weights, narrowed, resample_plane


def test_linear_weights_are_numpys_interpolation():
    values = np.random.default_rng(0).normal(size=17)
    positions = np.array([-3.0, -0.4, 0.0, 0.3, 7.999, 12.5, 16.0, 18.2])
    expected = np.interp(positions, np.arange(17), values)
    np.testing.assert_allclose(linear_weights(17, positions) @ values, expected, atol=1e-6)


def test_average_weights_are_means_of_what_is_covered():
    fine = np.repeat(np.random.default_rng(1).normal(size=30), 100)  # each sample as 100 equal pieces
    starts, length = np.array([0.0, 0.25, 3.9, 27.0]), 2.75
    expected = [fine[round(100 * s) : round(100 * (s + length))].mean() for s in starts]
    np.testing.assert_allclose(average_weights(30, starts, length) @ fine[::100], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("count", "spacing", "target_count", "target_spacing"), [(512, 0.3, 154, 1.0), (50, 3.0, 150, 1.0)]
)
def test_rows_sum_to_one_and_centres_agree(count, spacing, target_count, target_spacing):
    weights = axis_weights(count, spacing, target_count, target_spacing)
    np.testing.assert_allclose(np.asarray(weights.sum(axis=1)).ravel(), 1, atol=1e-6)
    ramp = (np.arange(count) - (count - 1) / 2) * spacing
    expected = (np.arange(target_count) - (target_count - 1) / 2) * target_spacing
    inside = np.abs(expected) < ramp[-1] - target_spacing
    np.testing.assert_allclose((weights @ ramp)[inside], expected[inside], atol=0.02)


def test_averaging_keeps_noise_from_aliasing():
    noise = np.random.default_rng(2).normal(size=(60, 600)).astype(np.float32)
    smaller = resample_plane(noise, axis_weights(60, 0.25, 15, 1.0), axis_weights(600, 0.25, 150, 1.0))
    assert smaller.shape == (15, 150)
    assert smaller.std() == pytest.approx(1 / 4, rel=0.1)  # mean of 4 x 4 independent values


def test_same_spacing_changes_nothing():
    plane = np.random.default_rng(3).normal(size=(8, 9)).astype(np.float32)
    same = resample_plane(plane, axis_weights(8, 0.7, 8, 0.7), axis_weights(9, 0.7, 9, 0.7))
    np.testing.assert_array_equal(same, plane)


def test_single_sample():
    assert axis_weights(1, 5.0, 3, 1.0, offset=2.0).toarray().tolist() == [[1.0], [1.0], [1.0]]


@pytest.mark.parametrize("target_spacing", [0.4, 1.0, 2.3])
def test_narrowed_weights_use_nothing_else(target_spacing):
    values = np.random.default_rng(3).normal(size=40)
    weights = axis_weights(40, 1.0, round(40 / target_spacing), target_spacing)
    part, samples = narrowed(weights, slice(5, 9))
    np.testing.assert_allclose(part @ values[samples], (weights @ values)[5:9], atol=1e-6)
    assert samples.stop - samples.start <= 4 * target_spacing + 2


def test_what_the_panel_opens_with_is_imported_without_scipy(run_python):
    """It would take a third of the time in which the panel opens."""
    modules = ("axial", "stored_labels", "exchange", "uncertainty", "files.writing", "training.training_set")
    program = "import sys\n" + "\n".join(f"import SpineSegLib.engine.{name}" for name in modules)
    assert run_python(f"{program}\nprint('scipy' in sys.modules)").strip() == "False"
