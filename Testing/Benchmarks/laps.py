"""A watch for work in stages, of which one may be done in part: on some of many like parts, spread over the whole."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

SHARE = 0.02  # of the like parts that are done
LEAST = 2  # parts that are done at least, where there are as many


def chosen(parts: int, share: float) -> list[int]:
    """Which of the parts 0 to `parts` - 1 stand for all: a `share` of them, but `LEAST`, evenly spread; 1.0 is all."""
    count = min(parts, max(LEAST, math.ceil(share * parts)))
    return [(2 * n + 1) * parts // (2 * count) for n in range(count)]


class Laps:
    """`seconds` by stage. `skipped`: by how much less than these the work itself took, as a part was multiplied."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._last = clock()
        self.seconds: dict[str, float] = {}
        self.skipped = 0.0

    def end(self, stage: str, times: float = 1.0) -> None:
        """What was done since the last end is `stage`, or one more piece of it, and stands for `times` as much."""
        now = self._clock()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + (now - self._last) * times
        self.skipped += (now - self._last) * (times - 1)
        self._last = now

    def skip(self) -> None:
        """What was done since the last end doesn't count."""
        now = self._clock()
        self.skipped -= now - self._last
        self._last = now
