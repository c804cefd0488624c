"""CT volumes of known content as nodes in any place, and what a segmentation node holds as SimpleITK sees it."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
AXIAL = np.eye(3)
# Stored along the patient's axes in another order and partly backwards; the last is left-handed.
SAGITTAL = np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float)
MIRRORED = np.diag([-1.0, 1.0, 1.0])
OBLIQUE = np.array(sitk.Euler3DTransform((0, 0, 0), 0.2, -0.3, 0.5).GetMatrix()).reshape(3, 3)
PLACES = {"axial": AXIAL, "sagittal": SAGITTAL, "mirrored": MIRRORED, "oblique": OBLIQUE}


def ct_image(direction: np.ndarray = AXIAL, size=(9, 8, 7), spacing=(0.8, 0.9, 2.5), seed: int = 0) -> sitk.Image:
    """Noise in HU (int16), no symmetry anywhere."""
    hu = np.random.default_rng(seed).integers(-1000, 1500, size[::-1], dtype=np.int16)
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing(spacing)
    image.SetOrigin((-31.0, 17.5, -412.25))
    image.SetDirection(direction.ravel().tolist())
    return image


def matrix_of(image: sitk.Image) -> np.ndarray:
    """Index to RAS (4, 4), asked of SimpleITK point by point."""
    points = [image.TransformIndexToPhysicalPoint(index) for index in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    matrix = np.eye(4)
    matrix[:3, 3] = points[0]
    matrix[:3, :3] = (np.array(points[1:]) - points[0]).T
    return TO_RAS @ matrix


def vtk_matrix(array: np.ndarray) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, float).ravel().tolist())
    return matrix


def add_volume(scene, image: sitk.Image, name: str = "CT", kind: str = "vtkMRMLScalarVolumeNode"):
    """A volume node with the voxels and the place of a SimpleITK image."""
    array = sitk.GetArrayFromImage(image)
    data = vtk.vtkImageData()
    data.SetDimensions(*image.GetSize())
    data.GetPointData().SetScalars(numpy_to_vtk(array.reshape(-1), deep=True))
    node = scene.AddNewNodeByClass(kind, name)
    node.SetAndObserveImageData(data)
    node.SetIJKToRASMatrix(vtk_matrix(matrix_of(image)))
    return node


def add_transform(scene, matrix: np.ndarray | None = None, general: vtk.vtkAbstractTransform | None = None):
    """A transform node: to parent by a matrix (4, 4), or by a general VTK transform."""
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    if general is None:
        node.SetMatrixTransformToParent(vtk_matrix(matrix))
    else:
        node.SetAndObserveTransformToParent(general)
    return node


def rigid(degrees: float = 25.0, shift=(12.0, -7.0, 33.0), scale: float = 1.0) -> np.ndarray:
    """Turn about an oblique axis, scale and shift, in RAS (4, 4)."""
    turn = vtk.vtkTransform()
    turn.Translate(shift)
    turn.RotateWXYZ(degrees, 0.3, -0.5, 0.8)
    turn.Scale(scale, scale, scale)
    return np.array(turn.GetMatrix().GetData()).reshape(4, 4)


def bent() -> vtk.vtkThinPlateSplineTransform:
    """A transform that is not linear."""
    corners = [(x, y, z) for x in (-100, 100) for y in (-100, 100) for z in (-500, -300)]
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for n, point in enumerate(corners):
        source.InsertNextPoint(point)
        target.InsertNextPoint([value + 15 * ((n >> axis) & 1) * (axis + 1) for axis, value in enumerate(point)])
    source.InsertNextPoint(0, 0, -400)
    target.InsertNextPoint(20, -10, -390)
    transform = vtk.vtkThinPlateSplineTransform()
    transform.SetBasisToR()
    transform.SetSourceLandmarks(source)
    transform.SetTargetLandmarks(target)
    return transform


def add_segment(node, id_: str, image, label: int, name: str | None = None) -> slicer.vtkSegment:
    """A segment in a layer `image`, which others may share."""
    segment = slicer.vtkSegment()
    segment.SetName(name or id_)
    segment.SetLabelValue(label)
    segment.AddRepresentation("Binary labelmap", image)
    node.GetSegmentation().AddSegment(segment, id_)
    return segment


def layer(array: np.ndarray, matrix: np.ndarray, start=(0, 0, 0)) -> slicer.vtkOrientedImageData:
    """A layer of a segmentation from labels (k, j, i); `start` is the index (i, j, k) of its first voxel."""
    image = slicer.vtkOrientedImageData()
    ends = [value for first, n in zip(start, array.shape[::-1], strict=True) for value in (first, first + n - 1)]
    image.SetExtent(ends)
    image.SetImageToWorldMatrix(vtk_matrix(matrix))
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).reshape(-1), deep=True))
    return image


def points_in(node, id_: str) -> np.ndarray:
    """World RAS positions (n, 3) of the voxels of a segment, sorted; parent transforms applied by VTK."""
    segment = node.GetSegmentation().GetSegment(id_)
    image = segment.GetRepresentation("Binary labelmap")
    if image.GetNumberOfPoints() == 0:
        return np.zeros((0, 3))
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    ijk = np.argwhere(array == segment.GetLabelValue())[:, ::-1] + image.GetExtent()[::2]
    local = ijk @ np.array(matrix.GetData()).reshape(4, 4)[:3, :3].T + [matrix.GetElement(row, 3) for row in range(3)]
    return sorted_points(np.array([to_world(node, point) for point in local]).reshape(-1, 3))


def to_world(node, point) -> list[float]:
    parent, world = node.GetParentTransformNode(), [0.0, 0.0, 0.0]
    if parent is None:
        return list(point)
    general = vtk.vtkGeneralTransform()
    parent.GetTransformToWorld(general)
    general.TransformPoint(list(point), world)
    return world


def mask_points(image: sitk.Image, mask: np.ndarray, node=None) -> np.ndarray:
    """World RAS positions of the voxels of `mask` (k, j, i) on the grid of a CT: by SimpleITK, then by its parents."""
    lps = [image.TransformIndexToPhysicalPoint([int(v) for v in kji[::-1]]) for kji in np.argwhere(mask)]
    ras = [(-x, -y, z) for x, y, z in lps]
    return sorted_points(np.array([to_world(node, point) if node else point for point in ras]).reshape(-1, 3))


def sorted_points(points: np.ndarray) -> np.ndarray:
    rounded = np.round(points, 3) + 0.0
    return rounded[np.lexsort(rounded.T)]


def snapshot(node) -> dict:
    """All that a segmentation holds, for comparing before and after: segments in order, tags, voxels of every layer."""
    segmentation = node.GetSegmentation()
    found = {
        "transform": node.GetTransformNodeID(),
        "geometry": segmentation.GetConversionParameter("Reference image geometry"),
    }
    for n in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(n)
        names: list[str] = []
        segment.GetContainedRepresentationNames(names)
        image = segment.GetRepresentation("Binary labelmap")
        surface = segment.GetRepresentation("Closed surface")
        tags = {}
        for tag in ("TerminologyEntry", "Segmentation.Status", "SpineSeg.Key"):
            value = vtk.mutable("")
            tags[tag] = str(value) if segment.GetTag(tag, value) else None
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        id_ = segmentation.GetNthSegmentID(n)
        found[id_] = {
            "segment": (segment.GetName(), segment.GetColor(), tags, sorted(names)),
            "layer": (segment.GetLabelValue(), segmentation.GetLayerIndex(id_)),
            "voxels": vtk_to_numpy(image.GetPointData().GetScalars()).tobytes(),
            "place": (image.GetExtent(), matrix.GetData(), surface.GetNumberOfPoints() if surface else None),
        }
    return found


def assert_sentence(message: str | None) -> str:
    """One sentence on one line for people; returned for further checks."""
    assert message
    assert message.endswith(".")
    assert ". " not in message
    assert "\n" not in message
    return message
