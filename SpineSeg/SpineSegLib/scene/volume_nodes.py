"""Images of the engine as volumes of a scene."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from SpineSegLib.engine.volume import Grid
from SpineSegLib.scene.segmentations import vtk_matrix
from SpineSegLib.scene.volumes import RAS_TO_LPS


def add_ct(scene: slicer.vtkMRMLScene, array: np.ndarray, grid: Grid, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a CT, `array` (k, j, i) in HU, to the scene."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    fill(node, array, grid)
    node.CreateDefaultDisplayNodes()
    return node


def add_label_map(
    scene: slicer.vtkMRMLScene, array: np.ndarray, grid: Grid, name: str
) -> slicer.vtkMRMLLabelMapVolumeNode:
    """Add a label map, `array` (k, j, i), to the scene."""
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
    fill(node, array, grid)
    return node


def fill(node: slicer.vtkMRMLVolumeNode, array: np.ndarray, grid: Grid) -> None:
    """Give a volume node a copy of the voxels of `array` (k, j, i), in their place in the patient."""
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True))
    node.SetAndObserveImageData(image)
    to_lps = np.eye(4)
    to_lps[:3, :3] = np.array(grid.direction).reshape(3, 3) * grid.spacing[::-1]
    to_lps[:3, 3] = grid.origin
    node.SetIJKToRASMatrix(vtk_matrix(RAS_TO_LPS @ to_lps))
