"""Whole runs with a real worker process and a small network; the scene during, after, and when something goes wrong."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from geometry import rotated, smooth_ct
from scene_samples import (
    MIRRORED,
    add_segment,
    add_transform,
    add_volume,
    assert_sentence,
    bent,
    layer,
    mask_points,
    matrix_of,
    points_in,
    rigid,
    snapshot,
)
from small_models import model_info, random_weights
from SpineSegLib.engine.errors import ComputeError, InputError, ModelError, OutputError
from SpineSegLib.engine.exchange import open_mask, write_volume_steps
from SpineSegLib.engine.models.model_file import save_weights
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.models.unet import Architecture
from SpineSegLib.scene import segment_run
from SpineSegLib.scene.segment_run import SegmentRun
from SpineSegLib.worker_client import WorkerProcess

PATIENCE = 60.0  # seconds for anything


def write_model(path: Path, width: int, labels=("vertebrae", "sacrum")) -> Path:
    """A network of random weights that finds two structures in noise and in bodies."""
    architecture = Architecture(inputs=1, outputs=3, width=width, depth=2, normalization="batch")
    info = model_info(architecture, labels=labels, preprocessing=Preprocessing(spacing=2.0, context=(0.0,)))
    save_weights(random_weights(architecture, 7), info, path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "quick.weights.h5", 4)


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory) -> Path:
    """Slow enough to be interrupted."""
    return write_model(tmp_path_factory.mktemp("models") / "slow.weights.h5", 48)


@pytest.fixture(scope="module")
def worker():
    with WorkerProcess() as process:
        yield process


@pytest.fixture(scope="module")
def image() -> sitk.Image:
    """A CT that is stored obliquely."""
    return rotated(smooth_ct(), (8, -12, 20), spacing=(2.0, 2.0, 3.0))


def until(condition, run: SegmentRun) -> float:
    """Step until the condition is met; the longest step in seconds."""
    longest, end = 0.0, time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, run.state
        start = time.monotonic()
        run.step()
        longest = max(longest, time.monotonic() - start)
        time.sleep(0.01)
    return longest


def to_the_end(run: SegmentRun) -> SegmentRun:
    until(lambda: not run.running, run)
    return run


def computed(worker, model, image: sitk.Image, **parameters) -> np.ndarray:
    """The mask the worker makes of a CT that SimpleITK places."""
    folder = worker.new_folder()
    array, place = sitk.GetArrayViewFromImage(image), (image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    assert list(write_volume_steps(folder, array, *place))[-1] == 1.0
    options = {"region": None, "postprocess": True, "whole": False, **parameters}
    job = worker.start_job("segment", device="auto", folder=str(folder), model=str(model), **options)
    end = time.monotonic() + PATIENCE
    while job.state == "running":
        assert time.monotonic() < end
        job.poll()
        time.sleep(0.01)
    assert job.state == "finished", job.message
    mask = np.array(open_mask(folder))
    worker.remove_folder(folder)
    return mask


def assert_shows(run: SegmentRun, image: sitk.Image, mask: np.ndarray, volume) -> None:
    assert (mask == 1).any()
    for key, label in (("vertebrae", 1), ("sacrum", 2)):
        found = points_in(run.segmentation_node, run.segment_ids[key])
        np.testing.assert_allclose(found, mask_points(image, mask == label, volume), atol=2e-3)


def test_a_run_from_start_to_end(scene, worker, slow_model, image):
    volume = add_volume(scene, image)
    run = SegmentRun(worker, volume, None, slow_model)
    assert run.state == "copying"
    assert run.segmentation_node is None
    states, shown = [run.state], []

    def at_the_end() -> bool:
        if run.state != states[-1]:
            states.append(run.state)
        if run.state == "segmenting":
            shown.append(len(points_in(run.segmentation_node, "vertebrae")))
        return not run.running

    until(at_the_end, run)
    assert run.message == ""
    assert [state for state in states if state != "finishing"] == ["copying", "starting", "segmenting", "finished"]
    assert run.done == run.of > 0
    assert run.started["backend"]
    assert any(0 < each < shown[-1] for each in shown), "nothing was to be seen before the end"
    mask = computed(worker, slow_model, image)
    assert (mask == 2).any()
    assert_shows(run, image, mask, volume)


@pytest.mark.parametrize("kind", ["rigid", "bent"])
def test_under_transforms(scene, worker, model, kind):
    """Under a rigid transform the world decides what is axial, else the volume's own coordinates."""
    image = smooth_ct()
    image.SetDirection(MIRRORED.ravel().tolist())
    volume = add_volume(scene, image)
    parent = add_transform(scene, general=bent()) if kind == "bent" else add_transform(scene, rigid())
    volume.SetAndObserveTransformNodeID(parent.GetID())
    run = to_the_end(SegmentRun(worker, volume, None, model))
    assert run.state == "finished", run.message
    as_seen = sitk.Image(image)
    if kind == "rigid":
        to_lps = np.diag([-1.0, -1, 1, 1]) @ rigid() @ matrix_of(image)
        as_seen.SetOrigin(to_lps[:3, 3].tolist())
        as_seen.SetDirection((to_lps[:3, :3] / image.GetSpacing()).ravel().tolist())
    assert_shows(run, image, computed(worker, model, as_seen), volume)
    assert run.segmentation_node.GetParentTransformNode() is parent


