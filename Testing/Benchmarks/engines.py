"""The same network by every engine a user would pick: SpineSeg's own way, and what others offer for the same weights.

Each engine runs in a process of its own. What has to be converted is converted before, in another one (`convert`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from SpineSegLib.engine.models.backends import activate, choose_backend, cpu_has, nvidia_gpu
from SpineSegLib.engine.models.model_file import build_from_file, read_weights
from SpineSegLib.engine.models.network import Network
from SpineSegLib.engine.models.openvino_graph import largest_in_int8
from SpineSegLib.engine.models.unet import Architecture

from Testing.Benchmarks.rounds import NAMES, PLAIN

# float32 (n, channels, y, x) to float32 (n, outputs or labels, y, x); y and x as the network needs them
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Engine:
    """`needs`: the packages without which it can't run; `load`: a model file to its function and its device; `fits`:
    whether it makes sense on this machine; `single`: whether it is measured with one slice at once only."""

    name: str
    needs: tuple[str, ...]
    load: Callable[[Path], tuple[Predict, str]]
    fits: Callable[[], bool] = lambda: True
    single: bool = False

    @property
    def possible(self) -> bool:
        return all(importlib.util.find_spec(package) is not None for package in self.needs) and self.fits()


def convert(path: Path) -> None:
    """Write what is converted from the TensorFlow graph beside a model file, as far as the libraries are there."""
    if not CONVERTED.possible:
        return
    activate(choose_backend("cpu", backend="tensorflow"))
    import openvino

    model, info = build_from_file(path)
    saved = path.with_suffix(".saved")
    model.export(saved, verbose=False)
    openvino.save_model(openvino.convert_model(saved), path.with_suffix(".xml"), compress_to_fp16=False)
    if ONNX.possible:
        side = info.architecture.multiple
        model(np.zeros((1, side, side, info.architecture.inputs), np.float32))  # Keras exports what was called once
        model.export(path.with_suffix(".onnx"), format="onnx", verbose=False)


def _spineseg(backend: str) -> Callable[[Path], tuple[Predict, str]]:
    def load(path: Path) -> tuple[Predict, str]:
        network = Network(path, backend=backend)
        return network.predict, network.device

    return load


def _has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16; where it doesn't, torch was ten times slower with it than in float32."""
    return cpu_has("avx512_bf16", "amx_bf16", "bf16") is not False


def _has_gpu() -> bool:
    return nvidia_gpu() is not None


def _int8(path: Path) -> tuple[Predict, str]:
    return _spineseg("openvino")(int8_model(path))


def int8_model(path: Path) -> Path:
    """Where the same network lies with what int8 needs."""
    return path.with_suffix(".int8.h5")


def _plain(path: Path) -> tuple[Predict, str]:
    """As most scripts run a network."""
    choice = choose_backend(backend="tensorflow")
    activate(choice)
    model, _ = build_from_file(path)
    return lambda x: np.moveaxis(model.predict(np.moveaxis(x, 1, -1), verbose=0), -1, 1), choice.device


def _tensorflow_bf16(path: Path) -> tuple[Predict, str]:
    choice = choose_backend(backend="tensorflow")
    activate(choice)
    import keras
    import tensorflow as tf

    keras.config.set_dtype_policy("mixed_bfloat16")
    model, _ = build_from_file(path)

    @tf.function(input_signature=[tf.TensorSpec(model.input_shape, tf.float32)])
    def forward(x):
        return model(x, training=False)

    return lambda x: np.moveaxis(forward(tf.constant(np.moveaxis(x, 1, -1))).numpy(), -1, 1), choice.device


