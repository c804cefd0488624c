"""Networks on each backend, every one in a process of its own, against the same computation in numpy."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from small_models import random_weights, start_keras, unet_by_hand, write_model
from SpineSegLib.engine.errors import ComputeError, ModelError
from SpineSegLib.engine.models.backends import installed_backends
from SpineSegLib.engine.models.network import Network

# Largest difference of a probability: in float32, and in half precision where the CPU computes faster with it.
EXACT, HALF = 1e-5, 0.05

PREDICT = """
import sys
import numpy as np
from SpineSegLib.engine.models.model_file import build_from_file
from SpineSegLib.engine.models.network import Network

backend, folder = sys.argv[1:]
x = np.load(f"{folder}/x.npy")
results = {}
for model in ("transpose", "upsample"):
    path = f"{folder}/{model}.weights.h5"
    network = Network(path, device="cpu", backend=backend, exact=True)
    assert (network.backend, network.device) == (backend, "cpu")
    others = {"openvino", "tensorflow", "torch"} - {backend}
    assert not others & set(sys.modules), others & set(sys.modules)
    results[f"{model} exact"], results[f"{model} again"] = network.predict(x), network.predict(x)
    results[f"{model} half"] = Network(path, device="cpu", backend=backend).predict(x)
    # Channels last by Keras alone, which is not what Network takes for OpenVINO and torch.
    keras_model, _ = build_from_file(path, "channels_last")
    results[f"{model} last"] = np.moveaxis(keras_model.predict(np.moveaxis(x, 1, -1), verbose=0), -1, 1)[:, 1:]
np.savez(f"{folder}/results.npz", **results)
"""


def slices(n=2, channels=3, height=20, width=24):
    return np.random.default_rng(7).random((n, channels, height, width), dtype=np.float32)


def by_hand(info, x):
    """Probabilities (n, labels, y, x) in numpy; y and x of x must fit the network."""
    weights = random_weights(info.architecture)
    y = np.stack([unet_by_hand(info.architecture, weights, np.moveaxis(one, 0, -1)) for one in x])
    return np.moveaxis(y, -1, 1)[:, 0 if info.architecture.outputs == 1 else 1 :]


@pytest.mark.parametrize("backend", ["openvino", "tensorflow", "torch"])
def test_backends_and_layouts_agree(tmp_path, backend):
    if backend not in installed_backends():
        pytest.skip(f"{backend} is not installed")
    x = slices()
    np.save(tmp_path / "x.npy", x)
    infos = {
        "transpose": write_model(tmp_path / "transpose.weights.h5", width=8),
        "upsample": write_model(tmp_path / "upsample.weights.h5", up="upsample", up_relu=True, skip_first=False),
    }
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    run = subprocess.run(
        [sys.executable, "-c", PREDICT, backend, str(tmp_path)], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr
    results = np.load(tmp_path / "results.npz")
    for model, info in infos.items():
        expected = by_hand(info, x)
        assert expected.std() > 0.1
        exact = results[f"{model} exact"]
        assert exact.dtype == np.float32
        np.testing.assert_allclose(exact, expected, atol=EXACT)
        np.testing.assert_array_equal(exact, results[f"{model} again"])
        np.testing.assert_allclose(results[f"{model} half"], expected, atol=HALF)
        # Keras' OpenVINO backend takes bfloat16 where the CPU has it.
        np.testing.assert_allclose(results[f"{model} last"], expected, atol=HALF if backend == "openvino" else EXACT)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network on whichever backend this process has."""
    start_keras()
    path = tmp_path_factory.mktemp("model") / "a.weights.h5"
    write_model(path)
    return Network(path, device="cpu", exact=True)


@pytest.fixture
def small_memory(network, monkeypatch):
    """Lets the device run out of memory beyond a number of slices; gives back the batches that were tried."""
    run, tried = network._run, []

    def limit(slices, error):
        def limited(x):
            tried.append(len(x))
            if len(x) > slices:
                raise error
            return run(x)

        monkeypatch.setattr(network, "_run", limited)
        monkeypatch.setattr(network, "_largest_batch", None)
        return tried

    return limit


