"""Where there is foreground, without looking at all of it again."""

import numpy as np
import pytest
from SpineSegLib.engine import probabilities
from SpineSegLib.engine.probabilities import Probabilities, most_probable, sparse_zeros


def test_memory_that_runs_out_is_told_as_such(monkeypatch):
    def refuse(*_arguments, **_named):
        raise OSError(12, "Cannot allocate memory")

    assert not sparse_zeros((2, 3)).any()
    monkeypatch.setattr(probabilities.mmap, "mmap", refuse)
    with pytest.raises(MemoryError):
        sparse_zeros((2, 3))


def test_the_first_of_the_most_probable_labels_is_taken():
    for kind in (np.uint8, np.float32):
        values = np.random.default_rng(0).integers(0, 5, (4, 30, 30)).astype(kind)
        np.testing.assert_array_equal(most_probable(values), np.argmax(values, axis=0))


def test_boxes_hold_the_foreground_that_was_looked_at():
    """Two labels of 64 reach a half only together; rows 10 to 29 and columns 20 to 59 of a larger grid are known."""
    found = Probabilities(np.zeros((2, 6, 20, 40), np.uint8), 0.5, (10, 20))
    rows, columns = slice(10, 30), slice(20, 60)
    found.values[:, 2, 3:5, 7:9] = 64
    found.values[0, 3, 9, 30] = 127
    found.values[1, 4, 19, 39] = 128
    assert found.box(slice(0, 6), 1) is None
    for z in range(6):
        found.look(z, rows, columns)
    assert found.box(slice(2, 3), 0) == (slice(2, 3), slice(13, 15), slice(27, 29))
    assert found.box(slice(1, 4), 2) == (slice(1, 4), slice(11, 17), slice(25, 31))  # not beyond these slices
    assert found.box(slice(0, 6), 3) == (slice(0, 6), slice(10, 30), slice(24, 60))  # nor beyond what is known
    assert found.box(slice(3, 4), 0) is None
    np.testing.assert_array_equal(found.part(*found.box(slice(2, 3), 0)), np.full((2, 1, 2, 2), 64))


def test_looking_at_several_windows_of_a_slice():
    found = Probabilities(np.zeros((1, 3, 20, 20), np.uint8), 0.5)
    found.values[0, 1, 4, 5] = found.values[0, 1, 15, 16] = 255
    found.look(1, slice(0, 10), slice(2, 12))
    assert found.box(slice(0, 3), 0) == (slice(1, 2), slice(4, 5), slice(5, 6))
    found.look(1, slice(10, 20), slice(10, 20))
    assert found.box(slice(0, 3), 0) == (slice(1, 2), slice(4, 16), slice(5, 17))
