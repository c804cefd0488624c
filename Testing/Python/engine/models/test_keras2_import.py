"""Import of Keras 2 weights, against the networks that such files come from, built here as their scripts do."""

import h5py
import numpy as np
import pytest
from small_models import start_keras
from SpineSegLib.engine.errors import ModelError, OutputError
from SpineSegLib.engine.models.keras2_import import import_keras2
from SpineSegLib.engine.models.model_file import build_from_file, read_info
from SpineSegLib.engine.models.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def keras():
    return start_keras()


def script_with_transposed_convolutions(keras, norm=False):
    """Up-convolutions are transposed, without activation, and come first in the concatenation; ReLUs are layers."""
    layers = keras.layers

    def twice(x, filters):
        for _ in range(2):
            x = layers.Conv2D(filters, (3, 3), padding="same")(x)
            x = layers.BatchNormalization()(x) if norm else x
            x = layers.Activation("relu")(x)
        return x

    inputs = layers.Input((None, None, 1))
    c1 = twice(inputs, 4)
    c2 = twice(layers.Dropout(0.1)(layers.MaxPooling2D((2, 2))(c1)), 8)
    c3 = twice(layers.MaxPooling2D((2, 2))(c2), 16)
    u2 = layers.Conv2DTranspose(8, (2, 2), strides=(2, 2), padding="same")(c3)
    c4 = twice(layers.concatenate([u2, c2]), 8)
    u1 = layers.Conv2DTranspose(4, (2, 2), strides=(2, 2), padding="same")(c4)
    c5 = twice(layers.concatenate([u1, c1]), 4)
    return keras.Model(inputs, layers.Conv2D(1, (1, 1), activation="sigmoid")(c5))


def script_with_upsampling(keras):
    """Up-convolutions follow an UpSampling2D, have ReLUs and come second; a 2-channel one is before the last."""
    layers = keras.layers

    def convolution(x, filters, kernel=3):
        return layers.Conv2D(filters, kernel, activation="relu", padding="same")(x)

    inputs = layers.Input((None, None, 1))
    c1 = convolution(convolution(inputs, 4), 4)
    c2 = convolution(convolution(layers.MaxPooling2D()(c1), 8), 8)
    u1 = convolution(layers.UpSampling2D(size=(2, 2))(layers.Dropout(0.5)(c2)), 4, kernel=2)
    c3 = convolution(convolution(layers.concatenate([c1, u1], axis=3), 4), 4)
    return keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(convolution(c3, 2)))


def randomise(keras, model, seed=3):
    """Biases and statistics other than 0 and 1, so that losing one shows."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights(
            [
                rng.uniform(0.5, 1.5, w.shape)
                if w.ndim == 1
                else rng.normal(0, np.sqrt(2 / np.prod(w.shape[:3])), w.shape)
                for w in (keras.ops.convert_to_numpy(w) for w in layer.weights)
            ]
        )


def save_as_keras2(keras, model, path, whole_model=False):
    """The layout of Keras 2: names as attributes of bytes, weights as `layer/layer/kernel:0`."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        root.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        root.attrs["backend"] = b"tensorflow"
        root.attrs["keras_version"] = b"2.4.0"
        for layer in model.layers:
            group = root.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group.create_dataset(name, data=keras.ops.convert_to_numpy(weight))


def slices():
    return np.random.default_rng(4).random((2, 16, 24, 1), dtype=np.float32)


