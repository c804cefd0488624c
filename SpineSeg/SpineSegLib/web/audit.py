"""Who did what and when, without a word about patients."""

from __future__ import annotations

import json
import time
from pathlib import Path


class Audit:
    """Appends one JSON line an event to a file: time (UTC), user, event and numbers; never file names or DICOM."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, user: str, event: str, **numbers: int | float | str) -> None:
        """Note an event. Texts among `numbers` are words of ours (a kind of job or file), not of users."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"time": moment, "user": user, "event": event, **numbers})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
