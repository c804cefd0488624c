"""Surface distances against shapes whose distances are known, brute force, SimpleITK and VTK's meshes."""

import numpy as np
import pytest
import SimpleITK as sitk
from masks import ball, box, labelmap
from scipy.spatial import cKDTree
from SpineSegLib.engine.comparison.surfaces import surface_metrics


def all_rows(*arguments):
    metrics = surface_metrics(*arguments)
    return [metrics[key] for key in ("hausdorff_mm", "hausdorff_95_mm", "assd_mm", "surface_dice")]


def test_same_masks_have_no_distance():
    mask = ball((20, 24, 22), (2.0, 1.0, 1.0), (20.0, 12.0, 11.0), 8.0)
    assert all_rows(mask, mask, (2.0, 1.0, 1.0), 0.0) == [0, 0, 0, 1]


@pytest.mark.parametrize(("axis", "shift"), [(0, 1), (1, 3), (2, 2)])
def test_shifted_box(axis, shift):
    """Faces across the shift are as far apart as the shift, those along it touch but for its length."""
    spacing = (2.5, 0.8, 0.6)
    bounds = [(5, 15), (5, 25), (5, 35)]
    moved = [list(b) for b in bounds]
    moved[axis] = [b + shift for b in moved[axis]]
    found = surface_metrics(box((24, 34, 44), *bounds), box((24, 34, 44), *moved), spacing, 0.0)
    assert found["hausdorff_mm"] == pytest.approx(shift * spacing[axis], rel=1e-5)
    far = surface_metrics(box((24, 34, 44), *bounds), box((24, 34, 44), *moved), spacing, shift * spacing[axis] + 0.01)
    assert far["surface_dice"] == 1
    lengths = np.array([10, 20, 30]) * spacing
    faces = 2 * np.prod(lengths) / lengths  # areas of the pairs of faces, by the axis they look along
    # at tolerance 0 all of the faces across are wrong, and of each other face the part that sticks out
    right = sum(faces[other] * (1 - shift * spacing[axis] / lengths[axis]) for other in range(3) if other != axis)
    assert found["surface_dice"] == pytest.approx(right / faces.sum(), abs=0.06)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 0.8, 0.8), (0.5, 0.7, 0.9)])
def test_concentric_balls(spacing):
    """Radii of 12 and 16 mm: everywhere 4 mm apart, up to the size of a voxel."""
    shape = tuple(int(40 / s) for s in spacing)
    centre = (20.2, 19.9, 20.1)
    small, large = (ball(shape, spacing, centre, radius) for radius in (12.0, 16.0))
    hausdorff, hausdorff_95, assd, dice = all_rows(small, large, spacing, 4.0 + max(spacing))
    assert hausdorff == pytest.approx(4.0, abs=max(spacing))
    assert hausdorff_95 == pytest.approx(4.0, abs=max(spacing))
    assert assd == pytest.approx(4.0, abs=max(spacing) / 1.5)
    assert hausdorff >= hausdorff_95 >= assd
    assert dice == 1
    assert all_rows(small, large, spacing, 4.0 - 2 * max(spacing))[3] == 0


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (4.0, 1.0, 1.0), (2.0, 0.5, 1.0)])
def test_area_counts_not_the_number_of_voxels(spacing):
    """Two cylinders, one 8 mm longer: the share of the area they have in common doesn't depend on the voxels' shape."""
    shape = tuple(int(60 / s) for s in spacing)
    k, j, i = np.ogrid[tuple(slice(n) for n in shape)]
    across = (j * spacing[1] - 30) ** 2 + (i * spacing[2] - 30) ** 2 < 20**2
    height = k * spacing[0]
    tall, short = (np.broadcast_to(across & (height >= 8) & (height < top), shape) for top in (48, 40))
    mantle, end = 2 * np.pi * 20, np.pi * 20**2
    share = (mantle * 32 * 2 + end * 2) / (mantle * (40 + 32) + end * 4)
    assert surface_metrics(tall, short, spacing, 0.5)["surface_dice"] == pytest.approx(share, abs=0.03)


def brute_force(one, other, spacing):
    """Distances both ways between the corners at which a mask changes, by a k-d tree."""
    points = []
    for mask in (one, other):
        padded = np.pad(mask, 1).astype(int)
        sums = sum(
            padded[a : a + mask.shape[0] + 1, b : b + mask.shape[1] + 1, c : c + mask.shape[2] + 1]
            for a, b, c in np.ndindex(2, 2, 2)
        )
        points.append(np.argwhere((sums > 0) & (sums < 8)) * spacing)
    return cKDTree(points[1]).query(points[0])[0], cKDTree(points[0]).query(points[1])[0]


@pytest.mark.parametrize("seed", range(3))
def test_brute_force_on_rough_masks(seed):
    rng = np.random.default_rng(seed)
    spacing = tuple(rng.uniform(0.4, 3.0, 3))
    one, other = (rng.random((9, 11, 10)) > 0.8 for _ in range(2))
    found = surface_metrics(one, other, spacing, 1.0)
    there, back = brute_force(one, other, spacing)
    assert found["hausdorff_mm"] == pytest.approx(max(there.max(), back.max()), rel=1e-4)


