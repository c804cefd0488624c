"""Networks kept as OpenVINO graphs: when they serve, what they compute, and that a bad cache harms nobody."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from small_models import random_weights, unet_by_hand, write_model
from SpineSegLib.engine.errors import ModelError
from SpineSegLib.engine.models import graph_cache
from SpineSegLib.engine.models.graph_cache import cache_dir, network_graph

openvino = pytest.importorskip("openvino")

# What every program below starts with; Keras converts in processes of their own, as this one's may run on TensorFlow.
BEGIN = """
import os, signal, sys
from pathlib import Path
import numpy as np
from SpineSegLib.engine.models.graph_cache import _read, cache_dir
from SpineSegLib.engine.models.network import Network

folder = Path({folder!r})
x = np.load(folder / "x.npy")

def predict(name, exact=True):
    return Network(folder / f"{{name}}.weights.h5", "cpu", "openvino", exact).predict(x)
"""
TWICE = """
for exact in (False, True):
    np.save(folder / f"{time}-{exact}.npy", predict("a", exact))
print("with Keras" if "keras" in sys.modules else "without")
"""
DAMAGES = """
expected = {name: np.load(folder / f"{name}.npy") for name in ("a", "b", "other")}

def check(name):
    np.testing.assert_allclose(predict(name), expected[name], atol=1e-5)

check("b")
(foreign,) = cache_dir().iterdir()
check("a")
(place,) = set(cache_dir().iterdir()) - {foreign}
whole = place.read_bytes()
damages = {
    "empty": b"",
    "cut off": whole[:-100],
    "a byte changed": whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:],
    "of another model": foreign.read_bytes(),
    "something else": b"no graph" * 100,
}
for damage, content in damages.items():
    place.write_bytes(content)
    assert _read(place) is None, damage
    check("a")
    assert _read(place) is not None, damage
check("other")  # the same weights, wired otherwise
assert len(list(cache_dir().iterdir())) == 3

# places where nothing can be kept
place.unlink()
place.mkdir()
check("a")
os.environ["SPINESEG_CACHE"] = str(folder / "x.npy")
check("a")
os.environ["SPINESEG_CACHE"] = str(folder / "full")
if sys.platform != "win32":
    import resource
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    check("a")
    assert not [file for file in (folder / "full").rglob("*") if file.is_file()]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Models a, b and other, which has a's weights, slices for them, and their probabilities computed by hand."""
    folder = tmp_path_factory.mktemp("models")
    x = np.random.default_rng(3).random((2, 3, 20, 24), dtype=np.float32)
    np.save(folder / "x.npy", x)
    for name, seed, values in (("a", 1, {}), ("b", 2, {}), ("other", 1, {"skip_first": False})):
        info = write_model(folder / f"{name}.weights.h5", seed, **values)
        weights = random_weights(info.architecture, seed)
        y = np.stack([unet_by_hand(info.architecture, weights, np.moveaxis(one, 0, -1)) for one in x])
        np.save(folder / f"{name}.npy", np.moveaxis(y, -1, 1)[:, 1:])
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SPINESEG_CACHE", str(tmp_path))
    return tmp_path / "networks"


def test_a_kept_network_computes_the_same_without_keras(folder, cache, run_python):
    said = [run_python(f"time = {n}" + BEGIN.format(folder=str(folder)) + TWICE).strip() for n in (1, 2)]
    assert said == ["with Keras", "without"]
    assert len(list(cache.iterdir())) == 1  # in both precisions
    for exact in (False, True):
        first, second = (np.load(folder / f"{n}-{exact}.npy") for n in (1, 2))
        np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(second, np.load(folder / "a.npy"), atol=1e-5)

    # A model file that is damaged is refused though its network is kept.
    bad = folder / "bad.weights.h5"
    content = (folder / "a.weights.h5").read_bytes()
    bad.write_bytes(content)
    assert network_graph(bad).inputs[0].partial_shape == openvino.PartialShape([-1, 3, -1, -1])
    weights = random_weights(write_model(folder / "again.weights.h5").architecture)["encoder1_conv1"][0].tobytes()
    assert content.count(weights) == 1
    bad.write_bytes(content.replace(weights, weights[:-1] + bytes([weights[-1] ^ 1])))
    with pytest.raises(ModelError, match="damaged"):
        network_graph(bad)


def test_a_bad_cache_is_written_anew_or_done_without(folder, cache, run_python):
    run_python(BEGIN.format(folder=str(folder)) + DAMAGES)


def test_what_was_not_used_for_longest_goes_first(cache, monkeypatch):
    x = openvino.opset13.parameter([4], openvino.Type.f32)
    graph = openvino.Model([openvino.opset13.add(x, np.ones(4, np.float32)).output(0)], [x])
    places = [cache / f"{n}.graph" for n in range(4)]
    for age, place in zip((300, 200, 100), places[:3], strict=True):
        graph_cache._write(graph, place)
        os.utime(place, (place.stat().st_mtime - age,) * 2)
    assert graph_cache._read(places[0]) is not None  # and so was used last
    monkeypatch.setattr(graph_cache, "LIMIT", int(3.5 * places[0].stat().st_size))
    graph_cache._write(graph, places[3])
    assert sorted(cache.iterdir()) == [places[0], places[2], places[3]]

    monkeypatch.setattr(graph_cache, "LIMIT", 100)
    graph_cache._write(graph, places[1])  # too large to be kept, and not at the cost of the others
    assert sorted(cache.iterdir()) == [places[0], places[2], places[3]]


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "home/.cache/spineseg/networks"),
        ("linux", {"XDG_CACHE_HOME": "xdg"}, "xdg/spineseg/networks"),
        ("darwin", {"XDG_CACHE_HOME": "xdg"}, "home/Library/Caches/spineseg/networks"),
        ("win32", {"LOCALAPPDATA": "local"}, "local/spineseg/cache/networks"),
        ("win32", {}, "home/AppData/Local/spineseg/cache/networks"),
        ("linux", {"SPINESEG_CACHE": "own", "XDG_CACHE_HOME": "xdg"}, "own/networks"),
    ],
)
def test_place(monkeypatch, platform, environment, expected):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: Path("home")))
    for name in ("SPINESEG_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(expected)
