"""`slicer.app.layoutManager()`: which views there are, arranged as MRML's layout node says."""
# ruff: noqa: N801, N802, N815 (names are Slicer's)

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Signal

from .plot_view import qMRMLPlotWidget
from .python_qt import CppProperty, cpp_class
from .scene_observer import Observations
from .table_views import qMRMLTableWidget
from .views import qMRMLSliceWidget, qMRMLThreeDWidget

SLICES = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


@cpp_class
class qSlicerLayoutManager(QtCore.QObject):
    """Makes the views' nodes and logics at once, their widgets when they are asked for."""

    layoutChanged = Signal(int)

    def __init__(self, scene: Any, application_logic: Any) -> None:
        super().__init__()
        self._scene = scene
        self._layout_logic = slicer.vtkMRMLLayoutLogic()
        self._layout_logic.SetMRMLApplicationLogic(application_logic)
        self._layout_logic.SetMRMLScene(scene)
        self._layout_logic.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        for factory in (
            slicer.vtkMRMLSliceViewDisplayableManagerFactory,
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
        ):
            factory.GetInstance().SetMRMLApplicationLogic(application_logic)
        self._slice_logics: dict[str, Any] = {}
        for name, orientation in SLICES.items():
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLApplicationLogic(application_logic)
            application_logic.GetSliceLogics().AddItem(logic)
            logic.SetMRMLScene(scene)
            node = scene.GetNodeByID(f"vtkMRMLSliceNode{name}") or logic.AddSliceNode(name)
            logic.SetSliceNode(node)
            node.SetOrientation(orientation)
            node.SetOrientationToDefault()
            self._slice_logics[name] = logic
        self._view_logic = slicer.vtkMRMLViewLogic()
        self._view_logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetViewLogics().AddItem(self._view_logic)
        # Its node comes with the layout; the logic finds it by this name.
        self._view_logic.SetName("1")
        self._view_logic.SetMRMLScene(scene)
        self._slices: dict[str, qMRMLSliceWidget] = {}
        self._three_d: qMRMLThreeDWidget | None = None
        self._others: dict[str, QtWidgets.QWidget] = {}
        self._viewport: QtWidgets.QWidget | None = None
        self._observations = Observations(self)
        node = self._layout_logic.GetLayoutNode()
        self._observations.observe(node, vtk.vtkCommand.ModifiedEvent, lambda self, _: self._arrange())
        self._arranged = -1

    layout = CppProperty(
        int,
        lambda self: self._layout_logic.GetLayoutNode().GetViewArrangement(),
        lambda self, arrangement: self.setLayout(arrangement),
    )
    sliceViewCount = CppProperty(int, lambda self: len(self._slice_logics))
    threeDViewCount = CppProperty(int, lambda self: 1)
    tableViewCount = CppProperty(int, lambda self: len(self._nodes("vtkMRMLTableViewNode")))
    plotViewCount = CppProperty(int, lambda self: len(self._nodes("vtkMRMLPlotViewNode")))

    def _nodes(self, kind: str) -> list[Any]:
        """The layout's view nodes of one kind."""
        nodes = self._layout_logic.GetViewNodes()
        found = [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]
        return [each for each in found if each.IsA(kind)]

    def layoutLogic(self) -> Any:
        return self._layout_logic

    def setLayout(self, arrangement: int) -> None:
        self._layout_logic.GetLayoutNode().SetViewArrangement(int(arrangement))

    def mrmlSliceLogics(self) -> Any:
        return slicer.app.applicationLogic().GetSliceLogics()

    def mrmlViewLogics(self) -> Any:
        return slicer.app.applicationLogic().GetViewLogics()

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._slice_logics)

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        if name not in self._slice_logics:
            return None
        if name not in self._slices:
            self._slices[name] = qMRMLSliceWidget(self._slice_logics[name])
            self._slices[name].setMRMLScene(self._scene)
        return self._slices[name]

    def threeDWidget(self, index: int) -> qMRMLThreeDWidget | None:
        if index != 0:
            return None
        if self._three_d is None:
            self._three_d = qMRMLThreeDWidget(self._view_logic)
            self._three_d.setMRMLScene(self._scene)
        return self._three_d

    def plotWidget(self, index: int) -> qMRMLPlotWidget | None:
        nodes = self._nodes("vtkMRMLPlotViewNode")
        if not 0 <= index < len(nodes):
            return None
        identifier = nodes[index].GetID()
        if identifier not in self._others:
            self._others[identifier] = qMRMLPlotWidget()
            self._others[identifier].setMRMLScene(self._scene)
            self._others[identifier].setMRMLPlotViewNode(nodes[index])
        return self._others[identifier]

    def tableWidget(self, index: int) -> qMRMLTableWidget | None:
        nodes = self._nodes("vtkMRMLTableViewNode")
        if not 0 <= index < len(nodes):
            return None
        identifier = nodes[index].GetID()
        if identifier not in self._others:
            self._others[identifier] = qMRMLTableWidget()
            self._others[identifier].setMRMLScene(self._scene)
            self._others[identifier].setMRMLTableViewNode(nodes[index])
        return self._others[identifier]

    def resetSliceViews(self) -> None:
        for each in self._slice_logics.values():
            each.FitSliceToAll()

    def resetThreeDViews(self) -> None:
        self.threeDWidget(0).threeDView().resetFocalPoint()

    def setRenderPaused(self, paused: bool) -> None:
        if paused:
            slicer.app.pauseRender()
        else:
            slicer.app.resumeRender()

    def viewport(self) -> QtWidgets.QWidget:
        """The widget that holds the views in their arrangement."""
        if self._viewport is None:
            self._viewport = QtWidgets.QWidget()
            grid = QtWidgets.QGridLayout(self._viewport)
            grid.setContentsMargins(2, 2, 2, 2)
            grid.setSpacing(2)
            self._arrange()
        return self._viewport

    def _arrange(self) -> None:
        """Four views, the one that the layout node asks for, or slices below 3D and plot."""
        arrangement = self.layout
        if self._viewport is None or arrangement == self._arranged:
            return
        self._arranged = arrangement
        node = slicer.vtkMRMLLayoutNode
        single = {
            node.SlicerLayoutOneUpRedSliceView: "Red",
            node.SlicerLayoutOneUpYellowSliceView: "Yellow",
            node.SlicerLayoutOneUpGreenSliceView: "Green",
            node.SlicerLayoutOneUp3DView: "3D",
        }.get(arrangement)
        grid = self._viewport.layout()
        # row, column, rows, columns; the grid has six columns
        places = {"Red": (0, 0, 1, 3), "3D": (0, 3, 1, 3), "Green": (1, 0, 1, 3), "Yellow": (1, 3, 1, 3)}
        below = [(2, 0, 1, 6)]
        if arrangement == node.SlicerLayoutConventionalPlotView:
            places = {"3D": (0, 0, 1, 3), "Red": (1, 0, 1, 2), "Yellow": (1, 2, 1, 2), "Green": (1, 4, 1, 2)}
            below = [(0, 3, 1, 3)]
        for name, place in places.items():
            widget = self.threeDWidget(0) if name == "3D" else self.sliceWidget(name)
            grid.addWidget(widget, *place)
            widget.setVisible(single in (None, name))
        shown = [self.plotWidget(index) for index in range(self.plotViewCount)]
        shown += [self.tableWidget(index) for index in range(self.tableViewCount)]
        for each in self._others.values():
            each.setVisible(each in shown)
        if len(shown) == 2:
            below = [(2, 0, 1, 3), (2, 3, 1, 3)]
        for each, place in zip(shown, below, strict=False):
            grid.addWidget(each, *place)
        grid.setRowStretch(0, 1)
        grid.setRowStretch(1, 1)
        grid.setRowStretch(2, 1 if shown and below[0][0] == 2 else 0)
        for column in range(6):
            grid.setColumnStretch(column, 1)
        self.layoutChanged.emit(arrangement)
