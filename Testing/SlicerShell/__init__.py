"""Slicer's Python surface where Slicer is not: see README.md in this folder.

import SlicerShell
shell = SlicerShell.start()          # from now on `import slicer, qt, ctk` is as inside Slicer
module = shell.load_module(".../SpineSeg/SpineSeg.py")
slicer.util.selectModule("SpineSeg")
"""

from __future__ import annotations

from .dialogs import UnansweredDialog
from .session import Session

__all__ = ["Session", "UnansweredDialog", "start"]

_session: Session | None = None


def start(version: str = "5.12.0") -> Session:
    """Start Slicer's surface in this process, or give the one that is there.

    Raises RuntimeError where another version was started.
    """
    global _session
    if _session is None:
        _session = Session(version)
        _session.begin()
    elif _session.version != version:
        raise RuntimeError(f"Slicer {_session.version} was started already; {version} needs a process of its own")
    return _session
