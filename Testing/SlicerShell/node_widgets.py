"""Slicer's widgets that show and choose nodes of a scene, over real MRML.

They have the properties, slots and signals that their C++ headers declare to Qt, since these are what PythonQt shows.
"""
# ruff: noqa: N801, N802, N815 (names are Slicer's)

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Signal

from .python_qt import CppProperty, cpp_class, cpp_property
from .scene_observer import Observations


def checked(value: Any, class_name: str) -> Any:
    """`value` if it is None or of that class. Raises ValueError as PythonQt does for a wrong argument."""
    if value is not None and not (isinstance(value, vtk.vtkObjectBase) and value.IsA(class_name)):
        raise ValueError(f"Could not find matching overload: {class_name} expected, {value!r} given")
    return value


class HoldsScene:
    """A widget with `mrmlScene()` and the slot `setMRMLScene()`."""

    _scene: slicer.vtkMRMLScene | None = None

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        if checked(scene, "vtkMRMLScene") is not self._scene:
            self._scene = scene
            self._scene_changed()

    def _scene_changed(self) -> None:
        """For widgets that follow their scene."""


@cpp_class
class qMRMLWidget(HoldsScene, QtWidgets.QWidget):
    """A widget that holds a scene and passes it on to those inside by its signal."""

    mrmlSceneChanged = Signal(object)
    _cpp_signals = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged(PyObject)"}  # noqa: RUF012

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        QtWidgets.QWidget.__init__(self, parent)

    def _scene_changed(self) -> None:
        self.mrmlSceneChanged.emit(self._scene)


@cpp_class
class qSlicerWidget(qMRMLWidget):
    """The same by its older name."""


