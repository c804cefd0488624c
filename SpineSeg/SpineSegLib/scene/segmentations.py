"""Segmentation nodes: where a result can go, new ones, what their segments are, and layers of voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from SpineSegLib.engine.segments import Segment
from SpineSegLib.scene.terminology import type_code_of
from SpineSegLib.scene.volumes import ijk_to_ras, is_regular, matrix_array

BINARY = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
SURFACE = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
KEY_TAG = "SpineSeg.Key"  # which of the engine's segments a segment of the scene is

GEOMETRY = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
REFERENCE_ROLE = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
Logic = slicer.vtkSlicerSegmentationsModuleLogic


def segmentation_problem(
    segmentation_node: slicer.vtkMRMLSegmentationNode | None, volume_node: slicer.vtkMRMLVolumeNode
) -> str | None:
    """One sentence that says why the result for the volume can't go into the node, or None where it can.

    None as node means a new one, which is always possible.
    """
    if segmentation_node is None:
        return None
    if segmentation_node.GetScene() is None:
        return "The segmentation is no longer in the scene; choose another or a new one."
    if not segmentation_node.GetSelectable():
        return "The segmentation is locked; unlock it or choose a new one."
    segmentation = segmentation_node.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0:
        return None
    if drawn_on_another(segmentation_node, volume_node):
        return "The segmentation belongs to another CT; choose a new one."
    if segmentation.GetSourceRepresentationName() != BINARY:
        return "The segmentation is made of surfaces, which can't show voxels; choose another or a new one."
    if labelmap_matrix(volume_node, segmentation_node) is None:
        return "The segmentation is transformed differently from the CT; choose another or a new one."
    return None


def drawn_on_another(segmentation_node: slicer.vtkMRMLSegmentationNode, volume_node: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether the node has segments, and the volume that gave them their grid is another one of the scene."""
    reference = segmentation_node.GetNodeReference(REFERENCE_ROLE)
    if reference is None or reference is volume_node:
        return False
    return segmentation_node.GetSegmentation().GetNumberOfSegments() > 0


def new_segmentation(volume_node: slicer.vtkMRMLVolumeNode) -> slicer.vtkMRMLSegmentationNode:
    """An empty segmentation on the exact grid of the volume, under the same transform, beside it in the hierarchy."""
    scene = volume_node.GetScene()
    name = scene.GenerateUniqueName(f"{volume_node.GetName()} spine")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.GetSegmentation().SetSourceRepresentationName(BINARY)
    take_place_of(node, volume_node)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    volume_item = hierarchy.GetItemByDataNode(volume_node)
    parent = hierarchy.GetItemParent(volume_item) if volume_item else hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:  # without Slicer's plugins no item comes by itself
        hierarchy.CreateItem(parent, node)
    return node


def remove_segmentation(segmentation_node: slicer.vtkMRMLSegmentationNode) -> None:
    """Remove the node with its display and storage nodes and its place in the subject hierarchy."""
    scene = segmentation_node.GetScene()
    if scene is None:
        return
    displays = [segmentation_node.GetNthDisplayNode(n) for n in range(segmentation_node.GetNumberOfDisplayNodes())]
    storages = [segmentation_node.GetNthStorageNode(n) for n in range(segmentation_node.GetNumberOfStorageNodes())]
    for node in [segmentation_node, *displays, *storages]:
        if node is not None and node.GetScene() is not None:
            scene.RemoveNode(node)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(segmentation_node)
    if item:  # without Slicer's plugins it doesn't go by itself
        hierarchy.RemoveItem(item, False)


def show_3d(segmentation_node: slicer.vtkMRMLSegmentationNode, shown: bool) -> None:
    """Make the surfaces that are missing and show them, or hide them all."""
    display = segmentation_node.GetDisplayNode()
    if shown:
        segmentation_node.GetSegmentation().CreateRepresentation(SURFACE)
        display.SetPreferredDisplayRepresentationName3D(SURFACE)
    display.SetVisibility3D(shown)


def segment_tag(segment: slicer.vtkSegment, name: str) -> str:
    """Value of a segment's tag, empty where there is none."""
    value = vtk.mutable("")
    return str(value) if segment.GetTag(name, value) else ""


def is_made_by_us(segment: slicer.vtkSegment, wanted: Segment) -> bool:
    """Whether a segment of the scene is an earlier result for `wanted` that a new one may replace.

    It isn't any more once a person renamed it, gave it another meaning, or marked it as completed.
    """
    return (
        segment_tag(segment, KEY_TAG) == wanted.key
        and type_code_of(segment)[:2] == wanted.type_code[:2]
        and segment.GetName() == wanted.name
        and Logic.GetSegmentStatus(segment) != Logic.Completed
    )


def take_place_of(node: slicer.vtkMRMLSegmentationNode, volume_node: slicer.vtkMRMLVolumeNode) -> None:
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)


def labelmap_matrix(
    volume_node: slicer.vtkMRMLVolumeNode, segmentation_node: slicer.vtkMRMLSegmentationNode
) -> np.ndarray | None:
    """Matrix (4, 4) from the CT's index to the segmentation's coordinates; None if that is no regular grid."""
    matrix = ijk_to_ras(volume_node)
    here, there = volume_node.GetParentTransformNode(), segmentation_node.GetParentTransformNode()
    if here is there:
        return matrix
    between = vtk.vtkMatrix4x4()
    if not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(here, there, between):
        return None
    matrix = matrix_array(between) @ matrix
    return matrix if is_regular(matrix) else None


def labelmap_image(
    array: np.ndarray, start: Sequence[int], matrix: np.ndarray, deep: bool = True
) -> slicer.vtkOrientedImageData:
    """An image of `array` (k, j, i), whose first voxel has the index `start` (i, j, k).

    Without `deep` it shows the array itself, which must be contiguous.
    """
    image = slicer.vtkOrientedImageData()
    size = array.shape[::-1]
    image.SetExtent([int(value) for first, n in zip(start, size, strict=True) for value in (first, first + n - 1)])
    image.SetImageToWorldMatrix(vtk_matrix(matrix))
    image.GetPointData().SetScalars(numpy_to_vtk(array.reshape(-1), deep=deep))
    return image


def vtk_matrix(matrix: np.ndarray) -> vtk.vtkMatrix4x4:
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(matrix.ravel().tolist())
    return result


def matrix_of(image: slicer.vtkOrientedImageData) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return matrix_array(matrix)
