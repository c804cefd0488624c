"""Observing VTK objects from widgets, without keeping the widgets alive and without calling them once they are gone."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
import vtk
from PySide6 import QtCore


class Observations:
    """What one widget observes."""

    def __init__(self, owner: QtCore.QObject) -> None:
        self.owner = weakref.ref(owner)
        self.made: list[tuple[Any, int]] = []

    def observe(self, subject: Any, event: int | str, method: Callable[[Any, Any], None]) -> None:
        """Call `method(owner, call data)` at each `event`; a scene's events bring a node, others None."""
        owner = self.owner

        def forward(caller: Any, event_id: Any, call_data: Any = None) -> None:
            target = owner()
            if target is not None and shiboken6.isValid(target):
                method(target, call_data)

        # Other subjects send texts and numbers, which must not be taken for objects.
        if subject.IsA("vtkMRMLScene"):
            forward.CallDataType = vtk.VTK_OBJECT
        self.made.append((subject, subject.AddObserver(event, forward)))

    def stop(self, subject: Any = None) -> None:
        """Observe `subject` no more, or nothing any more."""
        for each, tag in self.made:
            if subject is None or each is subject:
                each.RemoveObserver(tag)
        self.made = [] if subject is None else [each for each in self.made if each[0] is not subject]
