"""Tables, plot series and charts of the scene that SpineSeg fills again and again."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
import vtk

ROLE = "SpineSeg.Role"  # attribute of the nodes made here; what comes next takes the place of what was before


def own_node(kind: str, name: str) -> slicer.vtkMRMLNode:
    """The node of this kind that has been made for this before, or a new one."""
    for node in slicer.util.getNodesByClass(kind):
        if node.GetAttribute(ROLE) == name:
            return node
    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    node.SetAttribute(ROLE, name)
    return node


def series(
    name: str,
    table: slicer.vtkMRMLTableNode,
    x: str,
    y: str,
    colour: tuple[float, float, float],
    points: bool,
    line: bool,
) -> slicer.vtkMRMLPlotSeriesNode:
    """Columns x and y of a table as points, as a line or both."""
    node = own_node("vtkMRMLPlotSeriesNode", f"{table.GetName()} {y}")
    node.SetName(name)
    node.SetAndObserveTableNodeID(table.GetID())
    node.SetXColumnName(x)
    node.SetYColumnName(y)
    node.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    node.SetLineStyle(
        slicer.vtkMRMLPlotSeriesNode.LineStyleSolid if line else slicer.vtkMRMLPlotSeriesNode.LineStyleNone
    )
    node.SetMarkerStyle(
        slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle if points else slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone
    )
    node.SetColor(*colour)
    return node


def chart(
    name: str, series: Sequence[slicer.vtkMRMLPlotSeriesNode], x: str, y: str, legend: bool
) -> slicer.vtkMRMLPlotChartNode:
    """Series in one picture with the titles of the axes."""
    node = own_node("vtkMRMLPlotChartNode", name)
    node.RemoveAllPlotSeriesNodeIDs()
    for each in series:
        node.AddAndObservePlotSeriesNodeID(each.GetID())
    node.SetTitle(name)
    node.SetXAxisTitle(x)
    node.SetYAxisTitle(y)
    node.SetLegendVisibility(legend)
    return node


def fill(node: slicer.vtkMRMLTableNode, table: vtk.vtkTable) -> None:
    """Let a table node show these columns, which users can't edit."""
    node.SetAndObserveTable(table)
    for n in range(table.GetNumberOfColumns()):
        node.SetColumnTitle(table.GetColumnName(n), table.GetColumnName(n))
    node.SetLocked(True)
    node.SetUseColumnTitleAsColumnHeader(True)


def text_column(table: vtk.vtkTable, name: str, values: Sequence[str]) -> None:
    """Add a column of text."""
    column = vtk.vtkStringArray()
    column.SetName(name)
    for value in values:
        column.InsertNextValue(value)
    table.AddColumn(column)


def number_column(table: vtk.vtkTable, name: str, values: Sequence[float | None], kind: type) -> None:
    """Add a column of int or float; a float that is None becomes NaN."""
    column = vtk.vtkIntArray() if kind is int else vtk.vtkDoubleArray()
    column.SetName(name)
    for value in values:
        column.InsertNextValue(float("nan") if value is None else kind(value))
    table.AddColumn(column)