@cpp_class
class qMRMLNodeComboBox(HoldsScene, QtWidgets.QWidget):
    """A combo box of the scene's nodes of some types; it follows nodes added, removed and renamed."""

    currentNodeChanged = Signal(object)
    currentNodeValid = Signal(bool)
    currentNodeIDChanged = Signal(str)
    currentNodeRenamed = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAddedByUserAction = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeAboutToBeEdited = Signal(object)
    _cpp_signals = {  # noqa: RUF012
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged(PyObject)",
        "currentNodeChanged(bool)": "currentNodeValid(bool)",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated(PyObject)",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded(PyObject)",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser(PyObject)",
        "nodeAddedByUserAction(vtkMRMLNode*)": "nodeAddedByUserAction(PyObject)",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemoved(PyObject)",
        "nodeAboutToBeEdited(vtkMRMLNode*)": "nodeAboutToBeEdited(PyObject)",
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        QtWidgets.QWidget.__init__(self, parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox()
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        row.addWidget(self._box)
        self._current_id = ""
        self._nodes: list[slicer.vtkMRMLNode] = []
        self._attributes: dict[str, dict[str, str | None]] = {}
        self._labels: dict[str, str] = {}
        self._scene_observations = Observations(self)
        self._node_observations = Observations(self)
        self._box.activated.connect(self._activated)
        # Grey until there is a scene.
        self._box.setEnabled(False)

    def _refresh(self) -> None:
        """Take the nodes that pass the filters anew, and show them."""
        self._nodes = (
            []
            if self._scene is None
            else [each for each in slicer.util.getNodesByClass("vtkMRMLNode", self._scene) if self._passes(each)]
        )
        self._node_observations.stop()
        for each in self._nodes:
            self._node_observations.observe(each, vtk.vtkCommand.ModifiedEvent, qMRMLNodeComboBox._node_modified)
        self._show_items()

    def _show_items(self) -> None:
        self._box.clear()
        if self.noneEnabled:
            self._box.addItem(self.noneDisplay, "")
        for each in self._nodes:
            self._box.addItem(each.GetName() or "", each.GetID())
        current = self.currentNode()
        actions = []
        if self.renameEnabled and current is not None:
            actions.append((f"Rename current {self._label(current.GetClassName())}...", self.renameCurrentNode))
        if self.editEnabled and current is not None:
            actions.append((f"Edit current {self._label(current.GetClassName())}...", self.editCurrentNode))
        if self.addEnabled:
            for kind in self.nodeTypes:
                actions.append((f"Create new {self._label(kind)}", lambda kind=kind: self._add_by_user(kind)))
        if self.removeEnabled and current is not None:
            actions.append((f"Delete current {self._label(current.GetClassName())}", self.removeCurrentNode))
        if actions:
            self._box.insertSeparator(self._box.count)
        for text, act in actions:
            self._box.addItem(text, act)
        self._box.setCurrentIndex(self._box.findData(self._current_id) if self._current_id or self.noneEnabled else -1)

    nodeTypes = cpp_property("QStringList", (), lambda self: self._filters_changed())
    showHidden = cpp_property(bool, False, lambda self: self._filters_changed())
    showChildNodeTypes = cpp_property(bool, True, lambda self: self._filters_changed())
    hideChildNodeTypes = cpp_property("QStringList", (), lambda self: self._filters_changed())
    noneEnabled = cpp_property(bool, False, lambda self: self._filters_changed())
    noneDisplay = cpp_property(str, "None", _show_items)
    addEnabled = cpp_property(bool, True, _show_items)
    removeEnabled = cpp_property(bool, True, _show_items)
    editEnabled = cpp_property(bool, False, _show_items)
    renameEnabled = cpp_property(bool, False, _show_items)
    baseName = cpp_property(str, "")
    selectNodeUponCreation = cpp_property(bool, True)
    interactionNodeSingletonTag = cpp_property(str, "Singleton")
    currentNodeID = CppProperty(
        str, lambda self: self._current_id, lambda self, identifier: self.setCurrentNodeID(identifier)
    )
    currentNodeId = currentNodeID
    sizeAdjustPolicy = CppProperty(
        int, lambda self: int(self._box.sizeAdjustPolicy), lambda self, policy: self._set_policy(policy)
    )

    def _set_policy(self, policy: int) -> None:
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy(policy))

    def _passes(self, node: slicer.vtkMRMLNode) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if any(node.IsA(each) for each in self.hideChildNodeTypes):
            return False
        kinds = [each for each in self.nodeTypes if self._is_kind(node, each)]
        return any(
            all(
                node.GetAttribute(name) is not None and wanted in (None, node.GetAttribute(name))
                for name, wanted in self._attributes.get(kind, {}).items()
            )
            for kind in kinds
        )

    def _is_kind(self, node: slicer.vtkMRMLNode, kind: str) -> bool:
        return node.IsA(kind) if self.showChildNodeTypes else node.GetClassName() == kind

    def _filters_changed(self) -> None:
        self._refresh()
        if self.currentNode() is None:
            self._select_default()

    def _scene_changed(self) -> None:
        self._scene_observations.stop()
        self._box.setEnabled(self._scene is not None)
        if self._scene is not None:
            kind, observe = slicer.vtkMRMLScene, self._scene_observations.observe
            observe(self._scene, kind.NodeAddedEvent, qMRMLNodeComboBox._node_added)
            observe(self._scene, kind.NodeAboutToBeRemovedEvent, qMRMLNodeComboBox._node_leaves)
            observe(self._scene, kind.NodeRemovedEvent, qMRMLNodeComboBox._node_removed)
            observe(self._scene, kind.EndBatchProcessEvent, lambda self, _: self._batch_ended())
        self._filters_changed()
        if self.currentNode() is None:
            self._select(None)

    def _batch_ended(self) -> None:
        self._refresh()
        if self._current_id and self.currentNode() is None:
            self._select(None)

    def _select_default(self) -> None:
        """Where nothing may be chosen only by accident, the first node is chosen."""
        if not self.noneEnabled and self._nodes:
            self._select(self._nodes[0])
        elif self._current_id:
            self._select(None)

    def _node_added(self, node: slicer.vtkMRMLNode) -> None:
        if node is None or not self._passes(node):
            return
        self._refresh()
        self.nodeAdded.emit(node)
        self.nodeAddedByUser.emit(node)
        # While a scene is loaded, what was chosen in it may come later.
        importing = self._scene.IsImporting()
        if self.currentNode() is None and not self.noneEnabled and len(self._nodes) == 1 and not importing:
            self._select(node)

    def _node_leaves(self, node: slicer.vtkMRMLNode) -> None:
        if node in self._nodes:
            self.nodeAboutToBeRemoved.emit(node)

    def _node_removed(self, node: slicer.vtkMRMLNode) -> None:
        if node not in self._nodes:
            return
        was_current = node.GetID() == self._current_id
        self._nodes.remove(node)
        self._refresh()
        if was_current:
            self._select(self._nodes[0] if self._nodes and not self.noneEnabled else None)

    def _node_modified(self, _: Any = None) -> None:
        passing = [each for each in self._nodes if self._passes(each)]
        if len(passing) != len(self._nodes):
            self._filters_changed()
            return
        for each in passing:
            index = self._box.findData(each.GetID())
            if self._box.itemText(index) != (each.GetName() or ""):
                self._box.setItemText(index, each.GetName() or "")
                if each.GetID() == self._current_id:
                    self.currentNodeRenamed.emit(each.GetName())

    def _select(self, node: slicer.vtkMRMLNode | None) -> None:
        identifier = "" if node is None else node.GetID()
        changed = identifier != self._current_id
        self._current_id = identifier
        self._show_items()
        if changed:
            self.currentNodeChanged.emit(node)
            self.currentNodeIDChanged.emit(identifier)
            self.currentNodeValid.emit(node is not None)

    def _activated(self, index: int) -> None:
        """The person chose a line of the list."""
        data = self._box.itemData(index)
        if callable(data):
            self._show_items()
            data()
            return
        node = self._scene.GetNodeByID(data) if data else None
        self._select(node)
        self.nodeActivated.emit(node)

    def _label(self, kind: str) -> str:
        if kind in self._labels:
            return self._labels[kind]
        sample = slicer.mrmlScene.CreateNodeByClass(kind)
        if sample is None:
            return kind
        sample.UnRegister(None)
        return sample.GetTypeDisplayName() if hasattr(sample, "GetTypeDisplayName") else sample.GetNodeTagName()

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        return next((each for each in self._nodes if each.GetID() == self._current_id), None)

    def setCurrentNode(self, node: slicer.vtkMRMLNode | str | None) -> None:
        """A node that isn't in the list makes it None."""
        if isinstance(node, str):
            self.setCurrentNodeID(node)
            return
        if checked(node, "vtkMRMLNode") is not None and node not in self._nodes:
            self._refresh()
        self._select(node if node in self._nodes else None)

    def setCurrentNodeID(self, identifier: str) -> None:
        if not isinstance(identifier, str):
            raise ValueError(f"Called setCurrentNodeID(QString) with wrong arguments: {identifier!r}")
        self.setCurrentNode(self._scene.GetNodeByID(identifier) if self._scene is not None and identifier else None)

    def setCurrentNodeIndex(self, index: int) -> None:
        self._select(self.nodeFromIndex(index))

    def nodeCount(self) -> int:
        return len(self._nodes)

    def nodeFromIndex(self, index: int) -> slicer.vtkMRMLNode | None:
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def addAttribute(self, kind: str, name: str, value: str | None = None) -> None:
        self._attributes.setdefault(kind, {})[name] = None if value is None else str(value)
        self._filters_changed()

    def removeAttribute(self, kind: str, name: str) -> None:
        self._attributes.get(kind, {}).pop(name, None)
        self._filters_changed()

    def setNodeTypeLabel(self, label: str, kind: str) -> None:
        self._labels[kind] = label
        self._show_items()

    def nodeTypeLabel(self, kind: str) -> str:
        return self._labels.get(kind, "")

    def addNode(self, kind: str = "") -> slicer.vtkMRMLNode | None:
        """A new node of the (first) type, named by the base name."""
        kind = kind or self.nodeTypes[0]
        if kind not in self.nodeTypes or self._scene is None:
            return None
        node = self._scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self.baseName or node.GetNodeTagName()))
        for name, value in self._attributes.get(kind, {}).items():
            node.SetAttribute(name, value or "")
        self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self._select(node)
        return node

    def _add_by_user(self, kind: str) -> None:
        node = self.addNode(kind)
        self.nodeAddedByUserAction.emit(node)

    def removeCurrentNode(self) -> None:
        if self.currentNode() is not None:
            self._scene.RemoveNode(self.currentNode())

    def editCurrentNode(self) -> None:
        self.nodeAboutToBeEdited.emit(self.currentNode())

    def renameCurrentNode(self) -> None:
        node = self.currentNode()
        name = QtWidgets.QInputDialog.getText(self, f"Rename {node.GetName()}", "New name:") if node else ""
        if name:
            node.SetName(name)

    def addMenuAction(self, action: Any) -> None:
        self._box.addItem(action.text, action.trigger)


