"""What of a corrected segmentation becomes the mask to train on, and what is left of a submission that fails."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from scene_samples import PLACES, add_segment, add_transform, add_volume, ct_image, layer, matrix_of, rigid
from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.scene.submission import SubmitRun, training_mask
from SpineSegLib.worker_client import WorkerProcess

START = (-2, 3, 4)  # of the layer (i, j, k), so that it reaches beyond the CT on two sides


def labels_and_truth(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A layer of the labels 0 to 3 from START on, and on the CT's grid 1 where it has 1 and 2 where it has 3."""
    labels = np.random.default_rng(3).integers(0, 4, (5, 6, 7)).astype(np.uint8)
    truth = np.zeros(shape, dtype=np.uint8)
    for k, j, i in np.ndindex(*truth.shape):
        at = (k - START[2], j - START[1], i - START[0])
        if all(0 <= n < size for n, size in zip(at, labels.shape, strict=True)):
            truth[k, j, i] = {1: 1, 3: 2}.get(labels[at], 0)
    assert set(np.unique(truth)) == {0, 1, 2}
    return labels, truth


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("turned", [False, True])
def test_vertebrae_and_sacrum_by_their_names(scene, place, turned):
    image = ct_image(PLACES[place])
    volume, node = add_volume(scene, image), scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    labels, truth = labels_and_truth(image.GetSize()[::-1])
    shared = layer(labels, matrix_of(image), START)
    for label, name in ((1, "L3 vertebra"), (2, "left rib 9"), (3, "Sacrum")):
        add_segment(node, name, shared, label)
    add_segment(node, "L4", layer(np.zeros((1, 1, 1), np.uint8), matrix_of(image)), 1)
    if turned:  # both under one transform
        transform = add_transform(scene, rigid())
        for each in (volume, node):
            each.SetAndObserveTransformNodeID(transform.GetID())
    np.testing.assert_array_equal(training_mask(node, volume), truth)


def test_where_no_name_says_spine_nothing_is_stored(scene):
    volume = add_volume(scene, ct_image())
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Ribs")
    add_segment(node, "left rib 9", layer(np.ones((3, 3, 3), np.uint8), matrix_of(ct_image())), 1)
    with pytest.raises(InputError, match="Ribs has no segment named"):
        training_mask(node, volume)


def test_a_full_disk_keeps_nothing_of_the_case(scene, tmp_path, monkeypatch):
    ct = ct_image()
    volume, node = add_volume(scene, ct), scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    add_segment(node, "L3", layer(np.ones((3, 3, 3), np.uint8), matrix_of(ct)), 1)
    with WorkerProcess() as worker:
        beside = worker.new_folder()
        run = SubmitRun(worker, volume, node, tmp_path / "spine.cases.h5")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
        with pytest.raises(OutputError, match="not enough space"):
            run.step()
        assert [*beside.parent.iterdir()] == [beside]
        assert not run.running


def test_a_segment_that_nobody_named_is_told(scene, tmp_path):
    """A vertebra drawn into a new segment would be learned as background."""
    volume, node = add_volume(scene, ct_image()), scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    shared = layer(np.array([[[1, 2, 3]]], np.uint8), matrix_of(ct_image()))
    for label, name in ((1, "Vertebrae"), (2, "Segment_1"), (3, "left rib 9"), (4, "Segment_2")):
        add_segment(node, name, shared, label)
    with WorkerProcess() as worker:
        run = SubmitRun(worker, volume, node, tmp_path / "spine.cases.h5")
        run.cancel()
    assert run.notes == ("nobody named Segment_1, so it counts as background; if it is spine, name it so",)
