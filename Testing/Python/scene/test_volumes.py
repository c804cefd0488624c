"""Volume nodes as the engine gets them, against SimpleITK; what can't be segmented gets one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from scene_samples import (
    AXIAL,
    OBLIQUE,
    PLACES,
    add_transform,
    add_volume,
    assert_sentence,
    bent,
    ct_image,
    matrix_of,
    rigid,
)
from SpineSegLib.scene.volumes import axial_limits, axial_position, ct_geometry, ct_problem
from vtk.util.numpy_support import numpy_to_vtk


def as_image(geometry) -> sitk.Image:
    image = sitk.GetImageFromArray(geometry.array)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


@pytest.mark.parametrize("place", PLACES)
def test_geometry_is_that_of_simpleitk(scene, place):
    truth = ct_image(PLACES[place])
    node = add_volume(scene, truth)
    assert ct_problem(node) is None
    geometry = ct_geometry(node)
    image = as_image(geometry)
    assert geometry.in_world
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(truth))
    np.testing.assert_allclose(matrix_of(image), matrix_of(truth), atol=1e-9)
    assert image.GetSpacing() == pytest.approx(truth.GetSpacing())


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".mha"])
@pytest.mark.parametrize("place", PLACES)
def test_a_file_that_slicer_loaded_lies_where_simpleitk_sees_it(scene, tmp_path, place, ending):
    truth = ct_image(PLACES[place])
    path = str(tmp_path / f"ct{ending}")
    sitk.WriteImage(truth, path)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(path)
    assert storage.ReadData(node)
    assert ct_problem(node) is None
    image = as_image(ct_geometry(node))
    # Slicer may store the axes in another order or direction; each voxel must be where it was.
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).shape, sitk.GetArrayFromImage(truth).shape)
    for index in ((0, 0, 0), (8, 0, 0), (0, 7, 0), (0, 0, 6), (3, 5, 2)):
        point = truth.TransformIndexToPhysicalPoint(index)
        assert image.GetPixel(image.TransformPhysicalPointToIndex(point)) == truth.GetPixel(index)
        there = image.TransformIndexToPhysicalPoint(image.TransformPhysicalPointToIndex(point))
        assert there == pytest.approx(point, abs=1e-3)


def test_the_array_is_a_view(scene):
    node = add_volume(scene, ct_image())
    node.GetImageData().SetScalarComponentFromDouble(3, 2, 1, 0, 777)
    assert ct_geometry(node).array[1, 2, 3] == 777


def test_an_image_that_starts_elsewhere(scene):
    truth = ct_image(OBLIQUE)
    node = add_volume(scene, truth)
    data = vtk.vtkImageData()
    data.DeepCopy(node.GetImageData())
    data.SetExtent(4, 12, -2, 5, 1, 7)
    node.SetAndObserveImageData(data)
    expected = matrix_of(truth) @ [*node.GetImageData().GetExtent()[::2], 1]
    np.testing.assert_allclose(matrix_of(as_image(ct_geometry(node)))[:, 3], expected, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 1.3, -1.0], ids=["rigid", "scaled", "mirrored"])
@pytest.mark.parametrize("place", ["axial", "oblique"])
def test_transforms_that_keep_angles_are_part_of_the_place(scene, place, scale):
    truth = ct_image(PLACES[place])
    node = add_volume(scene, truth)
    inner, outer = rigid(scale=scale), rigid(-40, (3, 4, 5))
    inner_node, outer_node = add_transform(scene, inner), add_transform(scene, outer)
    inner_node.SetAndObserveTransformNodeID(outer_node.GetID())
    node.SetAndObserveTransformNodeID(inner_node.GetID())
    geometry = ct_geometry(node)
    assert geometry.in_world
    np.testing.assert_allclose(matrix_of(as_image(geometry)), outer @ inner @ matrix_of(truth), atol=1e-6)
    point = (outer @ inner @ [1, 2, 3, 1])[:3]
    assert axial_position(node, point) == pytest.approx(point[2])


@pytest.mark.parametrize("kind", ["stretched", "sheared", "bent"])
def test_other_transforms_leave_the_volume_in_its_own_place(scene, kind):
    truth = ct_image(OBLIQUE)
    node = add_volume(scene, truth)
    matrix = np.diag([1.0, 1.0, 1.4, 1.0])
    matrix[0, 2] = 0.3 if kind == "sheared" else 0.0
    parent = add_transform(scene, general=bent()) if kind == "bent" else add_transform(scene, matrix)
    node.SetAndObserveTransformNodeID(parent.GetID())
    assert ct_problem(node) is None
    geometry = ct_geometry(node)
    assert not geometry.in_world
    np.testing.assert_allclose(matrix_of(as_image(geometry)), matrix_of(truth), atol=1e-9)
    local, world = [10.0, -20.0, -400.0], [0.0, 0.0, 0.0]
    node.TransformPointToWorld(local, world)
    assert abs(world[2] - local[2]) > 1
    assert axial_position(node, world) == pytest.approx(local[2], abs=0.01)


@pytest.mark.parametrize("place", PLACES)
def test_axial_limits_are_those_of_the_voxels(scene, place):
    truth = ct_image(PLACES[place])
    heights = [truth.TransformIndexToPhysicalPoint(index)[2] for index in np.ndindex(truth.GetSize())]
    assert axial_limits(add_volume(scene, truth)) == pytest.approx((min(heights), max(heights)))


# --- what can't be segmented ------------------------------------------------------------------------------------------


def of_values(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1, 1, 2))
    return image


RNG = np.random.default_rng(1)
SHAPE = (12, 20, 20)
BAD_VALUES = {
    "label map": RNG.integers(0, 25, SHAPE).astype(np.int16),
    "8-bit picture": RNG.integers(0, 256, SHAPE).astype(np.uint8),
    "normalised": RNG.normal(0, 1, SHAPE).astype(np.float32),
    "MR": RNG.gamma(2, 300, SHAPE).astype(np.int16),
    "CT with an offset": RNG.integers(0, 3000, SHAPE).astype(np.int16),
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_values_that_are_no_hu(scene, name):
    assert_sentence(ct_problem(add_volume(scene, of_values(BAD_VALUES[name]))))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_hu_of_any_type(scene, dtype):
    array = RNG.integers(-1000, 2000, SHAPE).astype(dtype)
    assert ct_problem(add_volume(scene, of_values(array))) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_voxel_that_is_no_number(scene, bad):
    array = RNG.normal(0, 500, SHAPE).astype(np.float32)
    array[7, 5, 3] = bad
    node = add_volume(scene, of_values(array))
    assert "NaN" in assert_sentence(ct_problem(node))
    ct_geometry(node).array[7, 5, 3] = 0
    node.GetImageData().GetPointData().GetScalars().Modified()
    assert ct_problem(node) is None  # what was found is not remembered longer than it is true


def test_nothing_and_no_image(scene):
    assert_sentence(ct_problem(None))
    assert_sentence(ct_problem(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")))
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    empty.SetAndObserveImageData(vtk.vtkImageData())
    assert_sentence(ct_problem(empty))


def test_label_map_node(scene):
    node = add_volume(scene, ct_image(), kind="vtkMRMLLabelMapVolumeNode")
    assert "label map" in assert_sentence(ct_problem(node))


def test_colours_or_several_times(scene):
    node = add_volume(scene, ct_image(), kind="vtkMRMLVectorVolumeNode")
    data = vtk.vtkImageData()
    data.SetDimensions(9, 8, 7)
    data.GetPointData().SetScalars(numpy_to_vtk(RNG.integers(-1000, 1000, (9 * 8 * 7, 3)).astype(np.int16), deep=True))
    node.SetAndObserveImageData(data)
    assert_sentence(ct_problem(node))


def test_one_slice(scene):
    assert "slice" in assert_sentence(ct_problem(add_volume(scene, ct_image(size=(9, 8, 1)))))


@pytest.mark.parametrize("spacing", [0.0, 1e-4, 500.0])
def test_a_voxel_size_that_fits_no_ct(scene, spacing):
    node = add_volume(scene, ct_image())
    node.SetSpacing(1.0, 1.0, spacing)
    assert_sentence(ct_problem(node))


def test_axes_that_are_not_at_right_angles(scene):
    node = add_volume(scene, ct_image())
    node.SetIJKToRASDirections(1, 0, 0.2, 0, 1, 0, 0, 0, 1)
    assert "right angles" in assert_sentence(ct_problem(node))


@pytest.mark.parametrize("where", ["hierarchy", "attribute", "database"])
def test_mr_by_its_dicom_tag(scene, where, monkeypatch):
    node = add_volume(scene, ct_image(AXIAL))  # values alone look like a CT
    if where == "hierarchy":
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        hierarchy.SetItemAttribute(hierarchy.CreateItem(hierarchy.GetSceneItemID(), node), "DICOM.Modality", "MR")
    elif where == "attribute":
        node.SetAttribute("DICOM.Modality", "MR")
    else:

        class Database:
            def instanceValue(self, uid, tag):  # noqa: N802 - Slicer's name
                return "MR" if (uid, tag) == ("1.2.3", "0008,0060") else ""

        monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
        node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    assert "MR" in assert_sentence(ct_problem(node))
    node.SetAttribute("DICOM.Modality", "CT")
    assert ct_problem(node) is None
