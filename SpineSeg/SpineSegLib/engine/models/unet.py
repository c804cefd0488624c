"""The U-Net, written once with Keras layers, for every backend and both memory layouts.

Shape after Ronneberger et al. 2015 (U-Net, https://arxiv.org/abs/1505.04597) with "same" padding. This module imports
Keras only when a network is built, so that settings can be read without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from SpineSegLib.engine.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras

DATA_FORMATS = ("channels_last", "channels_first")
MAX_PARAMETERS = 150_000_000
NORM_EPSILON = 1e-3  # added to the variance


def norm_of(convolution: str) -> str:
    """Name of the layer that normalises what a convolution gives."""
    return convolution.replace("_conv", "_norm")


class ConvolutionPlace(NamedTuple):
    """A convolution: name of its layer, shape of its kernel, output channels, and whether it is normalised."""

    name: str
    kernel: tuple[int, int, int, int]
    filters: int
    normalised: bool


@dataclass(frozen=True)
class Architecture:
    """Everything that decides which weights a U-Net has and what it computes with them.

    `inputs`: channels (neighbouring slices); `outputs`: 1 (sigmoid) or number of classes, background first (softmax).
    `width`: channels of the first level, doubled at each of `depth` levels down.
    `normalization`: "none" or "batch" (between convolution and ReLU; the convolution then has no bias).
    `up`: "transpose" (2x2 transposed convolution) or "upsample" (nearest neighbour, then a 2x2 convolution).
    `up_relu`: whether a ReLU follows the up-convolution; `skip_first`: place of the skip connection in the
    concatenation; `head`: channels of an additional 3x3 convolution before the last one, 0 for none. These, and
    "upsample", exist so that weights of other U-Nets can be imported without changing what they compute.

    Values come from files, so that the limits also bound what a hostile file can make us allocate. Raises ValueError.
    """

    inputs: int = 1
    outputs: int = 1
    width: int = 64
    depth: int = 4
    normalization: str = "none"
    up: str = "transpose"
    up_relu: bool = False
    skip_first: bool = True
    head: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("inputs", 1, 15),
            ("outputs", 1, 64),
            ("width", 1, 256),
            ("depth", 1, 6),
            ("head", 0, 256),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
        for name, known in (("normalization", ("none", "batch")), ("up", ("transpose", "upsample"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        for name in ("up_relu", "skip_first"):
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}")
        if self.parameters > MAX_PARAMETERS:
            raise ValueError(f"the network would have {self.parameters} parameters, more than {MAX_PARAMETERS}")

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return 2**self.depth

    @property
    def parameters(self) -> int:
        """Number of weights, those of the running batch statistics included."""
        return sum(math.prod(shape) for shapes in self.shapes().values() for shape in shapes)

    @property
    def inner(self) -> tuple[str, ...]:
        """Names of the convolutions whose results further ones get, the last one not counted."""
        return tuple(place.name for place in self.convolutions())[:-2]

    def shapes(self) -> dict[str, list[tuple[int, ...]]]:
        """Shapes of each layer's weights by its name, in the order in which Keras keeps them."""
        shapes: dict[str, list[tuple[int, ...]]] = {}
        for place in self.convolutions():
            shapes[place.name] = [place.kernel]
            if place.normalised:  # scale, offset, mean and variance in place of a bias
                shapes[norm_of(place.name)] = [(place.filters,)] * 4
            else:
                shapes[place.name].append((place.filters,))
        return shapes

    def convolutions(self) -> Iterator[ConvolutionPlace]:
        """The convolutions in the order of computation."""
        batch = self.normalization == "batch"

        def block(name: str, fan_in: int, size: int) -> Iterator[ConvolutionPlace]:
            yield ConvolutionPlace(f"{name}_conv1", (3, 3, fan_in, size), size, batch)
            yield ConvolutionPlace(f"{name}_conv2", (3, 3, size, size), size, batch)

        channels = self.inputs
        for level in range(self.depth + 1):
            size = self.width * 2**level
            yield from block(f"encoder{level + 1}" if level < self.depth else "bottom", channels, size)
            channels = size
        for level in reversed(range(self.depth)):
            size = self.width * 2**level
            kernel = (2, 2, size, 2 * size) if self.up == "transpose" else (2, 2, 2 * size, size)
            yield ConvolutionPlace(f"decoder{level + 1}_up", kernel, size, False)
            yield from block(f"decoder{level + 1}", 2 * size, size)
        if self.head:
            yield ConvolutionPlace("head_conv1", (3, 3, self.width, self.head), self.head, batch)
        yield ConvolutionPlace("logits", (1, 1, self.head or self.width, self.outputs), self.outputs, False)


@dataclass(frozen=True)
class Preset:
    """A network by name: what it is, what it wants as input, and what its outputs mean (segment keys)."""

    architecture: Architecture
    preprocessing: Preprocessing
    labels: tuple[str, ...]


