"""The shell, started once, with an empty scene for every test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import SlicerShell  # noqa: E402

SAMPLE = HERE / "sample_module" / "ShellSample.py"


@pytest.fixture(scope="session")
def session() -> SlicerShell.Session:
    return SlicerShell.start()


@pytest.fixture
def shell(session: SlicerShell.Session) -> Iterator[SlicerShell.Session]:
    """The session with nothing in it; fails where an exception left a slot and the test didn't take it."""
    others = set(session.scripted)
    yield session
    for name in set(session.scripted) - others:
        session.unload_module(name)
    import slicer

    slicer.mrmlScene.Clear()
    session.dialogs.clear()
    session.pip.clear()
    errors = session.take_errors()
    assert not errors


@pytest.fixture
def panel(shell: SlicerShell.Session) -> Any:
    """The sample module's panel, shown."""
    import slicer

    module = shell.load_module(SAMPLE)
    slicer.util.selectModule("ShellSample")
    return module.widgetRepresentation().self()
