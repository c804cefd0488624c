"""A comparison as nodes that Slicer shows: tables, plots and the segments of what differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
import vtk

from SpineSegLib.engine.comparison.pair import EXTRA, MISSED
from SpineSegLib.engine.volume import Grid
from SpineSegLib.scene import charts, volume_nodes
from SpineSegLib.scene.volumes import RAS_TO_LPS

METRICS = (
    ("dice", "Dice", ""),
    ("jaccard", "Jaccard", ""),
    ("sensitivity", "Sensitivity", ""),
    ("specificity", "Specificity", ""),
    ("precision", "Precision", ""),
    ("f1", "F1", ""),
    ("accuracy", "Accuracy", ""),
    ("volume_ml", "Volume", "ml"),
    ("reference_volume_ml", "Reference volume", "ml"),
    ("volume_difference_ml", "Volume difference", "ml"),
    ("volume_difference_percent", "Volume difference", "%"),
    ("hausdorff_mm", "Hausdorff distance", "mm"),
    ("hausdorff_95_mm", "Hausdorff distance, 95 %", "mm"),
    ("assd_mm", "Average surface distance", "mm"),
    ("surface_dice", "Surface Dice", ""),
    ("true_positives", "True positives", "voxels"),
    ("true_negatives", "True negatives", "voxels"),
    ("false_positives", "False positives", "voxels"),
    ("false_negatives", "False negatives", "voxels"),
)
SLICE_COLUMNS = (
    ("position_mm", "S", "mm", float),
    ("dice", "Dice", "", float),
    ("area_mm2", "Area", "mm²", float),
    ("reference_area_mm2", "Reference area", "mm²", float),
    ("false_negatives", "Missed", "px", int),
    ("false_positives", "Extra", "px", int),
)
_SLICE_SERIES = ("Dice by slice points Dice", "Bland-Altman points Difference")
MISSED_COLOUR, EXTRA_COLOUR = (0.18, 0.45, 0.95), (0.95, 0.35, 0.1)


def metrics_table(result: dict[str, Any]) -> slicer.vtkMRMLTableNode:
    """Table with a row for each metric and a column for everything together and for each structure."""
    node = charts.own_node("vtkMRMLTableNode", "Comparison metrics")
    columns = [("All", result["metrics"])] + [(s["key"].capitalize(), s["metrics"]) for s in result["structures"]]
    table = vtk.vtkTable()
    charts.text_column(table, "Metric", [name for _, name, _ in METRICS])
    charts.text_column(table, "Unit", [unit for *_, unit in METRICS])
    for name, metrics in columns:
        charts.text_column(table, name, [_shown(metrics.get(key)) for key, *_ in METRICS])
    charts.fill(node, table)
    return node


def slices_table(result: dict[str, Any], order: Sequence[int]) -> slicer.vtkMRMLTableNode:
    """Table with a row for each axial slice that marks anything; S is its position as views show it.

    `order`: indices into the result's slices, the first row first.
    """
    node = charts.own_node("vtkMRMLTableNode", "Comparison by slice")
    table = vtk.vtkTable()
    for key, name, _, kind in SLICE_COLUMNS:
        values = [result["slices"][n][key] for n in order]
        charts.number_column(table, name, [value if value is None else round(value, 3) for value in values], kind)
    charts.fill(node, table)
    for _, name, unit, _ in SLICE_COLUMNS:
        node.SetColumnUnitLabel(name, unit)
        node.SetColumnTitle(name, f"{name} ({unit})" if unit else name)
    return node


def dice_chart(result: dict[str, Any]) -> slicer.vtkMRMLPlotChartNode:
    """Dice against the position of the slice; points are in the order of the result's slices."""
    node = charts.own_node("vtkMRMLTableNode", "Dice by slice points")
    table = vtk.vtkTable()
    charts.number_column(table, "S", [row["position_mm"] for row in result["slices"]], float)
    charts.number_column(table, "Dice", [row["dice"] for row in result["slices"]], float)
    charts.fill(node, table)
    series = charts.series("Dice by slice", node, "S", "Dice", (0.13, 0.4, 0.75), points=True, line=True)
    return charts.chart("Dice by slice", [series], "S (mm)", "Dice", legend=False)


