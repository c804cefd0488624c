"""Tables: of a table node's columns (qMRMLTableView) and of a segmentation's segments (qMRMLSegmentsTableView)."""
# ruff: noqa: N801, N802, N815 (names are Slicer's)

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Signal

from .node_widgets import HoldsScene, checked, qMRMLWidget
from .python_qt import CppProperty, cpp_class, cpp_property
from .scene_observer import Observations


@cpp_class
class qMRMLTableModel(QtCore.QAbstractTableModel):
    """Shows a vtkMRMLTableNode: titles of columns at the top, or in the first row where they can be edited."""

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self._node: slicer.vtkMRMLTableNode | None = None
        self._transposed = False
        self._observations = Observations(self)

    def _show(self, node: slicer.vtkMRMLTableNode | None) -> None:
        self._observations.stop()
        self.beginResetModel()
        self._node = node
        self.endResetModel()
        if node is not None:
            self._observations.observe(node, vtk.vtkCommand.ModifiedEvent, qMRMLTableModel._modified)

    def _modified(self, _: Any) -> None:
        self.beginResetModel()
        self.endResetModel()

    def _shape(self) -> tuple[int, int]:
        if self._node is None:
            return 0, 0
        return self._node.GetNumberOfRows(), self._node.GetNumberOfColumns()

    def rowCount(self, parent: QtCore.QModelIndex = QtCore.QModelIndex()) -> int:  # noqa: B008 (as in Qt)
        return 0 if parent.isValid() else self._shape()[self._transposed]

    def columnCount(self, parent: QtCore.QModelIndex = QtCore.QModelIndex()) -> int:  # noqa: B008 (as in Qt)
        return 0 if parent.isValid() else self._shape()[not self._transposed]

    def _place(self, index: QtCore.QModelIndex) -> tuple[int, int]:
        return (index.column(), index.row()) if self._transposed else (index.row(), index.column())

    def data(self, index: QtCore.QModelIndex, role: int = QtCore.Qt.DisplayRole) -> Any:
        row, column = self._place(index)
        if role not in (QtCore.Qt.DisplayRole, QtCore.Qt.EditRole) or self._node is None:
            return None
        value = self._node.GetTable().GetValue(row, column)
        if value.IsFloat() or value.IsDouble():
            return f"{value.ToDouble():.6g}"
        return value.ToString()

    def headerData(self, section: int, orientation: QtCore.Qt.Orientation, role: int = QtCore.Qt.DisplayRole) -> Any:
        if role != QtCore.Qt.DisplayRole or self._node is None:
            return None
        names_here = (orientation == QtCore.Qt.Horizontal) != self._transposed
        return self._node.GetColumnName(section) if names_here else str(section + 1)

    def flags(self, index: QtCore.QModelIndex) -> QtCore.Qt.ItemFlag:
        basic = QtCore.Qt.ItemIsEnabled | QtCore.Qt.ItemIsSelectable
        return basic if self._node is None or self._node.GetLocked() else basic | QtCore.Qt.ItemIsEditable

    def setData(self, index: QtCore.QModelIndex, value: Any, role: int = QtCore.Qt.EditRole) -> bool:
        if role != QtCore.Qt.EditRole or self._node is None:
            return False
        row, column = self._place(index)
        return bool(self._node.SetCellText(row, column, str(value)))


