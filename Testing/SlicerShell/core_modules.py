"""Slicer's own modules: `slicer.modules.<name>` with their real logics, and the manager that knows all modules."""
# ruff: noqa: N801, N802, N815 (names are Slicer's)

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Signal

from .node_widgets import qMRMLWidget
from .python_qt import cpp_class, cpp_property

# Name of the module and of the class of its logic; modules without a logic in slicer-core have None.
CORE_MODULES = {
    "Annotations": "vtkSlicerAnnotationModuleLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Colors": "vtkSlicerColorLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Reformat": "vtkSlicerReformatLogic",
    "SceneViews": "vtkSlicerSceneViewsModuleLogic",
    "SegmentEditor": None,
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "ViewControllers": "vtkSlicerViewControllersLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}


# Terminologies that Slicer brings, here with the one entry that new segments get.
TISSUE = {
    "CodingSchemeDesignator": "SCT",
    "CodeValue": "85756007",
    "CodeMeaning": "Tissue",
}
TERMINOLOGIES = (
    "SegmentationCategoryTypeModifier-SlicerGeneralAnatomy.term.json",
    "SegmentationCategoryTypeModifier-DICOM-Master.term.json",
)
SCHEMAS = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/"
REGIONS = "AnatomicRegionAndModifier-DICOM-Master.term.json"


def write_share_files(application_logic: Any) -> str:
    """The files of Slicer's installation that logics read when they start, as small as can be; gives their folder."""
    home = Path(slicer.app.slicerHome)
    share = home / slicer.app.slicerSharePath
    colours = share / "ColorFiles"
    colours.mkdir(parents=True)
    lines = [f"{i} Label_{i} {37 * i % 256} {91 * i % 256} {151 * i % 256} 255" for i in range(1, 256)]
    (colours / "GenericColors.txt").write_text("# Generic colours\n0 Black 0 0 0 0\n" + "\n".join(lines) + "\n")
    for name in TERMINOLOGIES:
        kind = {**TISSUE, "recommendedDisplayRGBValue": [128, 174, 128]}
        context = {
            "@schema": f"{SCHEMAS}segment-context-schema.json#",
            "SegmentationCategoryTypeContextName": name.removeprefix("SegmentationCategoryTypeModifier-").split(".")[0],
            "SegmentationCodes": {"Category": [{**TISSUE, "showAnatomy": True, "Type": [kind]}]},
        }
        (share / name).write_text(json.dumps(context))
    regions = {
        "@schema": f"{SCHEMAS}anatomic-context-schema.json#",
        "AnatomicContextName": "Anatomic codes - DICOM master list",
        "AnatomicCodes": {"AnatomicRegion": []},
    }
    (share / REGIONS).write_text(json.dumps(regions))
    application_logic.SetHomeDirectory(str(home))
    application_logic.SetShareDirectory(slicer.app.slicerSharePath)
    return str(share)


class Modules:
    """`slicer.modules`: an attribute for each module that is there, and nothing else."""


@cpp_class
class qSlicerCoreModule(QtCore.QObject):
    """A module written in C++, of which only the logic is real."""

    def __init__(self, name: str, logic: Any) -> None:
        super().__init__()
        self._logic = logic
        self._widget: qMRMLWidget | None = None
        self._set_name(name)

    def _set_name(self, name: str) -> None:
        self.__dict__["_property_name"] = name
        self.__dict__["_property_title"] = name

    name = cpp_property(str, "")
    title = cpp_property(str, "")
    path = cpp_property(str, "")

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> qMRMLWidget:
        """An empty page: the widgets of Slicer's own modules aren't in slicer-core."""
        if self._widget is None:
            self._widget = qMRMLWidget()
            column = QtWidgets.QVBoxLayout(self._widget)
            column.addWidget(QtWidgets.QLabel(self.title))
            self._widget.setMRMLScene(slicer.mrmlScene)
        return self._widget


@cpp_class
class qSlicerModuleFactoryManager(QtCore.QObject):
    """Knows the names of the modules."""

    def __init__(self, manager: qSlicerModuleManager) -> None:
        super().__init__(manager)
        self._manager = manager

    def loadedModuleNames(self) -> tuple[str, ...]:
        return tuple(self._manager._modules)

    def isLoaded(self, name: str) -> bool:
        return name in self._manager._modules


@cpp_class
class qSlicerModuleManager(QtCore.QObject):
    """Holds all modules by name, and tells when one comes or goes."""

    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)
    moduleUnloaded = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, Any] = {}
        self._factory = qSlicerModuleFactoryManager(self)

    def factoryManager(self) -> qSlicerModuleFactoryManager:
        return self._factory

    def module(self, name: str) -> Any:
        return self._modules.get(name)

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(self._modules)

    def _add(self, module: Any) -> None:
        self._modules[module.name] = module
        setattr(slicer.modules, module.name.lower(), module)
        self.moduleLoaded.emit(module.name)

    def _remove(self, name: str) -> None:
        self.moduleAboutToBeUnloaded.emit(name)
        del self._modules[name]
        for attribute in (name.lower(), f"{name}Widget", f"{name}Instance"):
            slicer.modules.__dict__.pop(attribute, None)
        self.moduleUnloaded.emit(name)


def add_core_modules(manager: qSlicerModuleManager, application_logic: Any, scene: Any) -> None:
    """Make the logics as Slicer's application does and register them by the names that other logics look for."""
    share = write_share_files(application_logic)
    for name, class_name in CORE_MODULES.items():
        logic = None if class_name is None else getattr(slicer, class_name)()
        if logic is not None:
            if hasattr(logic, "SetModuleShareDirectory"):
                logic.SetModuleShareDirectory(share)
            logic.SetMRMLApplicationLogic(application_logic)
            logic.SetMRMLScene(scene)
            application_logic.SetModuleLogic(name, logic)
        manager._add(qSlicerCoreModule(name, logic))
