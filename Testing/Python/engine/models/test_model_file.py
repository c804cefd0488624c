"""Model files: what is written is read, and nothing else is: damaged, foreign, newer and hostile files."""

import json
import os
import pickle
import stat

import h5py
import numpy as np
import pytest
from small_models import model_info, random_weights, start_keras, write_model
from SpineSegLib.engine.errors import ModelError, OutputError
from SpineSegLib.engine.models.model_file import (
    FORMAT,
    HEADER,
    build_from_file,
    read_identity,
    read_info,
    read_peaks,
    read_weights,
    save_model,
    save_weights,
)
from SpineSegLib.engine.models.unet import Architecture, build_unet


@pytest.fixture(scope="module")
def keras():
    return start_keras()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "small.weights.h5"
    write_model(path)
    return path


def refused(path, match=None):
    """The message with which a file is refused: one sentence that names it."""
    with pytest.raises(ModelError, match=match) as caught:
        read_weights(path)
    message = str(caught.value)
    assert path.name in message
    assert message.endswith(".")
    assert message.count(". ") == 0
    assert "\n" not in message
    return message


def change_header(path, change):
    with h5py.File(path, "a") as file:
        values = json.loads(file.attrs[HEADER])
        change(values)
        file.attrs[HEADER] = json.dumps(values)


@pytest.mark.parametrize("up", ["transpose", "upsample"])
def test_a_network_comes_back_as_it_was(keras, tmp_path, up):
    architecture = Architecture(3, 3, 4, 2, "batch", up=up, head=2)
    info = model_info(
        architecture,
        name="spine-b",
        version=7,
        licence="CC BY 4.0",
        parent="spine-a 6",
        training_set="0123abcd",
        metrics={"dice": 0.95, "cases": 12},
        description="Trained in a test: Größe.",
    )
    model = build_unet(architecture)
    save_model(model, info, tmp_path / "a.weights.h5")
    loaded, loaded_info = build_from_file(tmp_path / "a.weights.h5", "channels_first")
    assert loaded_info == info
    assert read_info(tmp_path / "a.weights.h5") == info
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("up", ["transpose", "upsample"])
def test_keras_reads_our_files_and_we_read_its(keras, tmp_path, up):
    info = write_model(tmp_path / "ours.weights.h5", up=up, head=2)
    model = build_unet(info.architecture)
    model.load_weights(tmp_path / "ours.weights.h5")
    _, weights = read_weights(tmp_path / "ours.weights.h5")
    np.testing.assert_array_equal(model.get_layer("decoder2_conv1").get_weights()[0], weights["decoder2_conv1"][0])

    model.save_weights(tmp_path / "theirs.weights.h5")
    with h5py.File(tmp_path / "ours.weights.h5") as ours, h5py.File(tmp_path / "theirs.weights.h5", "a") as theirs:
        theirs.attrs[HEADER] = ours.attrs[HEADER]
    loaded, _ = build_from_file(tmp_path / "theirs.weights.h5")
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_model_is_never_overwritten(path):
    before = path.read_bytes()
    with pytest.raises(OutputError, match="never overwritten"):
        write_model(path, seed=2)
    assert path.read_bytes() == before