@cpp_class
class qMRMLTableView(HoldsScene, QtWidgets.QTableView):
    """Shows a table node."""

    mrmlSceneChanged = Signal(object)
    cellsSelected = Signal()
    _cpp_signals = {  # noqa: RUF012
        "mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged(PyObject)",
        "selectionChanged()": "cellsSelected()",
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        QtWidgets.QTableView.__init__(self, parent)
        self._model = qMRMLTableModel(self)
        self._observations = Observations(self)
        self.setModel(self._model)
        self.selectionModel().selectionChanged.connect(lambda *_: self.cellsSelected.emit())

    def _transpose(self) -> None:
        self._model._transposed = self.transposed
        self._model._modified(None)

    transposed = cpp_property(bool, False, _transpose)
    firstRowLocked = cpp_property(bool, False)
    firstColumnLocked = cpp_property(bool, False)

    def _scene_changed(self) -> None:
        self._observations.stop()
        if self._scene is not None:
            self._observations.observe(self._scene, slicer.vtkMRMLScene.EndBatchProcessEvent, qMRMLTableView._forget)
        self.mrmlSceneChanged.emit(self._scene)

    def _forget(self, _: Any) -> None:
        """As Slicer's does: it then shows the table of its view node, and a view in a panel has none."""
        self.setMRMLTableNode(None)

    def mrmlTableNode(self) -> slicer.vtkMRMLTableNode | None:
        return self._model._node

    def setMRMLTableNode(self, node: slicer.vtkMRMLTableNode | None) -> None:
        self._model._show(checked(node, "vtkMRMLTableNode"))
        self.cellsSelected.emit()

    def tableModel(self) -> qMRMLTableModel:
        return self._model

    def copySelection(self) -> None:
        """The selected cells as text with tabs, on the clipboard."""
        rows: dict[int, list[str]] = {}
        for index in sorted(self.selectedIndexes(), key=lambda each: (each.row(), each.column())):
            rows.setdefault(index.row(), []).append(str(index.data()))
        QtWidgets.QApplication.clipboard().setText("\n".join("\t".join(each) for each in rows.values()))


@cpp_class
class qMRMLSegmentsTableView(qMRMLWidget):
    """The segments of a segmentation node: visibility, colour, opacity, name."""

    selectionChanged = Signal(object, object)
    segmentAboutToBeModified = Signal(str)
    _cpp_signals = {  # noqa: RUF012
        **qMRMLWidget._cpp_signals,
        "selectionChanged(QItemSelection,QItemSelection)": "selectionChanged(PyObject,PyObject)",
    }
    COLUMNS = ("Visible", "Color", "Opacity", "Name")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._hidden: tuple[str, ...] = ()
        self._table = QtWidgets.QTableWidget(0, len(self.COLUMNS))
        self._table.setHorizontalHeaderLabels(self.COLUMNS)
        self._table.verticalHeader().hide()
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectRows)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._table)
        self._observations = Observations(self)
        self._filling = False
        self._table.itemChanged.connect(self._edited)
        self._table.selectionModel().selectionChanged.connect(lambda *both: self.selectionChanged.emit(*both))

    def _apply(self) -> None:
        self._table.horizontalHeader().setVisible(self.headerVisible)
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode(self.selectionMode))
        shown = (self.visibilityColumnVisible, self.colorColumnVisible, self.opacityColumnVisible)
        for index, visible in enumerate(shown):
            self._table.setColumnHidden(index, not visible)
        self._fill()

    selectionMode = cpp_property(int, 3, _apply)
    headerVisible = cpp_property(bool, True, _apply)
    visibilityColumnVisible = cpp_property(bool, True, _apply)
    colorColumnVisible = cpp_property(bool, True, _apply)
    opacityColumnVisible = cpp_property(bool, True, _apply)
    statusColumnVisible = cpp_property(bool, False)
    layerColumnVisible = cpp_property(bool, False)
    readOnly = cpp_property(bool, False, _apply)
    filterBarVisible = cpp_property(bool, False)
    textFilter = cpp_property(str, "", _apply)
    jumpToSelectedSegmentEnabled = cpp_property(bool, False)
    segmentCount = CppProperty(int, lambda self: self._table.rowCount)

    def segmentationNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        return self._node

    def setSegmentationNode(self, node: slicer.vtkMRMLNode | None) -> None:
        self._observations.stop()
        self._node = checked(node, "vtkMRMLSegmentationNode")
        if node is not None:
            kind = slicer.vtkSegmentation
            for event in (kind.SegmentAdded, kind.SegmentRemoved, kind.SegmentModified, kind.SegmentsOrderModified):
                self._observations.observe(node, event, lambda self, _: self._fill())
            self._observations.observe(
                node, slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, lambda self, _: self._fill()
            )
        self._fill()

    def _shown_ids(self) -> list[str]:
        if self._node is None:
            return []
        segmentation = self._node.GetSegmentation()
        wanted = self.textFilter.lower()
        return [
            each
            for each in segmentation.GetSegmentIDs()
            if each not in self._hidden and wanted in segmentation.GetSegment(each).GetName().lower()
        ]

    def _fill(self) -> None:
        selected = self.selectedSegmentIDs()
        self._filling = True
        try:
            identifiers = self._shown_ids()
            self._table.setRowCount(len(identifiers))
            for row, identifier in enumerate(identifiers):
                self._fill_row(row, identifier)
        finally:
            self._filling = False
        self.setSelectedSegmentIDs([each for each in selected if each in identifiers])

    def _fill_row(self, row: int, identifier: str) -> None:
        segment, display = self._node.GetSegmentation().GetSegment(identifier), self._node.GetDisplayNode()
        editable = QtCore.Qt.NoItemFlags if self.readOnly else QtCore.Qt.ItemIsEditable | QtCore.Qt.ItemIsUserCheckable
        visible, colour, opacity, name = items = [QtWidgets.QTableWidgetItem() for _ in self.COLUMNS]
        shown = display is None or display.GetSegmentVisibility(identifier)
        visible.setData(QtCore.Qt.CheckStateRole, QtCore.Qt.Checked if shown else QtCore.Qt.Unchecked)
        colour.setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
        opacity.setText(f"{1.0 if display is None else display.GetSegmentOpacity3D(identifier):.2f}")
        name.setText(segment.GetName())
        for column, item in enumerate(items):
            item.setData(QtCore.Qt.UserRole, identifier)
            item.setFlags(QtCore.Qt.ItemIsEnabled | QtCore.Qt.ItemIsSelectable | editable)
            self._table.setItem(row, column, item)

    def _edited(self, item: QtWidgets.QTableWidgetItem) -> None:
        if self._filling:
            return
        identifier = item.data(QtCore.Qt.UserRole)
        self.segmentAboutToBeModified.emit(identifier)
        column, display = self.COLUMNS[item.column()], self._node.GetDisplayNode()
        if column == "Name":
            self._node.GetSegmentation().GetSegment(identifier).SetName(item.text())
        elif column == "Visible" and display is not None:
            display.SetSegmentVisibility(identifier, item.checkState() == QtCore.Qt.Checked)

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        rows = sorted({each.row() for each in self._table.selectedIndexes()})
        return tuple(self.segmentIDForRow(each) for each in rows)

    def setSelectedSegmentIDs(self, identifiers: list[str] | tuple[str, ...]) -> None:
        if isinstance(identifiers, str) or not all(isinstance(each, str) for each in identifiers):
            raise ValueError(f"Called setSelectedSegmentIDs(QStringList) with wrong arguments: {identifiers!r}")
        if tuple(identifiers) == self.selectedSegmentIDs():
            return
        self._table.clearSelection()
        flags = QtCore.QItemSelectionModel.Select | QtCore.QItemSelectionModel.Rows
        for each in identifiers:
            row = self.rowForSegmentID(each)
            if row >= 0:
                self._table.selectionModel().select(self._table.model().index(row, 0), flags)

    def clearSelection(self) -> None:
        self._table.clearSelection()

    def rowForSegmentID(self, identifier: str) -> int:
        return next((row for row in range(self._table.rowCount) if self.segmentIDForRow(row) == identifier), -1)

    def segmentIDForRow(self, row: int) -> str:
        item = self._table.item(row, 0)
        return "" if item is None else item.data(QtCore.Qt.UserRole)

    def displayedSegmentIDs(self) -> tuple[str, ...]:
        return tuple(self._shown_ids())

    def setHideSegments(self, identifiers: list[str]) -> None:
        self._hidden = tuple(identifiers)
        self._fill()

    def hideSegments(self) -> tuple[str, ...]:
        return self._hidden

    def tableWidget(self) -> QtWidgets.QTableWidget:
        return self._table


@cpp_class
class qMRMLTableWidget(qMRMLWidget):
    """A table view in its frame, as a view of the layout."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._view = qMRMLTableView()
        self._node: slicer.vtkMRMLTableViewNode | None = None
        self._observations = Observations(self)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._view)

    def _scene_changed(self) -> None:
        super()._scene_changed()
        self._view.setMRMLScene(self._scene)

    def tableView(self) -> qMRMLTableView:
        return self._view

    def mrmlTableViewNode(self) -> slicer.vtkMRMLTableViewNode | None:
        return self._node

    def setMRMLTableViewNode(self, node: slicer.vtkMRMLTableViewNode | None) -> None:
        self._observations.stop()
        self._node = checked(node, "vtkMRMLTableViewNode")
        if node is not None:
            self._observations.observe(node, vtk.vtkCommand.ModifiedEvent, lambda self, _: self._show())
            self._show()

    def _show(self) -> None:
        if self._view.mrmlTableNode() is not self._node.GetTableNode():
            self._view.setMRMLTableNode(self._node.GetTableNode())


WIDGETS = (qMRMLTableView, qMRMLTableWidget, qMRMLSegmentsTableView)
