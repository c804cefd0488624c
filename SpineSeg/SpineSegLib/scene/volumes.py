"""CT volumes of the scene as the engine takes them: what can't be segmented, voxels without a copy, place in LPS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.reading import SPACING_LIMITS_MM, require_hu

SAMPLES = 250_000  # voxels looked at to tell a CT from other images
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MODALITIES = {"MR": "an MR image", "PT": "a PET image", "NM": "a nuclear medicine image", "US": "an ultrasound image"}

# By the modification time of the image, which VTK gives to one state of one object only.
_value_problems: dict[int, str | None] = {}


@dataclass(frozen=True)
class CtGeometry:
    """Voxels and place of a CT.

    `array` (k, j, i) is a view of the node's own voxels. `spacing` (mm), `origin` (centre of the first voxel) and
    `direction` (row-major, columns are the i, j, k axes) are in LPS as SimpleITK has them, left-handed where the volume
    is. `in_world`: parent transforms are included; else the place is that in the volume's own coordinates.
    """

    array: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    in_world: bool


def ct_problem(volume_node: slicer.vtkMRMLVolumeNode | None) -> str | None:
    """One sentence that says why the volume can't be segmented and what to do, or None where it can."""
    if volume_node is None:
        return "Choose the CT volume to segment."
    if volume_node.IsA("vtkMRMLLabelMapVolumeNode"):
        return "The volume is a label map, not a CT; choose the CT it belongs to."
    image = volume_node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfPoints() == 0:
        return "The volume holds no image; load it again or choose another one."
    if image.GetNumberOfScalarComponents() > 1:
        return "The volume has colours or several values a voxel, so it is not a CT; choose a CT in HU."
    if min(image.GetDimensions()) < 2:
        return "The volume is a single slice; a CT of at least two slices is needed."
    return _geometry_problem(volume_node) or _modality_problem(volume_node) or _value_problem(image)