@cpp_class
class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """Chooses a segmentation node and one of its segments."""

    currentNodeChanged = Signal(object)
    currentSegmentChanged = Signal(str)
    _cpp_signals = {  # noqa: RUF012
        **qMRMLWidget._cpp_signals,
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged(PyObject)",
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._node_box = qMRMLNodeComboBox()
        self._node_box.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._node_box.addEnabled = self._node_box.removeEnabled = False
        self._segment_box = QtWidgets.QComboBox()
        column.addWidget(self._node_box)
        column.addWidget(self._segment_box)
        self._observations = Observations(self)
        self._segment_id = ""
        self._node_box.currentNodeChanged.connect(self._node_changed)
        self._segment_box.currentIndexChanged.connect(self._segment_changed)

    noneEnabled = cpp_property(bool, False, lambda self: setattr(self._node_box, "noneEnabled", self.noneEnabled))
    segmentationNodeSelectorVisible = cpp_property(
        bool, True, lambda self: self._node_box.setVisible(self.segmentationNodeSelectorVisible)
    )

    def _scene_changed(self) -> None:
        super()._scene_changed()
        self._node_box.setMRMLScene(self._scene)

    def _node_changed(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        self._observations.stop()
        if node is not None:
            for event in (
                slicer.vtkSegmentation.SegmentAdded,
                slicer.vtkSegmentation.SegmentRemoved,
                slicer.vtkSegmentation.SegmentModified,
            ):
                self._observations.observe(node, event, lambda self, _: self._show_segments())
        self._show_segments()
        self.currentNodeChanged.emit(node)

    def _show_segments(self) -> None:
        wanted = self._segment_id
        was_blocked = self._segment_box.blockSignals(True)
        self._segment_box.clear()
        node = self.currentNode()
        for identifier in node.GetSegmentation().GetSegmentIDs() if node is not None else ():
            self._segment_box.addItem(node.GetSegmentation().GetSegment(identifier).GetName(), identifier)
        kept = self._segment_box.findData(wanted) if wanted else -1
        self._segment_box.setCurrentIndex(kept if kept >= 0 else (0 if self._segment_box.count else -1))
        self._segment_box.blockSignals(was_blocked)
        self._segment_changed()

    def _segment_changed(self, *_: int) -> None:
        identifier = self._segment_box.itemData(self._segment_box.currentIndex) or ""
        if identifier != self._segment_id:
            self._segment_id = identifier
            self.currentSegmentChanged.emit(identifier)

    def currentNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        return self._node_box.currentNode()

    def currentNodeID(self) -> str:
        return self._node_box.currentNodeID

    def currentSegmentID(self) -> str:
        return self._segment_id

    def setCurrentNode(self, node: slicer.vtkMRMLNode | None) -> None:
        self._node_box.setCurrentNode(node)

    def setCurrentNodeID(self, identifier: str) -> None:
        self._node_box.setCurrentNodeID(identifier)

    def setCurrentSegmentID(self, identifier: str) -> None:
        self._segment_box.setCurrentIndex(self._segment_box.findData(identifier))


WIDGETS = (qMRMLWidget, qSlicerWidget, qMRMLNodeComboBox, qMRMLSegmentSelectorWidget)
