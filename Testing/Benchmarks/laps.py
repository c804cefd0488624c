"""A watch for work in stages of which one is measured in part."""

from __future__ import annotations

import time


class Laps:
    """`seconds` by stage. `skipped`: by how much less than these the work itself took, as a part was multiplied."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}
        self.skipped = 0.0

    def end(self, stage: str, times: float = 1.0) -> None:
        """What was done since the last stage was `times` this one."""
        now = time.perf_counter()
        self.seconds[stage] = (now - self._last) * times
        self.skipped += (now - self._last) * (times - 1)
        self._last = now

    def skip(self) -> None:
        """What was done since the last stage doesn't count."""
        now = time.perf_counter()
        self.skipped -= now - self._last
        self._last = now