def ct_geometry(volume_node: slicer.vtkMRMLVolumeNode) -> CtGeometry:
    """Voxels and place of a volume for which `ct_problem` is None.

    Parent transforms that keep angles (rotation, translation, uniform scale) are included, so that axial is axial in
    the patient's upright world; with any other the volume's own coordinates are given.
    """
    ijk_to_lps, in_world = _engine_matrix(volume_node)
    columns = ijk_to_lps[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    return CtGeometry(
        array=voxels(volume_node.GetImageData()),
        spacing=tuple(spacing.tolist()),
        origin=tuple(ijk_to_lps[:3, 3].tolist()),
        direction=tuple((columns / spacing).ravel().tolist()),
        in_world=in_world,
    )


def axial_position(volume_node: slicer.vtkMRMLVolumeNode, point_ras: Sequence[float]) -> float:
    """Position in mm (z of LPS and RAS, as the engine sees the volume) of a point in world coordinates."""
    if _engine_matrix(volume_node)[1]:
        return float(point_ras[2])
    local = [0.0, 0.0, 0.0]
    volume_node.TransformPointFromWorld(list(point_ras), local)
    return float(local[2])


def at_position(volume_node: slicer.vtkMRMLVolumeNode, point_ras: Sequence[float], position: float) -> list[float]:
    """A point in world coordinates moved along the volume's z until it is at this position, see `axial_position`."""
    if _engine_matrix(volume_node)[1]:
        return [*point_ras[:2], position]
    local, world = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    volume_node.TransformPointFromWorld(list(point_ras), local)
    volume_node.TransformPointToWorld([*local[:2], position], world)
    return world


def axial_limits(volume_node: slicer.vtkMRMLVolumeNode) -> tuple[float, float]:
    """Lowest and highest position of a voxel's centre, see `axial_position`."""
    ijk_to_lps, _ = _engine_matrix(volume_node)
    last = np.array(volume_node.GetImageData().GetDimensions()) - 1
    heights = [float(ijk_to_lps[2] @ [*(np.array(corner) * last), 1]) for corner in np.ndindex(2, 2, 2)]
    return min(heights), max(heights)


def voxels(image: vtk.vtkImageData) -> np.ndarray:
    """View (k, j, i) of the voxels of a scalar image."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def ijk_to_ras(volume_node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Matrix (4, 4) from voxel index, counted as VTK's extent does, to the volume's own coordinates."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return matrix_array(matrix)


def matrix_array(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """A VTK matrix as array (4, 4)."""
    return np.array(matrix.GetData(), dtype=float).reshape(4, 4)


def is_regular(matrix: np.ndarray) -> bool:
    """Whether the axes of an index to physical matrix (4, 4) are at right angles, none of length zero."""
    columns = matrix[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(matrix).all() or not lengths.all():
        return False
    directions = columns / lengths
    return np.allclose(directions.T @ directions, np.eye(3), atol=1e-3)


def _engine_matrix(volume_node: slicer.vtkMRMLVolumeNode) -> tuple[np.ndarray, bool]:
    """Matrix (4, 4) from array index to LPS as the engine gets it, and whether parent transforms are in it."""
    matrix = ijk_to_ras(volume_node)
    # An image may start at another index than 0; arrays don't.
    matrix[:, 3] = matrix @ [*volume_node.GetImageData().GetExtent()[::2], 1]
    to_world = _similarity_to_world(volume_node)
    if to_world is None:
        return RAS_TO_LPS @ matrix, False
    return RAS_TO_LPS @ to_world @ matrix, True


def _similarity_to_world(volume_node: slicer.vtkMRMLVolumeNode) -> np.ndarray | None:
    """The parent transforms as a matrix (4, 4), None where they don't keep angles."""
    parent = volume_node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        return None
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    to_world = matrix_array(matrix)
    product = to_world[:3, :3].T @ to_world[:3, :3]
    scale = np.trace(product) / 3
    return to_world if scale > 0 and np.allclose(product / scale, np.eye(3), atol=1e-4) else None


def _geometry_problem(volume_node: slicer.vtkMRMLVolumeNode) -> str | None:
    low, high = SPACING_LIMITS_MM
    spacing = volume_node.GetSpacing()
    if not all(low <= value <= high for value in spacing):
        sizes = " x ".join(f"{value:.4g}" for value in spacing)
        return f"The volume has a voxel size of {sizes} mm, which fits no CT; correct it in the Volumes module."
    if not all(isfinite(value) for value in volume_node.GetOrigin()):
        return "The volume has a damaged position; load it again."
    if not is_regular(ijk_to_ras(volume_node)):
        return "The volume has axes that are not at right angles; resample it to a regular grid first."
    return None


def _modality_problem(volume_node: slicer.vtkMRMLVolumeNode) -> str | None:
    modality = _modality(volume_node)
    if modality in ("", "CT", "OT"):  # "other" says nothing, the values will
        return None
    return f"The volume is {_MODALITIES.get(modality, f'a {modality} image')}, not a CT; choose a CT."


def _modality(volume_node: slicer.vtkMRMLVolumeNode) -> str:
    """DICOM's modality where the scene or Slicer's DICOM database knows it."""
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    modality = volume_node.GetAttribute(name)
    scene = volume_node.GetScene()
    if not modality and scene is not None:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        item = hierarchy.GetItemByDataNode(volume_node) if hierarchy else 0
        modality = hierarchy.GetItemAttribute(item, name) if item else ""
    database = getattr(slicer, "dicomDatabase", None)
    instances = (volume_node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if not modality and database is not None and instances:
        modality = database.instanceValue(instances[0], "0008,0060")
    return (modality or "").strip().upper()


def _value_problem(image: vtk.vtkImageData) -> str | None:
    time = image.GetMTime()
    if time not in _value_problems:
        if len(_value_problems) > 100:
            _value_problems.clear()
        _value_problems[time] = _look_at_values(voxels(image))
    return _value_problems[time]


def _look_at_values(array: np.ndarray) -> str | None:
    if array.dtype.kind == "f":
        flat = array.reshape(-1)
        # A sum of squares is the fastest look at all voxels; it isn't finite for absurdly large ones either.
        if not np.isfinite(np.dot(flat, flat)) and not np.isfinite(flat).all():
            return "The volume has voxels that are no numbers (NaN or infinite); mask or resample it with air first."
    step = max(1, round((array.size / SAMPLES) ** (1 / 3)))
    try:
        require_hu(array[::step, ::step, ::step], "The volume")
    except InputError as error:
        return str(error)
    return None
