"""The graph built for OpenVINO against the Keras network of the same file, over all that an architecture can be."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import model_info, random_weights, start_keras, write_model
from SpineSegLib.engine.errors import ModelError
from SpineSegLib.engine.models import network, openvino_graph
from SpineSegLib.engine.models.model_file import build_from_file, save_weights
from SpineSegLib.engine.models.openvino_graph import (
    WITH_VNNI,
    WITHOUT_VNNI,
    build_graph,
    largest_in_int8,
    network_graph,
)
from SpineSegLib.engine.models.unet import Architecture

openvino = pytest.importorskip("openvino")


@pytest.fixture(scope="module", autouse=True)
def keras():
    return start_keras()


def computed(path, x):
    """What the graph gives in float32 for (n, inputs, y, x)."""
    compiled = openvino.Core().compile_model(network_graph(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([x])[0]


@pytest.mark.parametrize(
    "values",
    [
        {"depth": 1},
        {"depth": 2, "up_relu": True, "skip_first": False, "head": 5},
        {"depth": 3, "outputs": 1, "normalization": "none", "inputs": 1},
        {"depth": 4, "outputs": 1, "width": 3},
        {"depth": 1, "up": "upsample", "normalization": "none", "head": 3},
        {"depth": 2, "up": "upsample", "up_relu": True},
        {"depth": 3, "up": "upsample", "skip_first": False, "outputs": 1},
    ],
    ids=str,
)
def test_it_computes_what_keras_computes(tmp_path, values):
    path = tmp_path / "a.weights.h5"
    info = write_model(path, **values)
    side = info.architecture.multiple
    model, _ = build_from_file(path)
    for size in ((3 * side, 5 * side), (side, 2 * side)):
        x = np.random.default_rng(4).normal(size=(2, info.architecture.inputs, *size)).astype(np.float32)
        expected = np.moveaxis(np.asarray(model.predict(np.moveaxis(x, 1, -1), verbose=0)), -1, 1)
        assert expected.std() > 0.05
        found = computed(path, x)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_size_of_slices_is_free_and_the_channels_are_not(tmp_path):
    write_model(tmp_path / "a.weights.h5")
    graph = network_graph(tmp_path / "a.weights.h5")
    assert graph.inputs[0].partial_shape == openvino.PartialShape([-1, 3, -1, -1])
    assert graph.outputs[0].partial_shape[1] == 3


def test_segmenting_with_openvino_imports_no_keras(tmp_path, run_python):
    write_model(tmp_path / "a.weights.h5")
    said = run_python(
        "import sys\n"
        "import numpy as np\n"
        "from SpineSegLib.engine.models.network import Network\n"
        f"network = Network({str(tmp_path / 'a.weights.h5')!r}, 'cpu', 'openvino')\n"
        "print(network.predict(np.ones((1, 3, 20, 22), np.float32)).shape)\n"
        "print({'keras', 'tensorflow', 'torch', 'jax'} & set(sys.modules))\n"
    )
    assert said.splitlines() == ["(1, 2, 20, 22)", "set()"]


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "a.weights.h5"
    architecture = write_model(path).architecture
    weights = random_weights(architecture)["encoder1_conv1"][0].tobytes()
    content = path.read_bytes()
    assert content.count(weights) == 1
    path.write_bytes(content.replace(weights, weights[:-1] + bytes([weights[-1] ^ 1])))
    with pytest.raises(ModelError, match="damaged"):
        network_graph(path)


INT8_CASES = [
    Architecture(3, 3, 8, 2, "batch"),
    Architecture(1, 1, 8, 2, up="upsample", up_relu=True, skip_first=False, head=8),
    Architecture(2, 3, 8, 1, "batch", up="upsample"),
]


def slices(architecture, side=32):
    return np.random.default_rng(5).random((2, architecture.inputs, side, side), dtype=np.float32)


def seen_peaks(architecture, weights, x):
    """Largest magnitudes within the float32 graph."""
    graph = build_graph(architecture, weights)
    nodes = {node.get_friendly_name(): node for node in graph.get_ops()}
    inner = openvino.Model([nodes[name].output(0) for name in architecture.inner], graph.get_parameters())
    values = openvino.Core().compile_model(inner, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])
    return {name: float(np.abs(values[i]).max()) for i, name in enumerate(architecture.inner)}


@pytest.mark.parametrize("architecture", INT8_CASES, ids=str)
def test_int8_gives_nearly_the_same(architecture):
    weights, x = random_weights(architecture), slices(architecture)
    core = openvino.Core()
    exact = core.compile_model(build_graph(architecture, weights), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])[0]
    peaks = seen_peaks(architecture, weights, x)
    int8 = core.compile_model(build_graph(architecture, weights, peaks), "CPU")([x])[0]
    assert exact.std() > 0.1
    assert 0 < np.abs(int8 - exact).mean() < 0.02
    # what is larger than its peak is cut off
    cut = build_graph(architecture, weights, {name: peak / 20 for name, peak in peaks.items()})
    assert np.abs(core.compile_model(cut, "CPU")([x])[0] - exact).mean() > 0.05


@pytest.mark.parametrize("negative", [False, True], ids=["positive", "negative"])
def test_the_largest_sums_are_not_cut_off_in_int8(negative):
    """Older CPUs add two products in 16 bits; with kernels of 8 bits these sums would come out half as large."""
    if not largest_in_int8():
        pytest.skip("this CPU is not fast with int8")
    architecture = Architecture(8, 1, 16, 1)
    weights = {name: [np.zeros_like(a) for a in arrays] for name, arrays in random_weights(architecture).items()}
    kernel, bias = weights["encoder1_conv1"]
    kernel[:] = -1 if negative else 1
    bias[:] = 200 if negative else 0
    found = of_first_convolution(architecture, weights, np.ones((1, 8, 8, 8), np.float32), largest_in_int8())
    np.testing.assert_allclose(found, 200 - 72 if negative else 72, rtol=0.02)


def of_first_convolution(architecture, weights, x, largest):
    """What it gives of (1, inputs, y, x) in int8: (filters, y - 2, x - 2), without the border."""
    graph = build_graph(architecture, weights, dict.fromkeys(architecture.inner, 200.0), largest)
    first = next(node for node in graph.get_ops() if node.get_friendly_name() == "encoder1_conv1")
    compiled = openvino.Core().compile_model(openvino.Model([first.output(0)], graph.get_parameters()), "CPU")
    kinds = [node.get_rt_info()["runtimePrecision"].value for node in compiled.get_runtime_model().get_ordered_ops()]
    assert "u8" in kinds
    return compiled([x])[0][0, :, 1:-1, 1:-1]


@pytest.mark.parametrize("largest", [WITH_VNNI, WITHOUT_VNNI])
def test_small_values_beside_a_large_one_are_not_lost_in_int8(largest):
    """Eight values that each would be rounded to 0, or up by a quarter, still add up."""
    if not largest_in_int8():
        pytest.skip("this CPU is not fast with int8")
    architecture = Architecture(1, 1, 16, 1)
    weights = {name: [np.zeros_like(a) for a in arrays] for name, arrays in random_weights(architecture).items()}
    kernel, _ = weights["encoder1_conv1"]
    kernel[:] = 0.4 / 64
    kernel[1, 1] = 1
    found = of_first_convolution(architecture, weights, np.ones((1, 1, 8, 8), np.float32), largest)
    np.testing.assert_allclose(found, 1 + 8 * 0.4 / 64, atol=0.007)


@pytest.mark.parametrize(
    ("features", "largest"),
    [
        (("avx2", "avx512_vnni"), WITH_VNNI),
        (("avx2", "avx_vnni"), WITH_VNNI),
        (("avx2", "avx512f"), WITHOUT_VNNI),
        (("sse4_2", "avx"), 0),
        (("asimd",), 0),
    ],
    ids=str,
)
def test_how_large_kernels_in_int8_may_be(features, largest, monkeypatch):
    monkeypatch.setattr(openvino_graph, "cpu_has", lambda *asked: not set(features).isdisjoint(asked))
    assert largest_in_int8() == largest


def test_how_large_they_may_be_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setattr(openvino_graph, "cpu_has", lambda *asked: None)
    half = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for machine, largest in (("AMD64", WITH_VNNI if half else WITHOUT_VNNI), ("arm64", 0)):
        monkeypatch.setattr(openvino_graph.platform, "machine", lambda machine=machine: machine)
        assert largest_in_int8() == largest


def test_all_convolutions_but_the_last_run_in_int8():
    if not largest_in_int8():
        pytest.skip("this CPU is not fast with int8")
    for architecture in INT8_CASES:
        weights, x = random_weights(architecture), slices(architecture)
        graph = build_graph(architecture, weights, seen_peaks(architecture, weights, x))
        graph.reshape(list(x.shape))
        compiled = openvino.Core().compile_model(graph, "CPU")
        infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
        kinds = [(info["layerType"].value, info["runtimePrecision"].value) for info in infos]
        convolutions = [precision for kind, precision in kinds if kind in ("Convolution", "Deconvolution")]
        assert len(convolutions) == len(list(architecture.convolutions()))
        assert all(precision in ("u8", "i8") for precision in convolutions[:-1]), convolutions
        assert convolutions[-1] in ("bf16", "f32")


def test_peaks_of_a_file_are_used_where_they_may_be(tmp_path):
    """Peaks far too small show at once whether a network is computed with them."""
    architecture = Architecture(3, 3, 8, 2, "batch")
    weights, x = random_weights(architecture), slices(architecture)
    for name, peaks in (("plain", None), ("int8", dict.fromkeys(architecture.inner, 0.01))):
        save_weights(weights, model_info(architecture), tmp_path / f"{name}.weights.h5", peaks=peaks)

    def predicted(name, exact):
        return network._openvino(tmp_path / f"{name}.weights.h5", "cpu", exact)[0](x)

    np.testing.assert_array_equal(predicted("int8", exact=True), predicted("plain", exact=True))
    used = np.abs(predicted("int8", exact=False) - predicted("plain", exact=False)).mean() > 0.05
    assert used == bool(largest_in_int8())