@pytest.mark.parametrize("swapped", [False, True])
def test_means_and_percentiles_are_by_area_and_both_ways(swapped):
    """A small box within a large one, whose surface is several times as large and in part far away."""
    spacing = np.array((2.5, 0.8, 1.1))
    shape = (16, 40, 30)
    masks = [box(shape, (2, 14), (2, 38), (2, 28)), box(shape, (4, 9), (5, 16), (5, 14))]
    masks = masks[::-1] if swapped else masks
    points, areas = [], []
    for mask in masks:
        means = [np.pad(mask, 1).astype(float)] * 3
        for axis, other in np.ndindex(3, 3):  # differences along an axis, means of two along the others
            low, high = (means[axis].take(range(n, means[axis].shape[other] - 1 + n), other) for n in (0, 1))
            means[axis] = (high - low) / spacing[axis] if axis == other else (high + low) / 2
        length = np.linalg.norm(means, axis=0)
        points.append(np.argwhere(length > 0) * spacing)
        areas.append(length[length > 0])
    distances = [cKDTree(points[1 - n]).query(points[n])[0] for n in (0, 1)]
    found = surface_metrics(*masks, tuple(spacing), 1.0)
    mean = np.average(np.concatenate(distances), weights=np.concatenate(areas))
    assert found["assd_mm"] == pytest.approx(mean, rel=1e-4)
    up_to = []
    for each, area in zip(distances, areas, strict=True):
        order = np.argsort(each)
        up_to.append(each[order][np.cumsum(area[order]) >= 0.95 * area.sum()][0])
    assert found["hausdorff_95_mm"] == pytest.approx(max(up_to), rel=1e-4)
    assert max(up_to) > 1.2 * min(up_to)


def test_simpleitk_hausdorff_of_masks_apart():
    """Of masks that don't touch, the farthest voxels decide; corners lie half a voxel further out on both sides."""
    spacing = (1.2, 0.9, 0.7)
    one, other = box((30, 40, 40), (5, 10), (5, 15), (5, 15)), box((30, 40, 40), (18, 24), (22, 30), (20, 33))
    images = [labelmap(mask, spacing[::-1]) for mask in (one, other)]
    measure = sitk.HausdorffDistanceImageFilter()
    measure.Execute(*images)
    found = surface_metrics(one, other, spacing, 1.0)
    assert found["hausdorff_mm"] == pytest.approx(measure.GetHausdorffDistance(), abs=np.linalg.norm(spacing))


def test_vtk_meshes():
    """VTK's meshes of two overlapping balls and the distances between their cells, in an anisotropic volume."""
    vtk = pytest.importorskip("vtk", reason="VTK comes with slicer-core, see the development tools")
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    spacing = (1.5, 0.75, 0.75)
    masks = [ball((20, 40, 40), spacing, centre, r) for centre, r in (((15, 15, 15), 9.0), ((16.5, 16, 14), 10.0))]
    meshes = []
    for mask in masks:
        image = vtk.vtkImageData()
        image.SetDimensions(*mask.shape[::-1])
        image.SetSpacing(*spacing[::-1])
        image.GetPointData().SetScalars(numpy_to_vtk(mask.astype(np.float32).ravel(), deep=True))
        edges = vtk.vtkFlyingEdges3D()
        edges.SetInputData(image)
        edges.SetValue(0, 0.5)
        edges.Update()
        meshes.append(edges.GetOutput())
    distance = vtk.vtkDistancePolyDataFilter()
    distance.SignedDistanceOff()
    distance.SetInputData(0, meshes[0])
    distance.SetInputData(1, meshes[1])
    distance.Update()
    there = vtk_to_numpy(distance.GetOutput().GetPointData().GetScalars())
    back = vtk_to_numpy(distance.GetSecondDistanceOutput().GetPointData().GetScalars())
    found = surface_metrics(*masks, spacing, 1.0)
    assert found["hausdorff_mm"] == pytest.approx(max(there.max(), back.max()), abs=max(spacing) / 2)
    assert found["assd_mm"] == pytest.approx(np.concatenate([there, back]).mean(), abs=max(spacing) / 3)


def test_empty_masks():
    empty, full = np.zeros((4, 5, 6), dtype=bool), np.ones((4, 5, 6), dtype=bool)
    assert all_rows(empty, full, (1.0, 1.0, 1.0), 1.0) == [None, None, None, 0.0]
    assert all_rows(full, empty, (1.0, 1.0, 1.0), 1.0) == [None, None, None, 0.0]
    assert all_rows(empty, empty, (1.0, 1.0, 1.0), 1.0) == [None] * 4
    nothing = np.zeros((0, 0, 0), dtype=bool)
    assert all_rows(nothing, nothing, (1.0, 1.0, 1.0), 1.0) == [None] * 4