def test_one_sigmoid_output_is_one_label(tmp_path):
    start_keras()
    info = write_model(tmp_path / "a.weights.h5", inputs=1, outputs=1, normalization="none")
    network = Network(tmp_path / "a.weights.h5", device="cpu", exact=True)
    x = slices(channels=1)
    assert network.predict(x).shape == (2, 1, 20, 24)
    np.testing.assert_allclose(network.predict(x), by_hand(info, x), atol=EXACT)


@pytest.mark.parametrize(("height", "width"), [(17, 22), (3, 24), (1, 1)])
def test_any_size_is_padded_with_its_edge_and_cropped_back(network, height, width):
    x = slices(height=height, width=width)
    padded = np.pad(x, ((0, 0), (0, 0), (0, -height % 4), (0, -width % 4)), mode="edge")
    expected = by_hand(network.info, padded)[:, :, :height, :width]
    np.testing.assert_allclose(network.predict(x), expected, atol=EXACT)


def test_no_slices_give_no_probabilities(network):
    assert network.predict(slices()[:0]).shape == (0, 2, 20, 24)


def test_wrong_channels_are_refused(network):
    with pytest.raises(ValueError, match=r"\(n, 3, y, x\)"):
        network.predict(slices(channels=2))


class ResourceExhaustedError(Exception):
    """Named as TensorFlow's."""


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ResourceExhaustedError("OOM when allocating tensor"),
        OutOfMemoryError("CUDA"),
        RuntimeError("Exception from src/inference: [GPU] CL_OUT_OF_RESOURCES"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 549755813888 bytes."),
        RuntimeError("could not create a memory object: std::bad_alloc"),
    ],
)
def test_short_memory_halves_the_batch_and_the_work_goes_on(network, small_memory, error):
    x = slices(n=7)
    expected = network.predict(x)
    tried = small_memory(2, error)
    np.testing.assert_allclose(network.predict(x), expected, atol=1e-6)
    assert tried == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    # Larger batches are not tried again, nor asked for.
    del tried[:]
    network.predict(x[:3])
    assert tried == [1, 1, 1]
    assert network.batch_size(64, 64) == 1


def test_a_slice_that_does_not_fit_is_one_sentence(network, small_memory):
    small_memory(0, MemoryError())
    with pytest.raises(ComputeError, match=r"not enough memory on the CPU for one slice of 24 x 20 pixels.*\.$"):
        network.predict(slices())


def test_other_errors_are_not_taken_for_short_memory(network, small_memory):
    tried = small_memory(0, RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        network.predict(slices())
    assert tried == [2]


def test_batches_shrink_with_the_size_of_slices(network):
    sizes = [network.batch_size(size, size) for size in (64, 512, 4096, 10**5)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1
    assert 1 <= sizes[0] <= 32


def test_a_bad_file_is_refused_before_anything_heavy_is_imported(tmp_path):
    (tmp_path / "bad.weights.h5").write_bytes(b"no model")
    with pytest.raises(ModelError, match="not a SpineSeg model file"):
        Network(tmp_path / "bad.weights.h5", backend="no such backend")


def test_openvino_reports_to_nobody(run_python, tmp_path):
    """OpenVINO's telemetry sends its events from a forked process."""
    pytest.importorskip("openvino")
    write_model(tmp_path / "small.weights.h5")
    said = run_python(
        "import os, sys\n"
        "os.register_at_fork(before=lambda: print('forked'))\n"
        "from SpineSegLib.engine.models.network import Network\n"
        f"network = Network({str(tmp_path / 'small.weights.h5')!r}, 'cpu', 'openvino')\n"
        "print(network.backend, sys.modules.get('openvino_telemetry'))\n"
    )
    assert said.split() == ["openvino", "None"]
