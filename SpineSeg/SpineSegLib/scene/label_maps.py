"""Segmentations and label map volumes of the scene as label maps of the engine, in world coordinates."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import slicer
import vtk

from SpineSegLib.engine.datasets.labels import structures_of_names
from SpineSegLib.engine.errors import InputError
from SpineSegLib.scene.volumes import RAS_TO_LPS, ijk_to_ras, is_regular, matrix_array, voxels


def label_map_of(
    node: slicer.vtkMRMLSegmentationNode | slicer.vtkMRMLLabelMapVolumeNode, segment_id: str = ""
) -> tuple[sitk.Image, dict[int, str] | None]:
    """What a node marks: labels (uint16) in LPS with parent transforms, and the structure of each as its name says.

    `segment_id`: only this segment of a segmentation, all without it. The structures are None where names tell nothing;
    where segments overlap, the later one counts. Raises InputError if nothing is marked or the transform is not rigid.
    """
    if node.IsA("vtkMRMLSegmentationNode"):
        image, matrix, names = _of_segmentation(node, segment_id)
    else:
        image, matrix, names = node.GetImageData(), ijk_to_ras(node), {}
    if image is None or image.GetNumberOfPoints() == 0:
        raise InputError(f"{node.GetName()} marks nothing; choose a segmentation that has segments.")
    # An image may start at another index than 0; arrays don't.
    matrix[:, 3] = matrix @ [*image.GetExtent()[::2], 1]
    matrix = RAS_TO_LPS @ _to_world(node) @ matrix
    if not is_regular(matrix):
        raise InputError(f"{node.GetName()} lies under a transform that bends or skews it; harden the transform first.")
    array = voxels(image)
    if array.min() < 0 or array.max() > np.iinfo(np.uint16).max:
        raise InputError(f"{node.GetName()} holds values that are no labels; choose a label map.")
    result = sitk.GetImageFromArray(array.astype(np.uint16))
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    result.SetSpacing(spacing.tolist())
    result.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    result.SetOrigin(matrix[:3, 3].tolist())
    return result, structures_of_names(names) if names else None


def _of_segmentation(
    node: slicer.vtkMRMLSegmentationNode, segment_id: str
) -> tuple[vtk.vtkImageData | None, np.ndarray, dict[int, str]]:
    """Merged labels, matrix from voxel index to the node's coordinates, and segment names by label."""
    segmentation = node.GetSegmentation()
    ids = [segment_id] if segment_id else list(segmentation.GetSegmentIDs())
    if not all(segmentation.GetSegment(each) for each in ids):
        raise InputError(f"{node.GetName()} no longer has the chosen segment; choose another one.")
    merged = slicer.vtkOrientedImageData()
    wanted = vtk.vtkStringArray()
    for each in ids:
        wanted.InsertNextValue(each)
    union = slicer.vtkSegmentation.EXTENT_UNION_OF_EFFECTIVE_SEGMENTS
    if not ids or not node.GenerateMergedLabelmapForAllSegments(merged, union, None, wanted):
        return None, np.eye(4), {}
    matrix = vtk.vtkMatrix4x4()
    merged.GetImageToWorldMatrix(matrix)
    return merged, matrix_array(matrix), {n: segmentation.GetSegment(each).GetName() for n, each in enumerate(ids, 1)}


def _to_world(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise InputError(f"{node.GetName()} lies under a transform that bends it; harden the transform first.")
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return matrix_array(matrix)