def test_a_checkpoint_is_replaced(path):
    info, old = read_weights(path)
    save_weights(random_weights(info.architecture, seed=2), info, path, overwrite=True)
    _, new = read_weights(path)
    assert not np.array_equal(old["logits"][0], new["logits"][0])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    info, weights = read_weights(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        save_weights(weights, info, path, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_folder_that_can_not_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_model(tmp_path / "file" / "a.weights.h5")


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_others_may_read_a_model_as_any_new_file(path):
    plain = path.parent / "plain"
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_weights_of_another_network_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match="not those of the described architecture"):
        save_weights(
            random_weights(Architecture(width=4, depth=1)), model_info(Architecture(width=4, depth=2)), tmp_path / "a"
        )


def test_missing_folder_and_directory_are_refused(tmp_path):
    refused(tmp_path / "none.weights.h5", "no readable model file")
    refused(tmp_path)


def test_foreign_files_are_refused(tmp_path):
    text = tmp_path / "text.weights.h5"
    text.write_text("not HDF5")
    assert "models import" in refused(text)
    other = tmp_path / "other.weights.h5"
    with h5py.File(other, "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros((3, 3), np.float32)
    assert "models import" in refused(other)


@pytest.mark.parametrize("kept", [0, 10, 2000, 0.5, 0.99])
def test_truncated_files_are_refused(path, kept):
    content = path.read_bytes()
    path.write_bytes(content[: kept if kept > 1 else int(kept * len(content))])
    refused(path)


def test_a_file_damaged_anywhere_is_refused_or_reads_the_same(path):
    peaks = with_peaks(path)
    content = path.read_bytes()
    info, weights = read_weights(path)
    rng = np.random.default_rng(5)
    for place in rng.integers(0, len(content), 300):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found_info, found = read_weights(path)
            assert read_peaks(path) in (peaks, None)
        except ModelError:
            continue
        # A text in the description may change unnoticed, and bytes that HDF5 doesn't use; weights may not.
        assert found_info.architecture == info.architecture
        for name, arrays in weights.items():
            for ours, theirs in zip(arrays, found[name], strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_a_newer_file_asks_for_an_update(path):
    change_header(path, lambda v: v.update(format=FORMAT + 1, unheard_of=1))
    assert "update SpineSeg" in refused(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.pop("labels"),
        lambda v: v.pop("format"),
        lambda v: v.update(format="1"),
        lambda v: v.update(extra=1),
        lambda v: v.update(name="../../etc/passwd"),
        lambda v: v.update(version=-1),
        lambda v: v.update(labels=["one"]),
        lambda v: v.update(labels="ab"),
        lambda v: v.update(labels=["a", ["b"]]),
        lambda v: v.update(labels=["a", "a"]),
        lambda v: v.update(metrics={"dice": "high"}),
        lambda v: v.update(metrics=[1]),
        lambda v: v.update(parent=5),
        lambda v: v.update(architecture=None),
        lambda v: v["architecture"].update(width=10**9),
        lambda v: v["architecture"].update(width=256, depth=6),
        lambda v: v["architecture"].update(width=8),
        lambda v: v["architecture"].update(up="lambda x: x"),
        lambda v: v["preprocessing"].update(context=[0.0]),
        lambda v: v["preprocessing"].update(spacing=0.0),
        lambda v: v["preprocessing"].update(window=[0.0, float("nan")]),
        lambda v: v["preprocessing"].update(window=[0.0, 1.0, 2.0]),
        lambda v: v["preprocessing"].update(threshold="0.5"),
        lambda v: v["preprocessing"].update(threshold=None),
        lambda v: v["preprocessing"].update(bits=True),
        lambda v: v["preprocessing"].pop("bits"),
    ],
)
def test_impossible_descriptions_are_refused(path, change):
    change_header(path, change)
    refused(path, "corrupt")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 50_000, b"\xff\xfe", 5, np.zeros(3), "x" * 64_000])
def test_headers_that_are_no_description_are_refused(path, text):
    with h5py.File(path, "a") as file:
        del file.attrs[HEADER]
        file.attrs[HEADER] = text
    refused(path, "corrupt")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    path = tmp_path / "nan.weights.h5"
    architecture = Architecture(3, 3, 4, 2, "batch")
    weights = random_weights(architecture)
    weights["bottom_conv1"][0][0, 0, 0, 0] = np.nan
    save_weights(weights, model_info(architecture), path)
    refused(path, "not finite")


