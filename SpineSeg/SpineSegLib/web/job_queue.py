"""Whose turn it is to compute: in the order of asking, so many at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable


class JobQueue:
    """`tell(who, position)` is called when somebody's position changes: 0 it is your turn, 1 you are next."""

    def __init__(self, at_once: int, tell: Callable[[Hashable, int], None]) -> None:
        self._at_once = at_once
        self._tell = tell
        self._running: list[Hashable] = []
        self._waiting: list[Hashable] = []

    def __contains__(self, who: Hashable) -> bool:
        return who in self._running or who in self._waiting

    def join(self, who: Hashable) -> None:
        """Wait for a turn; who waits or computes already stays where it is."""
        if who not in self:
            self._waiting.append(who)
            self._advance(changed_from=len(self._waiting) - 1)

    def leave(self, who: Hashable) -> None:
        """Give the turn back, or stop waiting."""
        if who in self._running:
            self._running.remove(who)
            self._advance(changed_from=0)
        elif who in self._waiting:
            place = self._waiting.index(who)
            self._waiting.remove(who)
            self._advance(changed_from=place)

    def _advance(self, changed_from: int) -> None:
        while self._waiting and len(self._running) < self._at_once:
            changed_from = 0
            self._running.append(self._waiting.pop(0))
            self._tell(self._running[-1], 0)
        for place in range(changed_from, len(self._waiting)):
            self._tell(self._waiting[place], place + 1)
