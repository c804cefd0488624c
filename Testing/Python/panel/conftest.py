"""The unmodified module in SlicerShell."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY / "Testing"))
SlicerShell = pytest.importorskip("SlicerShell", reason="PySide6-Essentials and slicer-core are needed for the panel")


@pytest.fixture(scope="session")
def shell():
    """Slicer's surface; one per process."""
    session = SlicerShell.start()
    yield session
    session.exit()


@pytest.fixture(scope="session")
def module(shell):
    """slicer.modules.spineseg."""
    return shell.load_module(REPOSITORY / "SpineSeg" / "SpineSeg.py")


@pytest.fixture
def panel(shell, module):
    """The opened panel over an empty scene; what a slot raised fails the test."""
    import slicer

    slicer.mrmlScene.Clear()
    slicer.util.selectModule("SpineSeg")
    yield module.widgetRepresentation().self()
    slicer.mrmlScene.Clear()
    shell.dialogs.clear()
    assert not shell.take_errors()
