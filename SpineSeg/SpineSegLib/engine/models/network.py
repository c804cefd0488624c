"""A trained network, ready to run: loads a model file on the backend that is fastest here and predicts slices.

Importing this module imports neither Keras nor a backend; creating a `Network` does, though no Keras for OpenVINO (see
`openvino_graph`). Each backend gets the U-Net in the layout it computes fastest: channels first for OpenVINO and torch,
channels last for TensorFlow.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.engine.errors import ComputeError
from SpineSegLib.engine.models.backends import activate, choose_backend, nvidia_gpu
from SpineSegLib.engine.models.model_file import build_from_file, read_info
from SpineSegLib.engine.models.openvino_graph import largest_in_int8, network_graph

if TYPE_CHECKING:
    import keras

# Feature maps held at once, in units of one first-level map at full size: inputs, skips, and the widest concatenation.
LIVE_MAPS = 8
# Sizes of slices kept compiled: the whole body and the windows of a search, with some at the body's edge.
SHAPES = 8
CPU_BYTES = 2**30
OUT_OF_MEMORY = re.compile(
    r"out of memory|bad_alloc|alloc\w* .*memory|memory .*alloc|OUT_OF_\w*MEMORY|OUT_OF_RESOURCES", re.IGNORECASE
)

# Takes and gives float32 (n, channels, y, x) with y and x multiples of what the architecture needs.
Runner = Callable[[np.ndarray], np.ndarray]


class Network:
    """The model of one file on one backend.

    `info`: what the file says; `backend`: Keras backend; `device`: "cpu" or "gpu"; `reason`: sentence why these.
    With `exact` everything is computed in float32; otherwise in half precision where the hardware is faster with it
    (bfloat16 on CPUs that have it, float16 on GPUs if the network is normalised), and by OpenVINO in int8 on CPUs that
    are fast with it, if the file has what that needs (see `read_peaks`). This changes probabilities slightly.
    Raises ModelError for the file and ComputeError if it can't be run here.
    """

    def __init__(self, path: str | Path, device: str = "auto", backend: str | None = None, exact: bool = False) -> None:
        self.info = read_info(path)
        choice = choose_backend(device, "segment", backend)
        activate(choice)
        self.backend, self.reason = choice.backend, choice.reason
        load = {"openvino": _openvino, "tensorflow": _tensorflow, "torch": _torch}[choice.backend]
        self._run, self.device = load(Path(path), choice.device, exact)
        if device == "gpu" and self.device != "gpu":
            raise ComputeError(
                f"{self.backend} can't use the GPU; check its driver and CUDA, or use the CPU (--device cpu)."
            )
        self._largest_batch: int | None = None  # known once memory was short

    def batch_size(self, height: int, width: int) -> int:
        """Number of slices of height x width pixels that `predict` should get at once."""
        slice_bytes = 4 * height * width * self.info.architecture.width * LIVE_MAPS
        if self.device == "gpu":
            gpu = nvidia_gpu()
            size = min(32, (gpu.memory // 2 if gpu else CPU_BYTES) // slice_bytes)
        else:
            # A slice keeps a few cores busy, and smaller batches stay in their caches (measured with 2 cores).
            size = min(8, (os.cpu_count() or 1) // 4, CPU_BYTES // slice_bytes)
        return max(1, min(size, self._largest_batch or size))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities of the labels, float32 (n, labels, y, x), for normalised float32 slices (n, channels, y, x).

        Any n, y and x: slices are padded with their edge values to what the network needs, and cropped back. Where
        memory is short, the batch is halved and the work goes on; raises ComputeError if a single slice doesn't fit.
        """
        architecture = self.info.architecture
        if x.ndim != 4 or x.shape[1] != architecture.inputs or 0 in x.shape[2:]:
            raise ValueError(f"slices must be (n, {architecture.inputs}, y, x), not {x.shape}")
        n, _, height, width = x.shape
        result = np.empty((n, len(self.info.labels), height, width), np.float32)
        first = 0 if architecture.outputs == 1 else 1  # the background is not a label
        below, right = -height % architecture.multiple, -width % architecture.multiple
        size, start = self._largest_batch or n, 0
        while start < n:
            batch = np.asarray(x[start : start + size], np.float32)
            try:
                if below or right:
                    batch = np.pad(batch, ((0, 0), (0, 0), (0, below), (0, right)), mode="edge")
                result[start : start + size] = self._run(np.ascontiguousarray(batch))[:, first:, :height, :width]
            except Exception as error:
                if not is_out_of_memory(error):
                    if self.device == "gpu" and isinstance(error, RuntimeError):
                        raise ComputeError(f"{self.backend} failed on the GPU; use the CPU (--device cpu).") from error
                    raise
                if size == 1:
                    raise ComputeError(
                        f"There is not enough memory on the {self.device.upper()} for one slice of {width} x {height} "
                        "pixels; close other programs or use a smaller model."
                    ) from error
                size = self._largest_batch = max(1, min(size, n - start) // 2)
            else:
                start += size
        return result


def is_out_of_memory(error: Exception) -> bool:
    """Whether a backend's exception means that memory was short. Classes are told by name, to import none of them."""
    if isinstance(error, MemoryError) or type(error).__name__ in ("ResourceExhaustedError", "OutOfMemoryError"):
        return True
    return isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None


def _openvino(path: Path, device: str, exact: bool) -> tuple[Runner, str]:
    """The graph is compiled here so that its shapes and precision can be set.

    Static shapes are a little faster than dynamic ones. Compiling takes 0.1 to 0.3 s, so compiled shapes are kept.
    """
    import openvino

    graph = network_graph(path, largest_in_int8() if device == "cpu" and not exact else 0)
    core = openvino.Core()
    settings = {"PERFORMANCE_HINT": "LATENCY"}
    if exact:
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    compiled: dict[tuple[int, ...], openvino.InferRequest] = {}

    def run(x: np.ndarray) -> np.ndarray:
        request = compiled.pop(x.shape, None)
        if request is None:
            if len(compiled) == SHAPES:
                compiled.pop(next(iter(compiled)))  # the one not used for longest
            fixed = graph.clone()
            fixed.reshape(list(x.shape))
            request = core.compile_model(fixed, device.upper(), settings).create_infer_request()
        compiled[x.shape] = request
        return request.infer([x], share_inputs=True, share_outputs=True)[0]

    return run, device


def _tensorflow(path: Path, device: str, exact: bool) -> tuple[Runner, str]:
    import keras
    import tensorflow as tf

    found = "gpu" if device == "gpu" and tf.config.list_physical_devices("GPU") else "cpu"
    with keras.device(f"{found}:0"):
        model = _build(path, "channels_last", half=found == "gpu" and not exact)

    @tf.function(input_signature=[tf.TensorSpec(model.input_shape, tf.float32)])
    def forward(x):
        return model(x, training=False)

    def run(x: np.ndarray) -> np.ndarray:
        with keras.device(f"{found}:0"):
            y = forward(tf.constant(np.moveaxis(x, 1, -1)))
        return np.moveaxis(y.numpy(), -1, 1)

    return run, found


def _torch(path: Path, device: str, exact: bool) -> tuple[Runner, str]:
    import keras
    import torch

    found = "gpu" if device == "gpu" and torch.cuda.is_available() else "cpu"
    place = "cuda" if found == "gpu" else "cpu"
    with keras.device(place):
        model = _build(path, "channels_first", half=found == "gpu" and not exact)

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), keras.device(place):
            slices = torch.from_numpy(x).to(place, memory_format=torch.channels_last)
            return model(slices, training=False).cpu().numpy()

    return run, found


def _build(path: Path, data_format: str, half: bool) -> keras.Model:
    """The model, in mixed float16 if asked for and its normalisation keeps values in the range of float16."""
    import keras

    half = half and read_info(path).architecture.normalization == "batch"
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16" if half else "float32")
    try:
        return build_from_file(path, data_format)[0]
    finally:
        keras.config.set_dtype_policy(before)