@pytest.mark.parametrize("whole_model", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_a_script_with_transposed_convolutions(keras, tmp_path, whole_model, norm):
    original = script_with_transposed_convolutions(keras, norm)
    randomise(keras, original)
    save_as_keras2(keras, original, tmp_path / "old.h5", whole_model)
    info = import_keras2(tmp_path / "old.h5", tmp_path / "new.weights.h5", skip_first=False)
    architecture = info.architecture
    assert (architecture.inputs, architecture.outputs, architecture.width, architecture.depth) == (1, 1, 4, 2)
    assert (architecture.up, architecture.normalization) == ("transpose", "batch" if norm else "none")
    assert info == read_info(tmp_path / "new.weights.h5")
    assert info.preprocessing.bits == 8
    imported, _ = build_from_file(tmp_path / "new.weights.h5")
    expected = original.predict(slices(), verbose=0)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(imported.predict(slices(), verbose=0), expected, atol=1e-5)


def test_a_script_with_upsampling(keras, tmp_path):
    original = script_with_upsampling(keras)
    randomise(keras, original)
    save_as_keras2(keras, original, tmp_path / "old.h5")
    info = import_keras2(tmp_path / "old.h5", tmp_path / "new.weights.h5", up_relu=True)
    assert (info.architecture.up, info.architecture.head, info.architecture.depth) == ("upsample", 2, 1)
    imported, _ = build_from_file(tmp_path / "new.weights.h5")
    expected = original.predict(slices(), verbose=0)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(imported.predict(slices(), verbose=0), expected, atol=1e-5)


def test_what_is_told_is_kept(keras, tmp_path):
    original = script_with_upsampling(keras)
    save_as_keras2(keras, original, tmp_path / "old.h5")
    wanted = Preprocessing(spacing=0.8, context=(0.0,))
    info = import_keras2(
        tmp_path / "old.h5",
        tmp_path / "new.weights.h5",
        "mine",
        labels=("vertebrae",),
        preprocessing=wanted,
        licence="MIT",
    )
    assert (info.name, info.labels, info.preprocessing, info.licence) == ("mine", ("vertebrae",), wanted, "MIT")


def test_an_existing_model_stays(keras, tmp_path):
    save_as_keras2(keras, script_with_upsampling(keras), tmp_path / "old.h5")
    (tmp_path / "new.weights.h5").write_bytes(b"precious")
    with pytest.raises(OutputError):
        import_keras2(tmp_path / "old.h5", tmp_path / "new.weights.h5")
    assert (tmp_path / "new.weights.h5").read_bytes() == b"precious"


def no_network(keras):
    layers = keras.layers
    inputs = layers.Input((8, 8, 1))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Conv2D(4, 3)(inputs))))


def one_convolution_a_level(keras):
    layers = keras.layers
    inputs = layers.Input((None, None, 1))
    c1 = layers.Conv2D(4, 3, padding="same")(inputs)
    c2 = layers.Conv2D(8, 3, padding="same")(layers.MaxPooling2D()(c1))
    u1 = layers.Conv2DTranspose(4, 2, strides=2)(c2)
    return keras.Model(inputs, layers.Conv2D(1, 1)(layers.Conv2D(4, 3, padding="same")(layers.concatenate([c1, u1]))))


def channels_not_doubled(keras):
    layers = keras.layers
    x = inputs = layers.Input((None, None, 1))
    for filters in (4, 4):
        x = layers.Conv2D(filters, 3, padding="same")(x)
    for filters in (6, 6):
        x = layers.Conv2D(filters, 3, padding="same")(x)
    x = layers.Conv2DTranspose(4, 2, strides=2)(x)
    for filters in (4, 4):
        x = layers.Conv2D(filters, 3, padding="same")(x)
    return keras.Model(inputs, layers.Conv2D(1, 1)(x))


@pytest.mark.parametrize("network", [no_network, one_convolution_a_level, channels_not_doubled])
def test_other_networks_are_refused(keras, tmp_path, network):
    save_as_keras2(keras, network(keras), tmp_path / "old.h5")
    with pytest.raises(ModelError, match=r"^old\.h5 can't be imported: .*\.$"):
        import_keras2(tmp_path / "old.h5", tmp_path / "new.weights.h5")
    assert not (tmp_path / "new.weights.h5").exists()


def test_labels_that_do_not_fit_are_refused(keras, tmp_path):
    save_as_keras2(keras, script_with_upsampling(keras), tmp_path / "old.h5")
    with pytest.raises(ModelError, match="don't fit the labels"):
        import_keras2(tmp_path / "old.h5", tmp_path / "new.weights.h5", labels=("vertebrae", "sacrum"))


def test_files_that_are_no_keras_2_weights_are_refused(keras, tmp_path):
    old, new = tmp_path / "old.h5", tmp_path / "new.weights.h5"
    with pytest.raises(ModelError, match="no readable model file"):
        import_keras2(old, new)
    old.write_bytes(b"text")
    with pytest.raises(ModelError, match="not a model file"):
        import_keras2(old, new)
    with h5py.File(old, "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(ModelError, match="not a weights file of Keras 2"):
        import_keras2(old, new)
    save_as_keras2(keras, script_with_upsampling(keras), old)
    old.write_bytes(old.read_bytes()[:-3000])
    with pytest.raises(ModelError, match="corrupt"):
        import_keras2(old, new)


def test_links_to_other_files_are_not_followed(keras, tmp_path):
    model = script_with_upsampling(keras)
    save_as_keras2(keras, model, tmp_path / "secret.h5")
    save_as_keras2(keras, model, tmp_path / "old.h5")
    name = model.layers[1].name
    with h5py.File(tmp_path / "old.h5", "a") as file:
        attribute = list(file[name].attrs["weight_names"])
        del file[name]
        file[name] = h5py.ExternalLink("secret.h5", f"/{name}")
        assert attribute == list(file[name].attrs["weight_names"])
    with pytest.raises(ModelError, match="corrupt"):
        import_keras2(tmp_path / "old.h5", tmp_path / "new.weights.h5")
