"""A scene as in Slicer, with the module logics that SpineSegLib.scene asks for; none of it outlives a test."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

slicer = pytest.importorskip("slicer")


@pytest.fixture(scope="session", autouse=True)
def converter_rules():
    """In Slicer the module Segmentations registers them."""
    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    rules = [
        slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule(),
        slicer.vtkClosedSurfaceToBinaryLabelmapConversionRule(),
    ]
    for rule in rules:
        factory.RegisterConverterRule(rule)


@pytest.fixture
def scene(monkeypatch):
    scene = slicer.vtkMRMLScene()
    logics = {
        "segmentations": slicer.vtkSlicerSegmentationsModuleLogic(),
        "terminologies": slicer.vtkSlicerTerminologiesModuleLogic(),
    }
    logics["segmentations"].SetMRMLScene(scene)  # registers the classes of nodes
    modules = SimpleNamespace(
        **{name: SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in logics.items()}
    )
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    monkeypatch.setattr(slicer, "modules", modules, raising=False)
    yield scene
    scene.Clear(True)
