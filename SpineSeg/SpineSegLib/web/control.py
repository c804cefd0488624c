"""What a session's process and the gateway tell each other: JSON lines on stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any


class Control:
    """The session's end. Made before anything else: from then on nothing else gets through on stdout.

    `settings` is what the gateway said first.
    """

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)  # libraries print what they like
        self.settings: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
        self._turn_changed = asyncio.Event()
        self._position: int | None = None

    def listen(self, ended: Callable[[], None]) -> None:
        """Take messages from now on, on the running loop; `ended` is called when the gateway has gone."""
        loop = asyncio.get_running_loop()

        def read() -> None:
            for line in sys.stdin.buffer:
                loop.call_soon_threadsafe(self._take, json.loads(line))
            loop.call_soon_threadsafe(ended)

        threading.Thread(target=read, daemon=True).start()

    def say(self, **message: Any) -> None:
        """Tell the gateway."""
        self._out.write(json.dumps(message).encode() + b"\n")

    def audit(self, event: str, **numbers: int | float | str) -> None:
        """Have an event noted in the audit log; nothing about patients."""
        self.say(audit=event, numbers=numbers)

    @asynccontextmanager
    async def turn(self, job: str, waiting: Callable[[int], None]) -> AsyncIterator[None]:
        """Wait for this session's turn to compute and keep it while the block runs.

        `waiting` gets the place in the queue, 1 being next, whenever it changes, and 0 at last.
        """
        self._position = None
        self.say(job=job)
        try:
            while self._position != 0:
                await self._turn_changed.wait()
                self._turn_changed.clear()
                waiting(self._position)
            yield
        finally:
            self.say(job=None)

    def _take(self, message: dict[str, Any]) -> None:
        self._position = message["position"]
        self._turn_changed.set()
