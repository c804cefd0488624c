"""How long segmenting still takes, as the worker says it. By a clock of the test's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from SpineSegLib.engine.search import LOOK_EVERY
from SpineSegLib.jobs.segment import _Clock

SLICE, LOOK, COMPILING = 1.0, 6.0, 30.0  # s


def finished_at(count: int, step: int) -> list[float]:
    """When each of `count` slices is done: a look, of which the first compiles, then the slices between it and the one
    before, then the one that was looked at."""
    times, now = [], COMPILING
    for look in sorted({*range(0, count, step), count - 1}):
        now += LOOK
        for _ in range(look - len(times)):
            now += SLICE
            times.append(now)
        times.append(now)
    return times


@pytest.mark.parametrize("thickness", [1.0, 2.0, 5.0])
def test_what_is_said_comes_true(thickness):
    step = round(LOOK_EVERY / thickness)
    count = 5 * step + 1
    times = finished_at(count, step)
    now = [0.0]
    segmentation = SimpleNamespace(left_to_compute=count, grid=SimpleNamespace(spacing=(thickness, 1.0, 1.0)))
    clock = _Clock(segmentation, False, lambda: now[0])
    assert clock.seconds_left() is None
    said = {}
    for left, now[0] in zip(range(count - 1, -1, -1), times, strict=True):
        segmentation.left_to_compute = left
        said[left] = clock.seconds_left()
        assert (said[left] is None) == (left > count - 1 - step)
        if said[left]:
            # between two looks it is too much by the next one at most, for as many slices as are left
            truth = times[-1] - now[0]
            done = count - 1 - left
            assert said[left] == pytest.approx(truth, abs=LOOK * left / done + LOOK)
    assert said[count - 1 - step] == pytest.approx(times[-1] - times[step], abs=0.05)
    assert said[0] == 0


def test_without_looks_every_slice_tells():
    now = [100.0]
    segmentation = SimpleNamespace(left_to_compute=50, grid=SimpleNamespace(spacing=(1.0, 1.0, 1.0)))
    clock = _Clock(segmentation, True, lambda: now[0])
    assert clock.seconds_left() is None
    segmentation.left_to_compute = 49  # the first one compiles
    assert clock.seconds_left() is None
    now[0], segmentation.left_to_compute = 102.0, 48
    assert clock.seconds_left() == 96.0
