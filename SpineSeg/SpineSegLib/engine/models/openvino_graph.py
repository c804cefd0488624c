"""The U-Net as OpenVINO's graph, built from the weights of a model file: needs no Keras, which takes long to import.

It computes what `build_unet` does. Normalisation is folded into kernel and bias of the convolution before it, and
channels come first: OpenVINO computes that layout fastest.

Where the file tells how large activations get, the graph can be one that OpenVINO computes in int8: 8 bits for what
every convolution gets, and for its kernel 8 bits, or 7 on older CPUs, with a factor for each output channel (Jacob et
al. 2018, Quantization and training of neural networks for efficient integer-arithmetic-only inference). The last
convolution stays as it is: it is small, and what it gets decides.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.engine.models.backends import cpu_has
from SpineSegLib.engine.models.model_file import read_peaks, read_weights
from SpineSegLib.engine.models.unet import NORM_EPSILON, Architecture, norm_of

if TYPE_CHECKING:
    import openvino


# x86 CPUs with VNNI or AMX add products in 32 bits. Those without add them in pairs in 16 bits, which must hold
# 2 x 255 x the largest value of a kernel.
WITH_VNNI, WITHOUT_VNNI = 127, 64


def network_graph(path: str | Path, largest: int = 0) -> openvino.Model:
    """The network of a model file: float32 (n, inputs, y, x) to (n, outputs, y, x), all but the channels free.

    `largest`: if it isn't 0 and the file has what that needs, for computing in int8; see `build_graph`. Raises
    ModelError.
    """
    info, weights = read_weights(path)
    return build_graph(info.architecture, weights, read_peaks(path) if largest else None, largest)


def largest_in_int8() -> int:
    """The largest value that kernels in int8 may have on this CPU: WITH_VNNI, WITHOUT_VNNI or, where int8 isn't faster
    than float32, 0."""
    if cpu_has("avx512_vnni", "avx_vnni", "amx_int8"):
        return WITH_VNNI
    avx2 = cpu_has("avx2")
    if avx2 is not None:
        return WITHOUT_VNNI if avx2 else 0
    # Other systems don't tell, but x86 CPUs without AVX2 are from before 2013, and none has bfloat16 without VNNI.
    if platform.machine().lower() not in ("amd64", "x86_64"):
        return 0
    import openvino

    half = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return WITH_VNNI if half else WITHOUT_VNNI


def build_graph(
    architecture: Architecture,
    weights: dict[str, list[np.ndarray]],
    peaks: dict[str, float] | None = None,
    largest: int = WITHOUT_VNNI,
) -> openvino.Model:
    """As `network_graph`, from arrays by layer name, as `read_weights` gives them; in int8 with `peaks` (`read_peaks`)
    and kernels of which no value is larger than `largest` (see `largest_in_int8`).

    What a convolution gives, after its ReLU, is a node with the convolution's name.
    """
    import openvino
    from openvino import opset13 as ops

    ranges = _ranges(architecture, peaks) if peaks else {}

    def rounded(x: openvino.Node, name: str) -> openvino.Node:
        """`x` as the node `name`, and to one of 256 levels if its range is known."""
        x.set_friendly_name(name)
        if name not in ranges:
            return x
        low, high = (ops.constant(np.full((1, 1, 1, 1), value, np.float32)) for value in ranges[name])
        return ops.fake_quantize(x, low, high, low, high, 256)

    def in_int8(array: np.ndarray, out: int, rounded: Callable[[np.ndarray], np.ndarray]) -> openvino.Node:
        """A kernel as whole numbers and a factor for each output channel, which are along the axis `out`."""
        others = tuple(axis for axis in range(4) if axis != out)
        step = np.maximum(np.abs(array).max(axis=others, keepdims=True), np.float32(1e-9)) / np.float32(largest)
        return ops.multiply(ops.convert(ops.constant(rounded(array / step).astype(np.int8)), np.float32), step)

    def convolution(x: openvino.Node, name: str, int8: bool = bool(ranges)) -> openvino.Node:
        array, bias = _folded(weights, name)
        size = array.shape[-1]
        before, after = (size - 1) // 2, size // 2  # an even kernel reaches one pixel further down and right
        kernel = in_int8(array, 0, lambda values: _keeping_sums(values, largest)) if int8 else ops.constant(array)
        return ops.add(ops.convolution(x, kernel, [1, 1], [before, before], [after, after], [1, 1]), bias)

    def block(x: openvino.Node, place: str, count: int = 2) -> openvino.Node:
        for n in range(1, count + 1):
            x = rounded(ops.relu(convolution(x, f"{place}_conv{n}")), f"{place}_conv{n}")
        return x

    def up(x: openvino.Node, name: str) -> openvino.Node:
        if architecture.up == "transpose":
            array, bias = _folded(weights, name)
            kernel = in_int8(array, 1, np.rint) if ranges else ops.constant(array)  # each value makes its own pixel
            y = ops.add(ops.convolution_backprop_data(x, kernel, [2, 2]), bias)
        else:
            scales, axes = ops.constant(np.float32([2, 2])), ops.constant(np.int64([2, 3]))
            way = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            y = convolution(ops.interpolate(x, scales, "nearest", "scales", axes=axes, **way), name)
        return rounded(ops.relu(y) if architecture.up_relu else y, name)

    slices = ops.parameter(openvino.PartialShape([-1, architecture.inputs, -1, -1]), openvino.Type.f32)
    x, skips = rounded(slices, "slices"), []
    for level in range(1, architecture.depth + 1):
        skips.append(block(x, f"encoder{level}"))
        x = ops.max_pool(skips[-1], [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
    x = block(x, "bottom")
    for level in range(architecture.depth, 0, -1):
        both = [skips.pop(), up(x, f"decoder{level}_up")]
        x = block(ops.concat(both if architecture.skip_first else both[::-1], 1), f"decoder{level}")
    if architecture.head:
        x = block(x, "head", count=1)
    x = convolution(x, "logits", int8=False)
    probabilities = ops.sigmoid(x) if architecture.outputs == 1 else ops.softmax(x, 1)
    return openvino.Model([probabilities.output(0)], [slices])


def _keeping_sums(kernel: np.ndarray, largest: int) -> np.ndarray:
    """A kernel (out, in, y, x) rounded to whole numbers of at most `largest`, so that sums over y and x stay.

    What is rounded off a value goes to the next one. What int8 costs is above all that the mean of what a convolution
    gives is shifted (Nagel et al. 2019, Data-free quantization through weight equalization and bias correction), and
    what it gets hardly differs between neighbouring pixels.
    """
    values = kernel.reshape(*kernel.shape[:2], -1)
    result, rest = np.empty_like(values), np.float32(0)
    for n in range(values.shape[-1]):
        wanted = values[..., n] + rest
        result[..., n] = np.clip(np.rint(wanted), -largest, largest)
        rest = wanted - result[..., n]
    return result.reshape(kernel.shape)


def _ranges(architecture: Architecture, peaks: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of what each convolution gets, by the name of where it comes from."""
    ranges = {"slices": (0.0, 1.0)} | {name: (0.0, peak) for name, peak in peaks.items()}
    for level in range(1, architecture.depth + 1):
        pair = f"encoder{level}_conv2", f"decoder{level}_up"  # are concatenated and so must have the same levels
        peak = max(peaks[name] for name in pair)
        # 256 levels, one of them 0, as what is negative is padded with 0 too
        ranges |= dict.fromkeys(pair, (0.0 if architecture.up_relu else -peak * 128 / 127, peak))
    return ranges


def _folded(weights: dict[str, list[np.ndarray]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (out, in, y, x), or (in, out, y, x) of a transposed convolution, and bias (1, out, 1, 1) of a convolution,
    with the normalisation after it, if there is one."""
    kernel, *bias = weights[name]
    if bias:
        (offset,) = bias
    else:
        scale, offset, mean, variance = weights[norm_of(name)]
        scale = scale / np.sqrt(variance + np.float32(NORM_EPSILON))
        kernel, offset = kernel * scale, offset - mean * scale
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), offset.reshape(1, -1, 1, 1)
