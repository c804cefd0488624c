"""Which slice a person is led to, and what its node remembers of that."""

import numpy as np
import pytest
import slicer
from scene_samples import add_segment, add_transform, add_volume, ct_image, layer, matrix_of
from SpineSegLib.scene import review
from SpineSegLib.scene.volumes import axial_limits, axial_position


def test_the_slice_most_in_doubt_is_shown_through_the_middle_of_the_segments(scene):
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    axial, sagittal = (scene.AddNewNodeByClass("vtkMRMLSliceNode") for _ in range(2))
    axial.SetOrientationToAxial()
    sagittal.SetOrientationToSagittal()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    add_segment(node, "L3", layer(np.ones((3, 3, 3), np.uint8), matrix_of(ct_image())), 1)
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    review.remember_run(node, "small 1", [(-40.0, 12.0), (-20.0, 90.4), (0.0, 30.0)])
    assert review.show_next_to_check(node, None) == "S -20.0 mm: 90 mm² in doubt."
    assert axial.GetSliceToRAS().GetElement(2, 3) == pytest.approx(-20.0)
    assert sagittal.GetSliceToRAS().GetElement(0, 3) == pytest.approx((bounds[0] + bounds[1]) / 2)
    assert review.mark_checked(node, -19.0) == -20.0
    assert review.checked_positions(node) == [-20.0]
    assert review.show_next_to_check(node, None) == "S 0.0 mm: 30 mm² in doubt."


def test_a_ct_under_a_transform_that_stretches_it_is_shown_where_it_is(scene):
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    axial = scene.AddNewNodeByClass("vtkMRMLSliceNode")
    axial.SetOrientationToAxial()
    volume, node = add_volume(scene, ct_image()), scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    add_segment(node, "L3", layer(np.ones((3, 3, 3), np.uint8), matrix_of(ct_image())), 1)
    transform = add_transform(scene, np.diag([1.0, 1.0, 1.5, 1.0]))
    for each in (volume, node):
        each.SetAndObserveTransformNodeID(transform.GetID())
    low, high = axial_limits(volume)
    review.remember_run(node, "small 1", [(low, 1.0), (high, 9.0)])
    review.show_next_to_check(node, volume)
    shown = [axial.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)]
    assert shown[2] == pytest.approx(1.5 * high)
    assert review.mark_checked(node, axial_position(volume, shown)) == pytest.approx(high)


def test_a_slice_that_is_computed_again_is_unchecked(scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    review.remember_run(node, "small 1", [(-40.0, 12.0), (-20.0, 90.0)])
    for position in (-40.0, -20.0):
        review.mark_checked(node, position)
    assert review.next_to_check(node) is None
    review.remember_run(node, "small 2", [(-20.0, 70.0)])
    assert review.checked_positions(node) == [-40.0]
    assert (review.next_to_check(node), review.model_of(node)) == ((-20.0, 70.0), "small 2")