def test_a_region_changes_only_its_slices(scene, worker, model, image):
    volume = add_volume(scene, image)
    run = to_the_end(SegmentRun(worker, volume, None, model, postprocess=False))
    node = run.segmentation_node
    low, high = -690.0, -670.0
    before = {key: points_in(node, id_) for key, id_ in run.segment_ids.items()}
    # everything of ours is taken away first, so that it shows what comes back
    node.GetSegmentation().GetSegment("vertebrae").AddRepresentation(
        "Binary labelmap", layer(np.zeros((1, 1, 1), np.uint8), matrix_of(image))
    )
    run = to_the_end(SegmentRun(worker, volume, node, model, region=(high, low), postprocess=False))
    assert run.state == "finished", run.message
    assert run.segmentation_node is node
    mask = computed(worker, model, image, region=[low, high], postprocess=False)
    assert 0 < np.count_nonzero(mask != 255) < mask.size / 2
    np.testing.assert_allclose(points_in(node, "vertebrae"), mask_points(image, mask == 1), atol=2e-3)
    outside = {tuple(point) for point in mask_points(image, mask == 255)}
    sacrum = {tuple(point) for point in points_in(node, "sacrum")}
    assert {point for point in map(tuple, before["sacrum"]) if point in outside} == sacrum & outside
    assert len(before["vertebrae"]) > len(points_in(node, "vertebrae")) > 0


def test_cancel_puts_everything_back_at_once(scene, worker, slow_model, model, image):
    volume = add_volume(scene, image)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    add_segment(node, "theirs", layer(np.ones((2, 2, 2), np.uint8), matrix_of(image)), 1)
    before = snapshot(node)
    saved = []
    run = SegmentRun(worker, volume, node, slow_model, before_change=lambda it: saved.append(snapshot(it)))
    until(lambda: run.state == "segmenting" and run.done > 0, run)
    assert saved == [before]
    assert snapshot(node) != before
    run.cancel()
    assert run.state == "cancelled"
    assert snapshot(node) == before
    # the next run waits by itself until the worker is free, also where nobody steps the cancelled one any more
    again = to_the_end(SegmentRun(worker, volume, node, model))
    assert again.state == "finished", again.message
    to_the_end(run)
    assert run.state == "cancelled"


def test_cancel_of_a_new_node_leaves_nothing(scene, worker, slow_model, image):
    volume = add_volume(scene, image)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    items = hierarchy.GetNumberOfItems()
    nodes = scene.GetNumberOfNodes()
    for state in ("copying", "starting", "segmenting"):
        run = SegmentRun(worker, volume, None, slow_model)
        until(lambda run=run, state=state: run.state == state, run)
        run.cancel()
        assert run.segmentation_node is None
        assert (scene.GetNumberOfNodes(), hierarchy.GetNumberOfItems()) == (nodes, items)
        to_the_end(run)
        assert run.state == "cancelled"
        assert not worker.busy
    run.cancel()
    run.step()  # both may come too late


def test_a_ct_is_handed_over_once(scene, worker, model, image, monkeypatch):
    volume = add_volume(scene, image)
    assert to_the_end(SegmentRun(worker, volume, None, model)).state == "finished"

    def again(*_):
        raise AssertionError("the CT is written again")

    monkeypatch.setattr(segment_run, "write_volume_steps", again)
    assert to_the_end(SegmentRun(worker, volume, None, model, region=(-690, -680))).state == "finished"
    volume.GetImageData().GetPointData().GetScalars().Modified()
    with pytest.raises(AssertionError):
        to_the_end(SegmentRun(worker, volume, None, model))


def test_a_second_job_is_refused(scene, worker, slow_model, image):
    volume = add_volume(scene, image)
    run = SegmentRun(worker, volume, None, slow_model)
    until(lambda: run.state == "segmenting", run)
    with pytest.raises(ComputeError):
        SegmentRun(worker, volume, None, slow_model)
    run.cancel()
    to_the_end(run)


