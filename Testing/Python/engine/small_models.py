"""Small U-Nets with seeded weights as model files, and the same computation in plain numpy to compare with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import correlate
from scipy.special import expit, softmax
from SpineSegLib.engine.errors import ComputeError
from SpineSegLib.engine.models.backends import activate, choose_backend
from SpineSegLib.engine.models.model_file import ModelInfo, save_weights
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.models.unet import Architecture

EPSILON = 1e-3  # of Keras' batch normalisation


def start_keras():
    """Keras on a backend that can train where one is installed: the whole test run shares this process."""
    try:
        activate(choose_backend("cpu", "train"))
    except ComputeError:
        activate(choose_backend("cpu"))
    import keras

    return keras


def random_weights(architecture: Architecture, seed: int = 1) -> dict[str, list[np.ndarray]]:
    """Weights by layer name; statistics of the normalisation differ from 0 and 1, so that mixing them up shows."""
    rng = np.random.default_rng(seed)
    weights = {}
    for place in architecture.convolutions():
        fan_in = place.kernel[0] * place.kernel[1] * min(place.kernel[2:])
        kernel = rng.normal(0, np.sqrt(2 / fan_in), place.kernel)
        if place.normalised:
            weights[place.name] = [kernel]
            weights[place.name.replace("_conv", "_norm")] = [
                rng.uniform(0.7, 1.3, place.filters),
                rng.normal(0, 0.2, place.filters),
                rng.normal(0, 0.2, place.filters),
                rng.uniform(0.5, 1.5, place.filters),
            ]
        else:
            weights[place.name] = [kernel, rng.normal(0, 0.2, place.filters)]
    return {name: [array.astype(np.float32) for array in arrays] for name, arrays in weights.items()}


def model_info(architecture: Architecture, **values) -> ModelInfo:
    labels = ("spine",) if architecture.outputs == 1 else tuple(f"label_{i}" for i in range(1, architecture.outputs))
    context = tuple(float(i) for i in range(architecture.inputs))
    return ModelInfo(
        **{"name": "small", "version": 1, "labels": labels, "preprocessing": Preprocessing(context=context)} | values,
        architecture=architecture,
    )


def write_model(path: Path, seed: int = 1, **architecture) -> ModelInfo:
    """Write a seeded model file; unless told otherwise 3 inputs, 3 outputs, width 4, depth 2, batch normalisation."""
    values = {"inputs": 3, "outputs": 3, "width": 4, "depth": 2, "normalization": "batch"} | architecture
    info = model_info(Architecture(**values))
    save_weights(random_weights(info.architecture, seed), info, path)
    return info


def unet_by_hand(architecture: Architecture, weights: dict[str, list[np.ndarray]], x: np.ndarray) -> np.ndarray:
    """Probabilities (y, x, outputs) of one slice (y, x, inputs), in float64 and without Keras."""

    def convolution(x, name):
        kernel, *bias = weights[name]
        # Even kernels reach one pixel further down and right.
        origin = -1 if kernel.shape[0] == 2 else 0
        y = np.stack(
            [
                sum(
                    correlate(x[..., i], kernel[..., i, o].astype(float), mode="constant", origin=origin)
                    for i in range(kernel.shape[2])
                )
                for o in range(kernel.shape[3])
            ],
            axis=-1,
        )
        y = y + bias[0] if bias else y
        norm = name.replace("_conv", "_norm")
        if norm != name and norm in weights:
            scale, offset, mean, variance = weights[norm]
            y = (y - mean) / np.sqrt(variance + EPSILON) * scale + offset
        return y

    def block(x, place, count=2):
        for i in range(1, count + 1):
            x = np.maximum(convolution(x, f"{place}_conv{i}"), 0)
        return x

    def up(x, name):
        if architecture.up == "upsample":
            y = convolution(x.repeat(2, axis=0).repeat(2, axis=1), name)
        else:
            kernel, bias = weights[name]
            y = np.einsum("yxi,aboi->yaxbo", x, kernel).reshape(2 * x.shape[0], 2 * x.shape[1], -1) + bias
        return np.maximum(y, 0) if architecture.up_relu else y

    x = x.astype(float)
    skips = []
    for level in range(1, architecture.depth + 1):
        x = block(x, f"encoder{level}")
        skips.append(x)
        x = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).max(axis=(1, 3))
    x = block(x, "bottom")
    for level in range(architecture.depth, 0, -1):
        both = [skips.pop(), up(x, f"decoder{level}_up")]
        x = block(np.concatenate(both if architecture.skip_first else both[::-1], axis=-1), f"decoder{level}")
    if architecture.head:
        x = block(x, "head", count=1)
    x = convolution(x, "logits")
    return expit(x) if architecture.outputs == 1 else softmax(x, axis=-1)
