"""What the worker process writes is what the engine computes, on every kind of grid and for every part."""

from __future__ import annotations

import json
import sys
from os import utime

import numpy as np
import pytest
import SimpleITK as sitk
from ct_samples import assert_sentence
from geometry import rotated, smooth_ct
from SpineSegLib.engine.exchange import open_mask, write_volume_steps
from worker_models import save_model, wait

REGION = (-675.0, -660.0)
VOLUMES = {
    "axial": smooth_ct,
    "sagittal, flipped": lambda: sitk.Flip(sitk.PermuteAxes(smooth_ct(), (1, 2, 0)), (False, True, True)),
    "oblique": lambda: rotated(smooth_ct(size=(40, 36, 40), spacing=(1.8, 1.8, 1.8)), (-15.0, 8.0, 25.0)),
    "thick slices": lambda: smooth_ct(size=(90, 80, 14), spacing=(0.8, 0.8, 5.0)),
}
# in a process of its own, as the tests' process may have another backend than the worker
IN_PROCESS = """
import sys
sys.path += {paths!r}
import numpy as np, SimpleITK as sitk
from SpineSegLib.engine.models.network import Network
from SpineSegLib.engine.segmenter import Segmentation
from SpineSegLib.engine.volume import Volume
from test_segment_job import REGION, VOLUMES

network = Network({model!r}, "cpu")
for volume, make in VOLUMES.items():
    for part, region in (("whole", None), ("region", REGION), ("slice", (REGION[0], REGION[0]))):
        segmentation = Segmentation(Volume(make(), "test"), network, region=region)
        for _ in segmentation:
            pass
        for kind, tidy in (("raw", False), ("tidy", True)):
            np.save(f"{folder}/{{volume}} {{part}} {{kind}}.npy", sitk.GetArrayFromImage(segmentation.labelmap(tidy)))
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory, run_python, model):
    """Labels by volume, part ("whole", "region", "slice") and kind ("raw", "tidy"): (k, j, i)."""
    folder = tmp_path_factory.mktemp("expected")
    run_python(IN_PROCESS.format(paths=[path for path in sys.path if path], model=str(model), folder=folder))
    return lambda volume, part, kind: np.load(folder / f"{volume} {part} {kind}.npy")


def hand_over(folder, image, array=None):
    array = sitk.GetArrayViewFromImage(image) if array is None else array
    for _ in write_volume_steps(folder, array, image.GetSpacing(), image.GetOrigin(), image.GetDirection()):
        pass


def segment(worker, folder, model, **parameters):
    return worker.start_job("segment", device="cpu", folder=str(folder), model=str(model), **parameters)


def box_of(event):
    k0, k1, j0, j1, i0, i1 = event["box"]
    return slice(k0, k1), slice(j0, j1), slice(i0, i1)


@pytest.mark.parametrize("volume", VOLUMES)
@pytest.mark.parametrize(("part", "region"), [("whole", None), ("region", REGION), ("slice", (REGION[0],) * 2)])
def test_the_mask_is_what_the_engine_computes(worker, folder, model, expected, volume, part, region):
    hand_over(folder, VOLUMES[volume]())
    raw, tidy = expected(volume, part, "raw"), expected(volume, part, "tidy")
    assert {1, 2} <= set(np.unique(raw))
    assert (raw != tidy).any()

    job = segment(worker, folder, model, region=region, postprocess=False)
    events = wait(job)
    assert job.state == "finished", job.message
    mask = open_mask(folder)
    np.testing.assert_array_equal(mask, raw)
    shown = np.zeros(mask.shape, bool)
    for event in events:
        if event.get("box") is not None:
            shown[box_of(event)] = True
    assert shown[(raw > 0) & (raw < 255)].all()
    all_shown = np.zeros(mask.shape, bool)
    all_shown[box_of(job.result)] = True
    assert all_shown[shown].all()

    started, *progress, finished = events
    assert started["event"] == "started"
    assert [event["done"] for event in progress] == list(range(1, started["slices"] + 1))
    assert {event["of"] for event in progress} == {started["slices"]}
    assert progress[-1]["seconds_left"] == 0
    assert finished["event"] == "finished"
    assert job.result["segments"] == [{"key": "vertebrae", "label": 1}, {"key": "sacrum", "label": 2}]
    assert (job.result["model"], job.result["device"]) == ("small 1", "cpu")

    job = segment(worker, folder, model, region=region)
    wait(job)
    np.testing.assert_array_equal(open_mask(folder), tidy)


def test_a_second_job_has_the_same_process_and_network(worker, folder, model, tmp_path):
    """Another file under the same name, and as old to the second, would only be seen if it were loaded again."""
    hand_over(folder, smooth_ct())
    path = save_model(tmp_path / "a.weights.h5", seed=27)
    wait(segment(worker, folder, path))
    first, pid, before = np.array(open_mask(folder)), worker.pid, path.stat()
    save_model(path, seed=28)
    utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    wait(segment(worker, folder, path))
    np.testing.assert_array_equal(open_mask(folder), first)
    utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    wait(segment(worker, folder, path))
    assert (np.array(open_mask(folder)) != first).any()
    assert worker.pid == pid


def test_warming_loads_the_network_for_the_next_job(worker, folder, model, tmp_path):
    hand_over(folder, smooth_ct())
    wait(segment(worker, folder, model))
    expected = np.array(open_mask(folder))
    path = save_model(tmp_path / "a.weights.h5", seed=27)
    state = path.stat()
    job = worker.warm(path, device="cpu")
    wait(job)
    assert job.state == "finished"
    assert job.result["device"] == "cpu"
    save_model(path, seed=28)
    utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    wait(segment(worker, folder, path))
    np.testing.assert_array_equal(open_mask(folder), expected)


def test_what_is_no_number_is_air(worker, folder, model):
    image = smooth_ct()
    array = sitk.GetArrayFromImage(image).astype(np.float32)
    broken, air = array.copy(), array.copy()
    for place, value in ((np.s_[10:13, 20:30, 20:30], np.nan), (np.s_[20, 5:15], np.inf), (np.s_[25, 5:15], -np.inf)):
        broken[place] = value
        air[place] = -1024
    masks = []
    for values in (broken, air):
        hand_over(folder, image, values)
        job = segment(worker, folder, model)
        wait(job)
        assert job.state == "finished", job.message
        masks.append(np.array(open_mask(folder)))
    np.testing.assert_array_equal(*masks)


def test_a_volume_of_air_has_nothing_in_it(worker, folder, model):
    """Random weights find something in air, too: it is the region around the body that leaves these slices out."""
    image = sitk.ConstantPad(smooth_ct(), [0, 0, 40], [0, 0, 0], -1000)
    hand_over(folder, image)
    job = segment(worker, folder, model, region=(-775.0, -740.0))
    events = wait(job)
    assert job.result["box"] is None
    assert all(event["box"] is None for event in events if event["event"] == "progress")
    mask = open_mask(folder)
    assert (mask[3:21] == 0).all()
    assert (mask[:2] == 255).all()
    assert (mask[21:] == 255).all()


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"model": "{tmp}/no such.weights.h5"}, "ModelError", "no such"),
        ({"model": "{tmp}/text.weights.h5"}, "ModelError", "not a SpineSeg model"),
        ({"folder": "{tmp}"}, "InputError", "passed on"),
        ({"region": [500.0, 600.0]}, "InputError", "outside the CT"),
        ({"folder": ["Jane Doe"]}, "TypeError", "Unexpected TypeError"),
        ({"device": "gpu", "model": "{tmp}/text.weights.h5"}, "ModelError", "not a SpineSeg model"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(worker, folder, model, tmp_path, change, kind, words):
    (tmp_path / "text.weights.h5").write_text("no model")
    hand_over(folder, smooth_ct())
    change = {name: value.format(tmp=tmp_path) if isinstance(value, str) else value for name, value in change.items()}
    parameters = {"folder": str(folder), "model": str(model), "device": "cpu"} | change
    job = worker.start_job("segment", **parameters)
    events = wait(job)
    assert job.state == "failed"
    assert events[-1]["kind"] == kind
    assert words in job.message
    assert "Jane" not in json.dumps(events)

    class Error:
        value = job.message

    assert_sentence(Error)
    assert worker.alive