def bland_altman_chart(result: dict[str, Any]) -> slicer.vtkMRMLPlotChartNode:
    """Difference of the area per slice against the mean of both, with bias and limits of agreement.

    Points are in the order of the slices.
    """
    own = np.array([row["area_mm2"] for row in result["slices"]], dtype=float)
    drawn = np.array([row["reference_area_mm2"] for row in result["slices"]], dtype=float)
    node = charts.own_node("vtkMRMLTableNode", "Bland-Altman points")
    table = vtk.vtkTable()
    charts.number_column(table, "Mean area", (own + drawn) / 2, float)
    charts.number_column(table, "Difference", own - drawn, float)
    charts.fill(node, table)
    shown = [charts.series("Slices", node, "Mean area", "Difference", (0.13, 0.4, 0.75), points=True, line=False)]
    agreement = result["bland_altman"]["mm2"]
    ends = [0.0, float(((own + drawn) / 2).max())] if len(own) else [0.0, 1.0]
    for key, name, colour in (
        ("bias", "Bias", (0.15, 0.15, 0.15)),
        ("lower", "Bias - 1.96 SD", (0.75, 0.2, 0.15)),
        ("upper", "Bias + 1.96 SD", (0.75, 0.2, 0.15)),
    ):
        if agreement[key] is None:
            continue
        line = charts.own_node("vtkMRMLTableNode", f"Bland-Altman {key}")
        table = vtk.vtkTable()
        charts.number_column(table, "Mean area", ends, float)
        charts.number_column(table, name, [agreement[key]] * 2, float)
        charts.fill(line, table)
        shown.append(
            charts.series(f"{name}: {agreement[key]:.1f} mm²", line, "Mean area", name, colour, points=False, line=True)
        )
    return charts.chart(
        "Bland-Altman: area per slice", shown, "Mean area (mm²)", "Prediction - reference (mm²)", legend=True
    )


def has_slices(series_id: str) -> bool:
    """Whether a plot series is one of those made here whose points stand for the slices of a comparison."""
    node = slicer.mrmlScene.GetNodeByID(series_id)
    return node is not None and node.GetAttribute(charts.ROLE) in _SLICE_SERIES


def difference_segmentation(difference: sitk.Image) -> slicer.vtkMRMLSegmentationNode:
    """Segments of what only the reference marks (missed) and what only the prediction marks (extra)."""
    node = charts.own_node("vtkMRMLSegmentationNode", "Comparison differences")
    node.CreateDefaultDisplayNodes()
    node.GetSegmentation().RemoveAllSegments()
    labels = slicer.vtkMRMLLabelMapVolumeNode()
    try:
        slicer.mrmlScene.AddNode(labels)
        volume_nodes.fill(labels, sitk.GetArrayViewFromImage(difference), Grid.of(difference))
        for value, name, colour in ((MISSED, "Missed", MISSED_COLOUR), (EXTRA, "Extra", EXTRA_COLOUR)):
            segment_id = node.GetSegmentation().AddEmptySegment(name, name, colour)
            chosen = slicer.vtkOrientedImageData()
            chosen.DeepCopy(_thresholded(labels, value))
            slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(chosen, node, segment_id)
    finally:
        slicer.mrmlScene.RemoveNode(labels)
    return node


def jump_to(focus_lps: Sequence[float]) -> None:
    """Let all slice views show a point (mm, LPS)."""
    ras = RAS_TO_LPS @ [*focus_lps, 1]
    slicer.vtkMRMLSliceNode.JumpAllSlices(
        slicer.mrmlScene, *ras[:3].tolist(), slicer.vtkMRMLSliceNode.CenteredJumpSlice
    )


def _thresholded(labels: slicer.vtkMRMLLabelMapVolumeNode, value: int) -> slicer.vtkOrientedImageData:
    image = slicer.vtkSlicerSegmentationsModuleLogic.CreateOrientedImageDataFromVolumeNode(labels)
    image.UnRegister(None)
    threshold = vtk.vtkImageThreshold()
    threshold.SetInputData(image)
    threshold.ThresholdBetween(value, value)
    threshold.SetInValue(1)
    threshold.SetOutValue(0)
    threshold.Update()
    chosen = slicer.vtkOrientedImageData()
    chosen.DeepCopy(threshold.GetOutput())
    chosen.CopyDirections(image)
    return chosen


def _shown(value: float | None) -> str:
    if value is None:
        return "undefined"
    return str(value) if isinstance(value, int) else f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
