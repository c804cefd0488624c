"""qMRMLPlotView: a plot chart node drawn by VTK's own charts, offscreen."""
# ruff: noqa: N801, N802, N815 (names are Slicer's)

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Signal
from vtk.util.numpy_support import vtk_to_numpy

from .node_widgets import HoldsScene, checked, qMRMLWidget
from .python_qt import cpp_class
from .scene_observer import Observations
from .views import NoOpenGL, rendering_problem


@cpp_class
class qMRMLPlotView(HoldsScene, QtWidgets.QWidget):
    """Shows the chart that its view node names: series as lines with or without points, as points, or as bars."""

    dataSelected = Signal(object, object)
    _cpp_signals = {  # noqa: RUF012
        "dataSelected(vtkStringArray*,vtkCollection*)": "dataSelected(PyObject,PyObject)",
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        QtWidgets.QWidget.__init__(self, parent)
        self._node: slicer.vtkMRMLPlotViewNode | None = None
        self._observations = Observations(self)
        self._context: Any = None
        self._shown = vtk.vtkChartXY()
        self._series_ids: list[str] = []
        self._shown.AddObserver("SelectionChangedEvent", lambda *_: self._emit_selection())
        self.setMinimumSize(120, 90)

    def chart(self) -> vtk.vtkChartXY:
        """VTK's chart, for what the nodes don't offer."""
        return self._shown

    def _emit_selection(self) -> None:
        """IDs of the series of which points are selected, and the points' indices, one vtkIdTypeArray for each."""
        series, selections = vtk.vtkStringArray(), vtk.vtkCollection()
        for index, series_id in enumerate(self._series_ids):
            selection = self._shown.GetPlot(index).GetSelection()
            if selection is not None and selection.GetNumberOfValues():
                series.InsertNextValue(series_id)
                selections.AddItem(selection)
        self.dataSelected.emit(series, selections)

    def mrmlPlotViewNode(self) -> slicer.vtkMRMLPlotViewNode | None:
        return self._node

    def setMRMLPlotViewNode(self, node: slicer.vtkMRMLPlotViewNode | None) -> None:
        self._node = checked(node, "vtkMRMLPlotViewNode")
        self._observe()

    def _observe(self) -> None:
        self._observations.stop()
        chart = None if self._node is None else self._node.GetPlotChartNode()
        series = (
            [] if chart is None else [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]
        )
        tables = [each.GetTableNode() for each in series]
        for each in (self._node, chart, *series, *tables):
            if each is not None:
                self._observations.observe(each, vtk.vtkCommand.ModifiedEvent, qMRMLPlotView._modified)
        self._fill()
        self.update()

    def _modified(self, _: Any) -> None:
        self._observe()

    def _fill(self) -> None:
        """Let the chart show what the nodes say now."""
        chart, self._series_ids = self._shown, []
        chart.ClearPlots()
        node = None if self._node is None else self._node.GetPlotChartNode()
        chart.SetTitle(node.GetTitle() if node is not None and node.GetTitleVisibility() and node.GetTitle() else "")
        if node is None:
            return
        chart.SetShowLegend(bool(node.GetLegendVisibility()))
        for place, name in ((vtk.vtkAxis.BOTTOM, "XAxis"), (vtk.vtkAxis.LEFT, "YAxis")):
            axis = chart.GetAxis(place)
            title, visible, auto, ends = (
                getattr(node, f"Get{name}{what}")() for what in ("Title", "TitleVisibility", "RangeAuto", "Range")
            )
            axis.SetTitle(title if visible and title else "")
            axis.SetGridVisible(bool(node.GetGridVisibility()))
            axis.SetBehavior(vtk.vtkAxis.AUTO if auto else vtk.vtkAxis.FIXED)
            if not auto:
                axis.SetRange(*ends)
        for index in range(node.GetNumberOfPlotSeriesNodes()):
            self._add_series(chart, node.GetNthPlotSeriesNode(index))

    def _add_series(self, chart: vtk.vtkChartXY, series: slicer.vtkMRMLPlotSeriesNode) -> None:
        table = None if series.GetTableNode() is None else series.GetTableNode().GetTable()
        if table is None or table.GetColumnByName(series.GetYColumnName()) is None:
            return
        bars = series.GetPlotType() == slicer.vtkMRMLPlotSeriesNode.PlotTypeBar
        plot = chart.AddPlot(vtk.vtkChart.BAR if bars else vtk.vtkChart.LINE)
        self._series_ids.append(series.GetID())
        if series.GetPlotType() == slicer.vtkMRMLPlotSeriesNode.PlotTypeLine or not series.GetXColumnName():
            plot.SetInputData(table, series.GetYColumnName(), series.GetYColumnName())
            plot.SetUseIndexForXSeries(True)
        else:
            plot.SetInputData(table, series.GetXColumnName(), series.GetYColumnName())
        red, green, blue = series.GetColor()
        plot.SetColorF(red, green, blue)
        plot.SetWidth(series.GetLineWidth())
        plot.SetLabel(series.GetName())
        if not bars:
            plot.GetPen().SetLineType(series.GetLineStyle())
            plot.SetMarkerStyle(series.GetMarkerStyle())
            plot.SetMarkerSize(series.GetMarkerSize())

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        try:
            painter.drawImage(0, 0, self._rendered())
        except NoOpenGL as problem:
            painter.drawText(self.rect, 0, str(problem))
        finally:
            painter.end()

    def _rendered(self) -> QtGui.QImage:
        problem = rendering_problem()
        if problem:
            raise NoOpenGL(problem)
        if self._context is None:
            self._context = vtk.vtkContextView()
            self._context.GetRenderWindow().SetOffScreenRendering(True)
            self._context.GetRenderWindow().SetMultiSamples(0)
            self._context.GetRenderer().SetBackground(1, 1, 1)
            self._context.GetScene().AddItem(self._shown)
        window = self._context.GetRenderWindow()
        window.SetSize(max(self.width, 1), max(self.height, 1))
        window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        width, height, _ = grabber.GetOutput().GetDimensions()
        pixels = vtk_to_numpy(grabber.GetOutput().GetPointData().GetScalars()).reshape(height, width, -1)[::-1].copy()
        return QtGui.QImage(pixels.data, width, height, 3 * width, QtGui.QImage.Format_RGB888).copy()


@cpp_class
class qMRMLPlotWidget(qMRMLWidget):
    """A plot view in its frame."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._view = qMRMLPlotView()
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._view)

    def plotView(self) -> qMRMLPlotView:
        return self._view

    def mrmlPlotViewNode(self) -> slicer.vtkMRMLPlotViewNode | None:
        return self._view.mrmlPlotViewNode()

    def setMRMLPlotViewNode(self, node: slicer.vtkMRMLPlotViewNode | None) -> None:
        self._view.setMRMLPlotViewNode(node)


WIDGETS = (qMRMLPlotView, qMRMLPlotWidget)