PRESETS = {
    # Kim YJ, Ganbold B, Kim KG. Web-based spine segmentation using deep learning in computed tomography images.
    # Healthc Inform Res 2020;26(1):61-67: 64 to 1024 channels, 12-bit slices turned to 8 bits and divided by 255.
    "kim2020": Preset(
        Architecture(inputs=1, outputs=1, width=64, depth=4, normalization="none"),
        Preprocessing(spacing=None, context=(0.0,), window=(-1024.0, 3071.0), bits=8),
        ("spine",),
    ),
    "default": Preset(
        Architecture(inputs=7, outputs=3, width=24, depth=4, normalization="batch"),
        Preprocessing(spacing=1.0, context=(-14.0, -5.0, -2.0, 0.0, 2.0, 5.0, 14.0), window=(-200.0, 1000.0)),
        ("vertebrae", "sacrum"),
    ),
    "fast": Preset(
        Architecture(inputs=5, outputs=3, width=16, depth=4, normalization="batch"),
        Preprocessing(spacing=1.0, context=(-5.0, -2.0, 0.0, 2.0, 5.0), window=(-200.0, 1000.0)),
        ("vertebrae", "sacrum"),
    ),
}


def build_unet(
    architecture: Architecture, data_format: str = "channels_last", logits: bool = False, kernels: str = "he_normal"
) -> keras.Model:
    """Build the network for slices of any size that `architecture.multiple` divides.

    Input: float32 (n, y, x, inputs), or (n, inputs, y, x) for "channels_first". Output: float32 of the same layout with
    `outputs` channels, also under mixed precision: probabilities, or with `logits` the values before sigmoid or
    softmax, which is what a loss should get (`from_logits=True` neither overflows nor loses small probabilities).
    Kernels have the same shape in both layouts. `kernels` names the Keras initialiser: random (He et al. 2015), or
    "zeros", which is faster where weights get loaded. Raises ValueError for another layout.
    """
    import keras
    from keras import layers

    if data_format not in DATA_FORMATS:
        raise ValueError(f"data_format must be one of {', '.join(DATA_FORMATS)}, not {data_format!r}")
    axis = -1 if data_format == "channels_last" else 1
    batch = architecture.normalization == "batch"

    def convolution(x, filters: int, kernel: int, name: str, **settings):
        return layers.Conv2D(
            filters,
            kernel,
            padding="same",
            data_format=data_format,
            kernel_initializer=kernels,
            name=name,
            **settings,
        )(x)

    def block(x, filters: int, place: str, count: int = 2):
        for i in range(1, count + 1):
            x = convolution(x, filters, 3, f"{place}_conv{i}", use_bias=not batch)
            if batch:
                x = layers.BatchNormalization(axis=axis, epsilon=NORM_EPSILON, name=norm_of(f"{place}_conv{i}"))(x)
            x = layers.ReLU(name=f"{place}_relu{i}")(x)
        return x

    def up(x, filters: int, place: str):
        if architecture.up == "transpose":
            x = layers.Conv2DTranspose(
                filters,
                2,
                strides=2,
                padding="same",
                data_format=data_format,
                kernel_initializer=kernels,
                name=f"{place}_up",
            )(x)
        else:
            x = layers.UpSampling2D(2, data_format=data_format, name=f"{place}_enlarge")(x)
            x = convolution(x, filters, 2, f"{place}_up")
        return layers.ReLU(name=f"{place}_up_relu")(x) if architecture.up_relu else x

    shape = (None, None, architecture.inputs) if axis == -1 else (architecture.inputs, None, None)
    inputs = x = layers.Input(shape, name="slices")
    skips = []
    for level in range(1, architecture.depth + 1):
        x = block(x, architecture.width * 2 ** (level - 1), f"encoder{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, data_format=data_format, name=f"encoder{level}_pool")(x)
    x = block(x, architecture.width * 2**architecture.depth, "bottom")
    for level in range(architecture.depth, 0, -1):
        filters = architecture.width * 2 ** (level - 1)
        skip, x = skips.pop(), up(x, filters, f"decoder{level}")
        both = [skip, x] if architecture.skip_first else [x, skip]
        x = layers.Concatenate(axis=axis, name=f"decoder{level}_skip")(both)
        x = block(x, filters, f"decoder{level}")
    if architecture.head:
        x = block(x, architecture.head, "head", count=1)
    # Small, and half precision would be too coarse here: float32 whatever the policy says.
    x = convolution(x, architecture.outputs, 1, "logits", dtype="float32")
    if not logits:
        if architecture.outputs == 1:
            x = layers.Activation("sigmoid", dtype="float32", name="probabilities")(x)
        else:
            x = layers.Softmax(axis=axis, dtype="float32", name="probabilities")(x)
    return keras.Model(inputs, x, name="unet")