def _converted(path: Path) -> tuple[Predict, str]:
    import openvino

    core = openvino.Core()
    requests = {}

    def predict(x: np.ndarray) -> np.ndarray:
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        if x.shape not in requests:
            graph = core.read_model(path.with_suffix(".xml"))
            graph.reshape(list(x.shape))
            compiled = core.compile_model(graph, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
            requests[x.shape] = compiled.create_infer_request()
        return np.moveaxis(requests[x.shape].infer([x], share_inputs=True, share_outputs=True)[0], -1, 1)

    return predict, "cpu"


def _onnx(path: Path) -> tuple[Predict, str]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.with_suffix(".onnx"), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: np.moveaxis(session.run(None, {name: np.moveaxis(x, 1, -1)})[0], -1, 1), "cpu"


def _torch(compiled: bool, half: bool) -> Callable[[Path], tuple[Predict, str]]:
    def load(path: Path) -> tuple[Predict, str]:
        import torch

        place = "cuda" if torch.cuda.is_available() else "cpu"
        number = torch.bfloat16 if half else torch.float32
        model = torch_unet(path).to(place, number, memory_format=torch.channels_last)
        forward = torch.compile(model) if compiled else model

        def predict(x: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                slices = torch.from_numpy(x).to(place, number, memory_format=torch.channels_last)
                return forward(slices).float().cpu().numpy()

        return predict, "gpu" if place == "cuda" else "cpu"

    return load


def torch_unet(path: Path):
    """The network as its user would write it in torch, a `torch.nn.Module` with the weights of a model file.

    Only what the presets have: transposed convolutions without a ReLU, the skip connection first, no further head.
    """
    import torch
    from torch import nn

    info, weights = read_weights(path)
    architecture = info.architecture
    if architecture != Architecture(
        architecture.inputs,
        architecture.outputs,
        architecture.width,
        architecture.depth,
        architecture.normalization,
    ):
        raise ValueError("a network that no preset has")

    def filled(layer: nn.Module, *values: np.ndarray) -> nn.Module:
        with torch.no_grad():
            targets = [
                layer.weight,
                layer.bias,
                getattr(layer, "running_mean", None),
                getattr(layer, "running_var", None),
            ]
            for target, value in zip(targets, values, strict=False):
                target.copy_(torch.from_numpy(value))
        return layer

    def convolution(name: str) -> nn.Module:
        kernel, *bias = weights[name]
        # Keras: y, x, in, out, or transposed y, x, out, in; torch: out, in, y, x, or transposed in, out, y, x
        kernel = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        if name.endswith("_up"):
            return filled(nn.ConvTranspose2d(*kernel.shape[:2], 2, stride=2), kernel, *bias)
        size = kernel.shape[2]
        return filled(
            nn.Conv2d(kernel.shape[1], kernel.shape[0], size, padding=size // 2, bias=bool(bias)), kernel, *bias
        )

    def block(place: str) -> nn.Sequential:
        layers: list[nn.Module] = []
        for n in (1, 2):
            layers.append(convolution(f"{place}_conv{n}"))
            if architecture.normalization == "batch":
                values = weights[f"{place}_norm{n}"]
                layers.append(filled(nn.BatchNorm2d(len(values[0]), eps=1e-3), *values))
            layers.append(nn.ReLU(inplace=True))
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            levels = range(1, architecture.depth + 1)
            self.down = nn.ModuleList(block(f"encoder{level}") for level in levels)
            self.bottom = block("bottom")
            self.enlarge = nn.ModuleList(convolution(f"decoder{level}_up") for level in reversed(levels))
            self.up = nn.ModuleList(block(f"decoder{level}") for level in reversed(levels))
            self.last = convolution("logits")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            skips = []
            for part in self.down:
                skips.append(part(x))
                x = nn.functional.max_pool2d(skips[-1], 2)
            x = self.bottom(x)
            for enlarge, part in zip(self.enlarge, self.up, strict=True):
                x = part(torch.cat([skips.pop(), enlarge(x)], dim=1))
            x = self.last(x)
            return torch.sigmoid(x) if architecture.outputs == 1 else torch.softmax(x, dim=1)

    return UNet().eval()


CONVERTED = Engine("OpenVINO, converted from the TensorFlow graph", ("tensorflow", "keras", "openvino"), _converted)
ONNX = Engine("ONNX Runtime", ("tensorflow", "keras", "tf2onnx", "onnxruntime"), _onnx)
INT8 = Engine(f"{NAMES['openvino']}, int8", ("openvino", "keras"), _int8, largest_in_int8)
ENGINES = (
    Engine(NAMES["openvino"], ("openvino", "keras"), _spineseg("openvino")),
    INT8,
    # with these SpineSeg computes on GPUs
    Engine(NAMES["tensorflow"], ("tensorflow", "keras"), _spineseg("tensorflow"), _has_gpu),
    Engine(NAMES["torch"], ("torch", "keras"), _spineseg("torch"), _has_gpu),
    Engine(NAMES[PLAIN], ("tensorflow", "keras"), _plain),
    Engine("TensorFlow, mixed bfloat16", ("tensorflow", "keras"), _tensorflow_bf16, _has_bfloat16),
    CONVERTED,
    ONNX,
    Engine("torch, eager", ("torch",), _torch(compiled=False, half=False)),
    # each size of a batch takes up to a minute to compile
    Engine("torch.compile", ("torch",), _torch(compiled=True, half=False), single=True),
    Engine("torch.compile, bfloat16", ("torch",), _torch(compiled=True, half=True), _has_bfloat16, single=True),
)
# Of these our own choices, what most scripts do, and the fastest other one with any network so far.
FEW = tuple(e for e in ENGINES if e.name in (NAMES["openvino"], INT8.name, NAMES[PLAIN], CONVERTED.name))
