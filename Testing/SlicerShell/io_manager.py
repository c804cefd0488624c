"""`slicer.app.coreIOManager()`: the readers and writers behind `slicer.util.loadVolume`, `saveNode`, `saveScene`..."""
# ruff: noqa: N801, N802 (names are Slicer's)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore

from .python_qt import cpp_class

ENDINGS = {
    ".seg.nrrd": "SegmentationFile",
    ".seg.vtm": "SegmentationFile",
    ".mrk.json": "MarkupsFile",
    ".fcsv": "MarkupsFile",
    ".mrml": "SceneFile",
    ".mrb": "SceneFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
    ".vtk": "ModelFile",
    ".vtp": "ModelFile",
    ".stl": "ModelFile",
    ".ply": "ModelFile",
    ".obj": "ModelFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
    ".txt": "TextFile",
    ".json": "TextFile",
    ".ctbl": "ColorTableFile",
}


@cpp_class
class qSlicerCoreIOManager(QtCore.QObject):
    """Loads and saves nodes and scenes by MRML's own storage nodes."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[str, Callable[[str, dict], Any]] = {
            "VolumeFile": _load_volume,
            "SegmentationFile": _load_segmentation,
            "ModelFile": lambda file, _: slicer.modules.models.logic().AddModel(file),
            "MarkupsFile": _load_markups,
            "TransformFile": lambda file, _: slicer.modules.transforms.logic().AddTransform(file, slicer.mrmlScene),
            "TableFile": lambda file, _: slicer.modules.tables.logic().AddTable(file),
            "TextFile": lambda file, _: slicer.modules.texts.logic().AddText(file),
            "ColorTableFile": lambda file, _: slicer.modules.colors.logic().LoadColorFile(file),
        }

    def fileType(self, filename: str) -> str:
        name = str(filename).lower()
        return next((kind for ending, kind in ENDINGS.items() if name.endswith(ending)), "VolumeFile")

    def fileWriterFileType(self, node: Any) -> str:
        return node.GetClassName().removeprefix("vtkMRML").removesuffix("Node") + "File"

    def loadNodes(self, kind: str, properties: dict, loaded: Any = None, messages: Any = None) -> bool:
        """Load `properties["fileName"]`; the new nodes are put into the collection `loaded`."""
        file = properties["fileName"]
        if not Path(file).exists():
            return False
        if kind == "SceneFile":
            return self.loadScene(file, properties.get("clear", False), messages)
        if kind not in self._readers:
            return False
        node = self._readers[kind](file, properties)
        if isinstance(node, str):
            node = slicer.mrmlScene.GetNodeByID(node)
        if node is None:
            return False
        if loaded is not None:
            loaded.AddItem(node)
        return True

    def loadScene(self, file: str, clear: bool = True, messages: Any = None) -> bool:
        """Open a .mrb or .mrml; without `clear` its nodes are added to those of the scene."""
        scene = slicer.mrmlScene
        if str(file).lower().endswith(".mrb"):
            return bool(scene.ReadFromMRB(str(file), clear, messages))
        scene.SetURL(str(file))
        return bool(scene.Connect(messages) if clear else scene.Import(messages))

    def saveNodes(self, kind: str, properties: dict, messages: Any = None) -> bool:
        if kind == "SceneFile":
            return self.saveScene(properties["fileName"], properties.get("screenShot"), messages)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        storage = node.GetStorageNode()
        if storage is None:
            node.AddDefaultStorageNode()
            storage = node.GetStorageNode()
        storage.SetFileName(str(properties["fileName"]))
        if "useCompression" in properties:
            storage.SetUseCompression(properties["useCompression"])
        done = storage.WriteData(node)
        if messages is not None:
            messages.AddMessages(storage.GetUserMessages())
        return bool(done)

    def saveScene(self, file: str, screenshot: Any = None, messages: Any = None) -> bool:
        """Save as .mrb, .mrml or, without such an ending, as a folder."""
        scene, name = slicer.mrmlScene, str(file)
        if name.lower().endswith(".mrb"):
            return bool(scene.WriteToMRB(name, None, messages))
        if name.lower().endswith(".mrml"):
            scene.SetURL(name)
            scene.SetRootDirectory(str(Path(name).parent))
            return bool(scene.Commit(name, messages))
        return bool(slicer.app.applicationLogic().SaveSceneToSlicerDataBundleDirectory(name, None, messages))


def _load_volume(file: str, properties: dict) -> Any:
    options = int(bool(properties.get("labelmap"))) | int(bool(properties.get("singleFile"))) << 2
    name = properties.get("name") or Path(file).name.split(".")[0]
    node = slicer.modules.volumes.logic().AddArchetypeVolume(file, name, options)
    if node is not None and properties.get("show", True):
        selection = slicer.app.applicationLogic().GetSelectionNode()
        if node.IsA("vtkMRMLLabelMapVolumeNode"):
            selection.SetActiveLabelVolumeID(node.GetID())
        else:
            selection.SetActiveVolumeID(node.GetID())
        slicer.app.applicationLogic().PropagateVolumeSelection()
    return node


def _load_segmentation(file: str, properties: dict) -> Any:
    return slicer.modules.segmentations.logic().LoadSegmentationFromFile(file, True, properties.get("name") or "")


def _load_markups(file: str, properties: dict) -> str | None:
    name = properties.get("name") or Path(file).name.split(".")[0]
    return slicer.modules.markups.logic().LoadMarkups(file, name)