def test_a_worker_that_is_closed(scene, slow_model, image):
    volume = add_volume(scene, image)
    with WorkerProcess() as process:
        run = SegmentRun(process, volume, None, slow_model)
        until(lambda: run.state == "segmenting" and run.done > 0, run)
    to_the_end(run)
    assert run.state == "failed"
    assert_sentence(run.message)
    assert scene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None


def test_a_worker_that_dies(scene, worker, slow_model, model, image):
    volume = add_volume(scene, image)
    nodes = scene.GetNumberOfNodes()
    run = SegmentRun(worker, volume, None, slow_model)
    until(lambda: run.state == "segmenting" and run.done > 0, run)
    os.kill(worker.pid, signal.SIGKILL)
    to_the_end(run)
    assert run.state == "failed"
    assert_sentence(run.message)
    assert scene.GetNumberOfNodes() == nodes
    assert to_the_end(SegmentRun(worker, volume, None, model)).state == "finished"


MEANWHILE = {
    "scene closed": lambda scene, volume, run: scene.Clear(),
    "CT removed": lambda scene, volume, run: scene.RemoveNode(volume),
    "CT's voxels changed": lambda scene, volume, run: volume.GetImageData().GetPointData().GetScalars().Modified(),
    "CT moved": lambda scene, volume, run: volume.SetOrigin(1, 2, 3),
    "CT emptied": lambda scene, volume, run: volume.SetAndObserveImageData(None),
    "node removed": lambda scene, volume, run: scene.RemoveNode(run.segmentation_node),
    "segment removed": lambda scene, volume, run: run.segmentation_node.GetSegmentation().RemoveSegment("sacrum"),
    "node locked": lambda scene, volume, run: run.segmentation_node.SetSelectable(False),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_the_scene_changes_meanwhile(scene, worker, slow_model, image, what):
    volume = add_volume(scene, image)
    run = SegmentRun(worker, volume, None, slow_model)
    until(lambda: run.state == "segmenting" and run.done > 0, run)
    MEANWHILE[what](scene, volume, run)
    to_the_end(run)
    assert run.state == "cancelled"
    assert_sentence(run.message)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode") == (what == "node removed")
    assert not worker.busy
    assert run.volume_node is None  # else closing the scene would not free the CT


def test_what_can_not_begin_changes_nothing(scene, worker, model, image, tmp_path):
    volume = add_volume(scene, image)
    before = scene.GetNumberOfNodes()
    with pytest.raises(InputError):
        SegmentRun(worker, None, None, model)
    with pytest.raises(ModelError):
        SegmentRun(worker, volume, None, tmp_path / "none.weights.h5")
    with pytest.raises(ModelError):
        SegmentRun(worker, volume, None, write_model(tmp_path / "ribs.weights.h5", 4, ("rib", "lung")))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetSelectable(False)
    with pytest.raises(InputError):
        SegmentRun(worker, volume, node, model)
    scene.RemoveNode(node)
    assert scene.GetNumberOfNodes() == before


def test_no_space_for_temporary_files(scene, model, image, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    before = scene.GetNumberOfNodes()
    with WorkerProcess() as process:
        volume = add_volume(scene, image)
        run = to_the_end(SegmentRun(process, volume, None, model))
    assert run.state == "failed"
    assert_sentence(run.message)
    assert scene.GetNumberOfNodes() == before + 1


def test_a_full_disk_keeps_nothing_of_the_ct(scene, model, image, monkeypatch):
    def steps(folder, *_):
        (folder / "volume.npy").write_bytes(b"half of it")
        yield 0.5
        raise OutputError("There is not enough space for temporary files; free some.")

    monkeypatch.setattr(segment_run, "write_volume_steps", steps)
    with WorkerProcess() as process:
        beside = process.new_folder()
        run = to_the_end(SegmentRun(process, add_volume(scene, image), None, model))
        assert run.state == "failed"
        assert [*beside.parent.iterdir()] == [beside]


def test_an_error_of_a_caller_leaves_the_scene_as_it_was(scene, worker, model, image):
    volume = add_volume(scene, image)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    before = snapshot(node)

    def broken(_node) -> None:
        raise ZeroDivisionError

    run = SegmentRun(worker, volume, node, model, before_change=broken)
    with pytest.raises(ZeroDivisionError):
        to_the_end(run)
    assert run.state == "failed"
    assert_sentence(run.message)
    assert snapshot(node) == before
    to_the_end(run)
    assert not worker.busy
