"""The U-Net against the paper's numbers and against the same computation in numpy."""

import numpy as np
import pytest
from small_models import random_weights, start_keras, unet_by_hand
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.models.unet import MAX_PARAMETERS, PRESETS, Architecture, build_unet


@pytest.fixture(scope="module", autouse=True)
def keras():
    return start_keras()


def test_the_papers_network_has_its_31_million_parameters():
    # By hand, two 3x3 convolutions a level: 1-64-64, 64-128-128, 128-256-256, 256-512-512, 512-1024-1024, ...
    encoder = sum(9 * (a * b + b * b) + 2 * b for a, b in ((1, 64), (64, 128), (128, 256), (256, 512), (512, 1024)))
    # ... up-convolutions 1024-512 ... 128-64, each followed by two convolutions on twice the channels, and 64-1.
    decoder = sum(4 * 2 * b * b + b + 9 * (2 * b * b + b * b) + 2 * b for b in (512, 256, 128, 64))
    architecture = PRESETS["kim2020"].architecture
    assert encoder + decoder + 64 + 1 == 31_030_593
    assert architecture.parameters == 31_030_593
    assert build_unet(architecture, kernels="zeros").count_params() == 31_030_593


def test_the_papers_input_is_8_bit_divided_by_255():
    preprocessing = PRESETS["kim2020"].preprocessing
    hu = np.array([-1024.0, 3071.0, -1024 + 4095 * 100 / 255, 5000.0])
    np.testing.assert_allclose(preprocessing.normalise(hu), [0, 1, 100 / 255, 1], atol=1e-6)


def test_what_is_no_number_is_air_and_the_ct_stays_as_it_is():
    hu = np.array([np.nan, np.inf, -np.inf, 400.0], np.float32)
    np.testing.assert_allclose(Preprocessing(window=(-1624.0, 1376.0)).normalise(hu), [0.2, 1, 0, 2024 / 3000])
    np.testing.assert_array_equal(hu, np.float32([np.nan, np.inf, -np.inf, 400.0]))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_fit_together(preset):
    preset = PRESETS[preset]
    assert len(preset.preprocessing.context) == preset.architecture.inputs
    assert len(preset.labels) == max(1, preset.architecture.outputs - 1)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("up", ["transpose", "upsample"])
def test_the_described_weights_are_those_of_the_network(data_format, normalization, up):
    architecture = Architecture(2, 3, 4, 3, normalization, up=up, head=5)
    model = build_unet(architecture, data_format)
    kernels = [
        (layer.name, layer.weights[0].shape) for layer in model.layers if layer.weights and "norm" not in layer.name
    ]
    assert kernels == [(place.name, place.kernel) for place in architecture.convolutions()]
    assert model.count_params() == architecture.parameters
    assert model.output_shape == ((None, None, None, 3) if data_format == "channels_last" else (None, 3, None, None))


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(1, 1, 2, 2),
        Architecture(2, 3, 2, 2, "batch"),
        Architecture(1, 1, 2, 1, up="upsample", up_relu=True, head=2),
        Architecture(1, 2, 2, 1, skip_first=False),
    ],
)
def test_it_computes_what_numpy_computes(architecture):
    weights = random_weights(architecture)
    model = build_unet(architecture)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(weights[layer.name])
    x = np.random.default_rng(2).random((1, 12, 8, architecture.inputs), dtype=np.float32)
    probabilities = np.asarray(model.predict(x, verbose=0))[0]
    expected = unet_by_hand(architecture, weights, x[0])
    assert expected.std() > 0.005
    np.testing.assert_allclose(probabilities, expected, atol=2e-6)


def test_logits_are_the_values_before_the_probabilities(keras):
    architecture = Architecture(1, 3, 2, 1)
    both = [build_unet(architecture, logits=logits) for logits in (False, True)]
    both[1].set_weights(both[0].get_weights())
    x = np.random.default_rng(2).random((1, 8, 8, 1), dtype=np.float32)
    probabilities, logits = (model.predict(x, verbose=0) for model in both)
    softmax = keras.ops.convert_to_numpy(keras.ops.softmax(logits, axis=-1))
    np.testing.assert_allclose(probabilities, softmax, atol=1e-6)
    assert logits.min() < 0 or logits.max() > 1


def test_probabilities_stay_float32_under_mixed_precision(keras):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_unet(Architecture(1, 3, 2, 1, "batch"))
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("encoder1_conv1").compute_dtype == "bfloat16"
    assert model.get_layer("logits").compute_dtype == "float32"
    assert model.output.dtype == "float32"


@pytest.mark.parametrize(
    "values",
    [
        {"inputs": 0},
        {"outputs": 10**9},
        {"width": 0},
        {"width": 257},
        {"width": True},
        {"width": 16.0},
        {"depth": 7},
        {"normalization": "instance"},
        {"up": "pixel shuffle"},
        {"up_relu": 1},
        {"skip_first": None},
        {"head": -1},
    ],
)
def test_impossible_settings_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        Architecture(**values)


def test_networks_too_large_are_refused_before_anything_is_allocated():
    with pytest.raises(ValueError, match=str(MAX_PARAMETERS)):
        Architecture(width=256, depth=6)


def test_unknown_layout_is_refused():
    with pytest.raises(ValueError, match="channels_middle"):
        build_unet(Architecture(), "channels_middle")
