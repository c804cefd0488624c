"""The network as OpenVINO's graph, kept in the user's cache folder so that segmenting again needs no Keras.

Importing Keras and building the network with it takes longer than all else before the first slice (measured: 1.7 of
2.9 s of computing). What is kept is the graph in float32, weights and nothing else, so that it serves any size of
slice, device and precision.

It lies in `networks` of the folder that the environment variable SPINESEG_CACHE names, or else of `spineseg` in the
platform's place for such things: `%LOCALAPPDATA%` on Windows, `~/Library/Caches` on macOS, `$XDG_CACHE_HOME` or
`~/.cache` elsewhere. Everything in it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.engine.errors import OutputError
from SpineSegLib.engine.models import unet
from SpineSegLib.engine.models.model_file import build_from_file, read_identity, read_weights

if TYPE_CHECKING:
    import openvino

LIMIT = 2**29  # bytes of all that is kept: a few of the paper's network, many of the default's size
ENDING = ".graph"
DIGEST, LENGTH = 32, 8  # bytes of a file's beginning: its checksum, then the size of the description that follows


def network_graph(path: str | Path) -> openvino.Model:
    """The network of a model file: float32 (n, inputs, y, x) to (n, outputs, y, x), all but the channels free.

    It is read from the cache or else converted from Keras, which must then run on OpenVINO, and kept. A damaged cache
    is written anew, and one that can't be written is done without. The model file itself is read and checked in any
    case. Raises ModelError.
    """
    architecture = read_weights(path)[0].architecture
    place = cache_dir() / f"{_key(read_identity(path), architecture)}{ENDING}"
    graph = _read(place)
    if graph is None:
        graph = _converted(path)
        _write(graph, place)
    return graph


def cache_dir() -> Path:
    """The folder of kept networks, which need not exist."""
    if os.environ.get("SPINESEG_CACHE"):
        return Path(os.environ["SPINESEG_CACHE"]).expanduser() / "networks"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "spineseg" / "cache"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches" / "spineseg"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spineseg"
    return base / "networks"


def _key(identity: str, architecture: unet.Architecture) -> str:
    """Names everything the graph follows from: the weights, by their SHA-256, and what builds the network of them."""
    import openvino

    code = hashlib.sha256(b"".join(Path(file).read_bytes() for file in (unet.__file__, __file__)))
    parts = [identity, asdict(architecture), metadata.version("keras"), openvino.__version__, code.hexdigest()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _converted(path: str | Path) -> openvino.Model:
    """What Keras' OpenVINO backend makes of the network, with channels first: OpenVINO computes that layout fastest."""
    import keras
    import openvino

    model, info = build_from_file(path, "channels_first")
    slices = openvino.opset13.parameter(
        openvino.PartialShape([-1, info.architecture.inputs, -1, -1]), openvino.Type.f32
    )
    result = model(keras.ops.convert_to_tensor(slices.output(0)), training=False)
    return openvino.Model([result.output], [slices])


def _read(place: Path) -> openvino.Model | None:
    """What is kept there, None if that is nothing or not what was written."""
    import openvino

    try:
        data = memoryview(place.read_bytes())
        os.utime(place)  # so the one not used for longest goes first
    except OSError:
        return None
    content = data[DIGEST:]
    if _checksum(place, content) != data[:DIGEST]:
        return None
    end = LENGTH + int.from_bytes(content[:LENGTH], "little")
    try:
        # a copy: the file may change while the graph is in use
        weights = openvino.Tensor(np.frombuffer(content[end:], np.uint8))
        return openvino.Core().read_model(str(content[LENGTH:end], "utf-8"), weights)
    except (RuntimeError, ValueError):  # OpenVINO wrote what it can't read, as on a disk that was full
        return None


def _write(graph: openvino.Model, place: Path) -> None:
    """Keep a graph, completely or not at all, and let go of those not used for longest."""
    import openvino

    from SpineSegLib.engine.files.writing import atomic_output

    with suppress(OSError, RuntimeError, OutputError):
        with tempfile.TemporaryDirectory() as folder:
            saved = Path(folder) / "network.xml"
            openvino.save_model(graph, saved, compress_to_fp16=False)
            description, weights = saved.read_bytes(), saved.with_suffix(".bin").read_bytes()
        content = len(description).to_bytes(LENGTH, "little") + description + weights
        if len(content) > LIMIT:
            return
        with atomic_output(place) as temporary:
            temporary.write_bytes(_checksum(place, content) + content)
        _tidy(place.parent)


def _checksum(place: Path, content: bytes | memoryview) -> bytes:
    """SHA-256 of what is kept and of its name, so that no file passes for another."""
    digest = hashlib.sha256(place.name.encode())
    digest.update(content)
    return digest.digest()


def _tidy(folder: Path) -> None:
    """Remove what was not used for longest until the rest is within the limit; what a crash left half-written ages."""
    files = sorted(folder.glob(f"*{ENDING}"), key=lambda file: file.stat().st_mtime, reverse=True)
    size = 0
    for file in files:
        size += file.stat().st_size
        if size > LIMIT:
            with suppress(OSError):  # in use, on Windows
                file.unlink()
