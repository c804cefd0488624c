"""Turns weights that Keras 2 saved as `.h5` into a SpineSeg model file.

Such a file lists its layers in order, with weights of given shapes and names of the user's choosing; it tells neither
activations nor the order of concatenations. So layers are matched by order and shape; width, depth, inputs and outputs
follow from the shapes; and what the shapes can't tell is a parameter. Files of weights only and of whole models are
read; the configuration inside the latter is ignored, because it may hold code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.engine.errors import ModelError
from SpineSegLib.engine.guarded_hdf5 import HDF5_ERRORS, corrupt, names_attribute, open_hdf5, read_array, read_group
from SpineSegLib.engine.models.model_file import MAX_FILE, ModelInfo, save_weights
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.models.unet import PRESETS, Architecture, norm_of

if TYPE_CHECKING:
    import h5py


@dataclass
class _Convolution:
    """One convolution of the file: its layer, kernel (y, x, a, b), bias (b or a) and what normalises its result."""

    layer: str
    kernel: np.ndarray
    bias: np.ndarray | None
    norm: list[np.ndarray] | None = None


def import_keras2(
    source: str | Path,
    out: str | Path,
    name: str | None = None,
    up_relu: bool = False,
    skip_first: bool = True,
    labels: tuple[str, ...] = ("spine",),
    preprocessing: Preprocessing = PRESETS["kim2020"].preprocessing,
    licence: str = "",
) -> ModelInfo:
    """Write the weights of the Keras 2 file `source` as model file `out` and return its description.

    `up_relu`: whether a ReLU follows the up-convolutions; `skip_first`: whether the skip connection comes first in the
    concatenation; `preprocessing`: what the network was trained with. These can't be told from the weights, and wrong
    ones give a wrong segmentation. One output is taken as sigmoid, several as softmax with the background first.
    Raises ModelError if the file is no U-Net of this kind, OutputError if `out` exists or can't be written.
    """
    source = Path(source)
    convolutions = _read(source)
    architecture = _architecture(source, convolutions, up_relu, skip_first)
    try:
        info = ModelInfo(
            name=name or "imported",
            version=1,
            architecture=architecture,
            preprocessing=preprocessing,
            labels=labels,
            licence=licence,
            description=f"Imported from Keras 2 weights ({source.name}).",
        )
    except ValueError as error:
        raise ModelError(f"{source.name} can't be imported like this: {error}.") from None
    save_weights(_weights(architecture, convolutions), info, out)
    return info


def _read(source: Path) -> list[_Convolution]:
    with open_hdf5(source, 2 * MAX_FILE) as file:
        try:
            root = read_group(file, "model_weights") if "model_weights" in file else file
            if "layer_names" not in root.attrs:
                raise _unfit(source, "it is not a weights file of Keras 2")
            return _convolutions(source, root)
        except HDF5_ERRORS:
            raise corrupt(source, "its weights can't be read") from None


def _convolutions(source: Path, root: h5py.Group) -> list[_Convolution]:
    found: list[_Convolution] = []
    for layer in names_attribute(root, "layer_names"):
        group = read_group(root, layer)
        arrays = []
        for weight in names_attribute(group, "weight_names"):
            *folders, last = weight.split("/")
            arrays.append(read_array(read_group(group, "/".join(folders)) if folders else group, last))
        if not all(np.isfinite(array).all() for array in arrays):
            raise _unfit(source, f"the weights of its layer {layer} are not finite numbers")
        if arrays and arrays[0].ndim == 4 and len(arrays) <= 2:
            found.append(_Convolution(layer, arrays[0], arrays[1] if len(arrays) == 2 else None))
        elif found and found[-1].norm is None and len(arrays) == 4 and all(array.ndim == 1 for array in arrays):
            found[-1].norm = arrays
        elif arrays:
            raise _unfit(source, f"its layer {layer} is neither a convolution nor a batch normalisation")
    return found


def _architecture(source: Path, found: list[_Convolution], up_relu: bool, skip_first: bool) -> Architecture:
    """The U-Net whose convolutions these are, checked one by one."""
    sizes = [convolution.kernel.shape[0] for convolution in found]
    down = sizes.index(2) if 2 in sizes else 0
    ups = sizes.count(2)
    if down != 2 * (ups + 1) or len(found) < 5 * ups + 3:
        raise _unfit(source, "it is not a U-Net with two 3x3 convolutions a level and 2x2 up-convolutions")
    up = found[down].kernel
    try:
        architecture = Architecture(
            inputs=found[0].kernel.shape[2],
            outputs=found[-1].kernel.shape[3],
            width=found[0].kernel.shape[3],
            depth=ups,
            normalization="none" if found[0].norm is None else "batch",
            # Kernels are (y, x, in, out), transposed ones (y, x, out, in), and going up halves the channels.
            up="upsample" if up.shape[2] > up.shape[3] else "transpose",
            up_relu=up_relu,
            skip_first=skip_first,
            head=found[-2].kernel.shape[3] if len(found) == 5 * ups + 4 else 0,
        )
    except ValueError as error:
        raise _unfit(source, str(error)) from None

    expected = list(architecture.convolutions())
    if len(expected) != len(found):
        raise _unfit(source, f"it has {len(found)} convolutions where such a U-Net has {len(expected)}")
    for want, have in zip(expected, found, strict=True):
        if have.kernel.shape != want.kernel:
            raise _unfit(source, f"its layer {have.layer} has the shape {have.kernel.shape} instead of {want.kernel}")
        if (have.norm is not None) != want.normalised:
            raise _unfit(source, f"its layer {have.layer} is {'not ' if want.normalised else ''}batch-normalised")
        vectors = [v for v in (have.bias, *(have.norm or ())) if v is not None]
        if any(vector.shape != (want.filters,) for vector in vectors):
            raise _unfit(source, f"the bias or normalisation of its layer {have.layer} has another shape")
    return architecture


def _weights(architecture: Architecture, found: list[_Convolution]) -> dict[str, list[np.ndarray]]:
    weights: dict[str, list[np.ndarray]] = {}
    for place, have in zip(architecture.convolutions(), found, strict=True):
        bias = np.zeros(place.filters, np.float32) if have.bias is None else have.bias
        if have.norm is None:
            weights[place.name] = [have.kernel, bias]
        else:
            # Our normalised convolutions have no bias: (x + bias) - mean is x - (mean - bias).
            scale, offset, mean, variance = have.norm
            weights[place.name] = [have.kernel]
            weights[norm_of(place.name)] = [scale, offset, mean - bias, variance]
    return weights


def _unfit(source: Path, why: str) -> ModelError:
    return ModelError(f"{source.name} can't be imported: {why}.")