class Bomb:
    """Writes a file when unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return (open, (self.target, "w"))


def hostile_pickle(file, target):
    file.attrs["training_config"] = np.void(pickle.dumps(Bomb(target)))
    file.attrs[HEADER] = np.void(pickle.dumps(Bomb(target)))


def hostile_object(file, target):
    del file["layers/conv2d/vars/0"]
    data = file.create_dataset("layers/conv2d/vars/0", (4,), dtype=h5py.special_dtype(vlen=np.uint8))
    data[0] = np.frombuffer(pickle.dumps(Bomb(target)), np.uint8)


def hostile_external_link(file, target):
    del file["layers/conv2d/vars/0"]
    file["layers/conv2d/vars/0"] = h5py.ExternalLink(str(target), "/secret")


def hostile_external_group(file, target):
    del file["layers/conv2d"]
    file["layers/conv2d"] = h5py.ExternalLink(str(target), "/")


def hostile_soft_link(file, target):
    del file["layers/conv2d/vars/0"]
    file["layers/conv2d/vars/0"] = h5py.SoftLink("/layers/conv2d_1/vars/0")


def hostile_external_storage(file, target):
    shape = file["layers/conv2d/vars/0"].shape
    del file["layers/conv2d/vars/0"]
    file.create_dataset("layers/conv2d/vars/0", shape, "<f4", external=[(str(target), 0, h5py.h5f.UNLIMITED)])


def hostile_virtual(file, target):
    shape = file["layers/conv2d/vars/0"].shape
    del file["layers/conv2d/vars/0"]
    layout = h5py.VirtualLayout(shape, "<f4")
    layout[:] = h5py.VirtualSource(str(target), "secret", shape)
    file.create_virtual_dataset("layers/conv2d/vars/0", layout)


def hostile_huge_chunked(file, target):
    del file["layers/conv2d/vars/0"]
    file.create_dataset("layers/conv2d/vars/0", (10**6, 10**6), "<f4", chunks=(100, 100), compression="gzip")


def hostile_huge_unwritten(file, target):
    del file["layers/conv2d/vars/0"]
    file.create_dataset("layers/conv2d/vars/0", (10**6, 10**6), "<f4")


def hostile_wrong_type(file, target):
    values = file["layers/conv2d/vars/0"][()]
    del file["layers/conv2d/vars/0"]
    file["layers/conv2d/vars/0"] = values.astype("f8")


def hostile_strings(file, target):
    del file["layers/conv2d/vars/0"]
    file["layers/conv2d/vars/0"] = "import os"


def hostile_more_weights(file, target):
    file["layers/extra/vars/0"] = np.zeros(1000, np.float32)
    file["layers/extra/vars"].attrs["name"] = "extra"


def hostile_less_weights(file, target):
    del file["layers/conv2d_transpose"]


def hostile_renamed(file, target):
    file["layers/conv2d/vars"].attrs["name"] = "encoder9_conv9"


def hostile_reshaped(file, target):
    values = file["layers/conv2d/vars/0"][()]
    name = file["layers/conv2d/vars"].attrs["name"]
    del file["layers/conv2d"]
    file["layers/conv2d/vars/0"] = values.reshape(-1)
    file["layers/conv2d/vars"].attrs["name"] = name


def hostile_loop(file, target):
    del file["layers/conv2d"]
    file["layers/conv2d"] = file["layers"]


@pytest.mark.parametrize("attack", [value for name, value in list(globals().items()) if name.startswith("hostile_")])
def test_hostile_files_are_refused_and_nothing_of_them_runs(path, tmp_path, attack, monkeypatch):
    target = tmp_path / "target.h5"
    if "external" in attack.__name__ or "virtual" in attack.__name__:
        with h5py.File(target, "w") as file:
            file["secret"] = np.zeros((3, 3, 3, 4), np.float32)
    before = target.read_bytes() if target.exists() else None
    with h5py.File(path, "a") as file:
        attack(file, target)
    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("unpickled"))
    refused(path, "corrupt")
    assert (target.read_bytes() if target.exists() else None) == before


def test_a_keras_configuration_with_code_is_not_even_looked_at(keras, path, tmp_path):
    config = {
        "class_name": "Lambda",
        "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}},
        "inbound_nodes": [],
    }
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": [config]}})
        file.attrs["keras_version"] = "2.4.0"
    model, _ = build_from_file(path)
    assert {type(layer).__name__ for layer in model.layers} <= {
        "InputLayer",
        "Conv2D",
        "BatchNormalization",
        "ReLU",
        "MaxPooling2D",
        "Conv2DTranspose",
        "Concatenate",
        "Softmax",
    }


def with_peaks(path, seed=1, **changed):
    """Write a small model with peaks 1, 2, 3 and so on; gives these by the convolutions' names."""
    architecture = Architecture(3, 3, 4, 2, "batch")
    peaks = {name: float(n) for n, name in enumerate(architecture.inner, start=1)} | changed
    save_weights(random_weights(architecture, seed), model_info(architecture), path, overwrite=True, peaks=peaks)
    return peaks


def test_peaks_come_back_and_change_nothing_else(path, tmp_path):
    assert read_peaks(path) is None
    both = tmp_path / "peaks.weights.h5"
    peaks = with_peaks(both)
    assert list(peaks)[::6] == ["encoder1_conv1", "decoder2_up"]
    assert list(peaks)[-1] == "decoder1_conv1"  # what the last but one gives decides, and is not rounded
    assert read_peaks(both) == peaks
    assert read_identity(both) == read_identity(path)
    for name, arrays in read_weights(path)[1].items():
        for ours, theirs in zip(arrays, read_weights(both)[1][name], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_keras_reads_a_file_with_peaks(keras, tmp_path):
    with_peaks(tmp_path / "a.weights.h5")
    info, weights = read_weights(tmp_path / "a.weights.h5")
    model = build_unet(info.architecture)
    model.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(model.get_layer("bottom_conv1").get_weights()[0], weights["bottom_conv1"][0])


def peaks_changed(file):
    file["peaks"][0] = 1.5


def peaks_of_others(file):
    with_peaks(file.filename.replace("small", "other"), seed=2)
    with h5py.File(file.filename.replace("small", "other")) as other:
        del file["peaks"]
        other.copy("peaks", file)


def peaks_too_few(file):
    values, digest = file["peaks"][:-1], file["peaks"].attrs["sha256"]
    del file["peaks"]
    file.create_dataset("peaks", data=values).attrs["sha256"] = digest


def peaks_of_another_kind(file):
    del file["peaks"]
    file["peaks/a"] = np.zeros(3)


def peaks_elsewhere(file):
    del file["peaks"]
    file["peaks"] = h5py.ExternalLink(file.filename.replace("small", "other"), "peaks")
    with_peaks(file.filename.replace("small", "other"))


def peaks_unchecked(file):
    del file["peaks"].attrs["sha256"]


@pytest.mark.parametrize("attack", [value for name, value in list(globals().items()) if name.startswith("peaks_")])
def test_damaged_and_hostile_peaks_are_refused(path, attack):
    with_peaks(path)
    with h5py.File(path, "a") as file:
        attack(file)
    with pytest.raises(ModelError, match=r"small.weights.h5 is corrupt \(its ranges for int8"):
        read_peaks(path)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e30, 1e-30])
def test_impossible_peaks_are_refused(path, value):
    with_peaks(path, bottom_conv1=value)
    with pytest.raises(ModelError, match="ranges for int8 are not possible"):
        read_peaks(path)
