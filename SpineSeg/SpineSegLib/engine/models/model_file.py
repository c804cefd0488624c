"""A model is one HDF5 file: Keras weights and, as a JSON text attribute, everything needed to use them.

The datasets lie where Keras' own `save_weights` puts them (`layers/<class>_<number>/vars/<i>`, the layer's name as an
attribute of `vars`), so Keras reads the file as `*.weights.h5`. Reading is done here and not by Keras because files
come from strangers: the network is built from validated attributes, and only plain arrays (see guarded_hdf5) with
exactly the shapes that network has are read, and checked against a checksum. Nothing is unpickled, and no Keras
configuration is read. The optimiser's state is not stored.

What computing in int8 needs may lie beside the weights, as `peaks` (see `read_peaks`), bound to them by a checksum.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SpineSegLib.engine.errors import ModelError, OutputError
from SpineSegLib.engine.guarded_hdf5 import (
    HDF5_ERRORS,
    ForeignFileError,
    corrupt,
    open_hdf5,
    plain_dataset,
    read_array,
    read_group,
    text_attribute,
)
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.models.unet import MAX_PARAMETERS, Architecture, build_unet

if TYPE_CHECKING:
    import h5py
    import keras

FORMAT = 1
HEADER = "spineseg"
TRAINING = "spineseg_training"
PEAKS = "peaks"
ENDING = ".weights.h5"
MAX_HEADER = 60_000  # an HDF5 attribute in its plain form holds 64 KB
MAX_PEAK = 1e9
MAX_FILE = 4 * MAX_PARAMETERS + 2**24
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")
LABEL = re.compile(r"[A-Za-z0-9_]{1,32}")


def now() -> str:
    """The time as `ModelInfo.created` has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says about its weights. Raises ValueError where values don't fit together.

    `labels`: keys of the segments the outputs mean, in order, the background not counted.
    `version`: grows with each re-training; `parent`: "name version" of the model training started from, None for none.
    `training_set`: hash or name of what it was trained on; `metrics`: validation results by name; `created`: ISO 8601.
    """

    name: str
    version: int
    architecture: Architecture
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    licence: str = ""
    parent: str | None = None
    training_set: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    description: str = ""
    created: str = field(default_factory=now)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ValueError("name must be 1 to 64 letters, digits, spaces or . _ + -")
        if type(self.version) is not int or not 1 <= self.version <= 10**6:
            raise ValueError("version must be a whole number from 1")
        texts = [self.licence, self.training_set, self.description, self.created, self.parent or ""]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("licence, training_set, description, created and parent must be text")
        if not all(isinstance(label, str) and LABEL.fullmatch(label) for label in self.labels):
            raise ValueError("labels must be letters, digits and _")
        outputs = self.architecture.outputs
        if len(set(self.labels)) != len(self.labels) or len(self.labels) != max(1, outputs - 1):
            raise ValueError(f"{outputs} outputs don't fit the labels {', '.join(self.labels)}")
        if len(self.preprocessing.context) != self.architecture.inputs:
            raise ValueError(f"{self.architecture.inputs} inputs don't fit {len(self.preprocessing.context)} slices")
        for key, value in self.metrics.items():
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not isinstance(key, str) or not number:
                raise ValueError("metrics must be finite numbers by name")


def save_model(model: keras.Model, info: ModelInfo, path: str | Path) -> None:
    """As `save_weights`, from what `build_unet(info.architecture)` gave, in any layout."""
    save_weights({layer.name: [np.asarray(v) for v in _values(layer)] for layer in _layers(model)}, info, path)


def save_weights(
    weights: dict[str, list[np.ndarray]],
    info: ModelInfo,
    path: str | Path,
    overwrite: bool = False,
    training: dict[str, Any] | None = None,
    peaks: dict[str, float] | None = None,
) -> None:
    """Write weights and description into one file, completely or not at all.

    `weights`: arrays by layer name, in the order Keras keeps a layer's weights. A model file is never overwritten:
    `overwrite` is for the checkpoint of a training in progress. `training`: how the weights came about, plain values
    for JSON, for `read_training`; `peaks`: see `read_peaks`. Raises OutputError, and ValueError if these are weights of
    another network.
    """
    import h5py

    from SpineSegLib.engine.files.writing import atomic_output

    if not overwrite:
        check_new_model(path)
    if {name: [array.shape for array in arrays] for name, arrays in weights.items()} != info.architecture.shapes():
        raise ValueError("the weights are not those of the described architecture")
    weights = {name: [np.ascontiguousarray(a, dtype="<f4") for a in arrays] for name, arrays in weights.items()}
    header = json.dumps({"format": FORMAT, **asdict(info), "sha256": _digest(weights)}, allow_nan=False)
    record = json.dumps(training, allow_nan=False)
    if max(len(header.encode()), len(record.encode())) > MAX_HEADER:
        raise ValueError("the description of the model is too long")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs[HEADER] = header
        if training is not None:
            file.attrs[TRAINING] = record
        if peaks is not None:
            array = np.array([peaks[name] for name in info.architecture.inner], dtype="<f4")
            file.create_dataset(PEAKS, data=array).attrs["sha256"] = _peaks_digest(array, _digest(weights))
        counts: dict[str, int] = {}
        for name, arrays in weights.items():
            kind = _keras_class(name, info.architecture)
            number = counts[kind] = counts.get(kind, -1) + 1
            group = file.create_group(f"layers/{kind}_{number}/vars" if number else f"layers/{kind}/vars")
            group.attrs["name"] = name
            for i, array in enumerate(arrays):
                group.create_dataset(str(i), data=array)
    with atomic_output(path, overwrite) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def check_new_model(path: str | Path) -> None:
    """Raise OutputError where a model file exists already or can't be made."""
    from SpineSegLib.engine.files.writing import check_place

    check_place(path)
    if Path(path).exists():
        raise OutputError(f"{path} exists, and models are never overwritten; choose another name.")


def read_info(path: str | Path) -> ModelInfo:
    """Read what the file says about its model, without the weights. Raises ModelError."""
    with _open(Path(path)) as file:
        return _header(file, Path(path))[0]


def read_identity(path: str | Path) -> str:
    """SHA-256 of the weights as the file states it: what tells models apart, whatever they are called.

    Raises ModelError.
    """
    with _open(Path(path)) as file:
        return _header(file, Path(path))[1]


def read_training(path: str | Path) -> dict[str, Any]:
    """How the weights came about, as whoever saved them told; empty where nothing or nothing readable is told.

    Raises ModelError where the file is no model.
    """
    with _open(Path(path)) as file:
        try:
            values = json.loads(text_attribute(file, TRAINING) or "{}")
        except (*HDF5_ERRORS, RecursionError):
            return {}
    return values if isinstance(values, dict) else {}


def read_peaks(path: str | Path) -> dict[str, float] | None:
    """How large what each inner convolution gives, after its ReLU, was seen to get; None if the file doesn't tell.

    By the convolution's name; that is what computing in int8 needs to know. Raises ModelError.
    """
    path = Path(path)
    with _open(path) as file:
        info, checksum = _header(file, path)
        names = info.architecture.inner
        try:
            if PEAKS not in file:
                return None
            array = plain_dataset(file, PEAKS, (len(names),), "<f4")
            stated = text_attribute(file[PEAKS], "sha256")
        except HDF5_ERRORS:
            raise corrupt(path, "its ranges for int8 can't be read") from None
    if stated != _peaks_digest(array, checksum):
        raise corrupt(path, "its ranges for int8 are damaged or belong to other weights")
    if not ((array >= 1 / MAX_PEAK) & (array <= MAX_PEAK)).all():
        raise corrupt(path, "its ranges for int8 are not possible")
    return dict(zip(names, array.tolist(), strict=True))


def read_weights(path: str | Path) -> tuple[ModelInfo, dict[str, list[np.ndarray]]]:
    """Read the description, and the weights (float32) by layer name: complete, undamaged, finite. Raises ModelError."""
    path = Path(path)
    with _open(path) as file:
        info, checksum = _header(file, path)
        weights = _weights(file, path, info)
    if _digest(weights) != checksum:
        raise corrupt(path, "its weights are damaged")
    if not all(np.isfinite(array).all() for arrays in weights.values() for array in arrays):
        raise corrupt(path, "its weights are not finite numbers")
    return info, weights


def build_from_file(path: str | Path, data_format: str = "channels_last") -> tuple[keras.Model, ModelInfo]:
    """Build the network that the file describes and give it the file's weights; see `build_unet`. Raises ModelError."""
    info, weights = read_weights(path)
    model = build_unet(info.architecture, data_format, kernels="zeros")
    for layer in _layers(model):
        for variable, array in zip(layer.weights, weights[layer.name], strict=True):
            variable.assign(array)
    return model, info


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    try:
        with open_hdf5(path, MAX_FILE) as file:
            yield file
    except ForeignFileError:
        raise _foreign(path) from None


def _foreign(path: Path) -> ModelError:
    return ModelError(
        f"{path.name} is not a SpineSeg model file; weights of Keras 2 can be converted with `spineseg models import`."
    )


def _header(file: h5py.File, path: Path) -> tuple[ModelInfo, str]:
    """The description and the checksum of the weights."""
    try:
        if HEADER not in file.attrs:
            raise _foreign(path)
        text = text_attribute(file, HEADER)
    except HDF5_ERRORS:
        raise corrupt(path, "its description can't be read") from None
    if text is None or len(text) > MAX_HEADER:
        raise corrupt(path, "its description is not a text")
    try:
        values = json.loads(text)
        if type(values["format"]) is int and values["format"] > FORMAT:
            raise ModelError(f"{path.name} was written by a newer SpineSeg; update SpineSeg to use it.")
        if values.pop("format") != FORMAT:
            raise ValueError("format")
        checksum = str(values.pop("sha256"))
        return info_from_dict(values), checksum
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise corrupt(path, "its description is not valid") from None


def _weights(file: h5py.File, path: Path, info: ModelInfo) -> dict[str, list[np.ndarray]]:
    weights = {}
    budget = info.architecture.parameters
    try:
        layers = read_group(file, "layers")
        for key in layers:
            group = read_group(layers, f"{key}/vars")
            arrays = [read_array(group, str(i)) for i in range(len(group))]
            budget -= sum(array.size for array in arrays)
            if budget < 0:
                raise ValueError("too many weights")
            if arrays:
                weights[text_attribute(group, "name") or ""] = arrays
    except HDF5_ERRORS:
        raise corrupt(path, "its weights can't be read") from None
    if {name: [array.shape for array in arrays] for name, arrays in weights.items()} != info.architecture.shapes():
        raise corrupt(path, "its weights don't fit its architecture")
    return weights


def info_from_dict(values: dict[str, Any]) -> ModelInfo:
    """Validated description from plain values, as in a file's JSON. Raises ValueError, TypeError or KeyError."""
    values = dict(values)
    architecture = _exactly(Architecture, values.pop("architecture"))
    preprocessing = dict(values.pop("preprocessing"))
    for name in ("context", "window"):
        preprocessing[name] = tuple(_number(v) for v in preprocessing[name])
    for name in ("spacing", "threshold"):
        if preprocessing[name] is not None:
            preprocessing[name] = _number(preprocessing[name])
    if len(preprocessing["window"]) != 2 or type(preprocessing["bits"]) not in (int, type(None)):
        raise ValueError("window or bits")
    labels, metrics = values.pop("labels"), values.pop("metrics")
    if not isinstance(labels, list) or not isinstance(metrics, dict):
        raise TypeError("labels or metrics")
    return _exactly(
        ModelInfo,
        {
            **values,
            "architecture": architecture,
            "preprocessing": _exactly(Preprocessing, preprocessing),
            "labels": tuple(labels),
            "metrics": metrics,
        },
    )


def _exactly(cls: type, values: dict[str, Any]) -> Any:
    """An instance from values that must name each field and nothing else."""
    if set(values) != {f.name for f in fields(cls)}:
        raise ValueError(f"not the fields of {cls.__name__}")
    return cls(**values)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("not a number")
    return float(value)


def _layers(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in model.layers if layer.weights]


def _values(layer: keras.Layer) -> list[Any]:
    from keras import ops

    return [ops.convert_to_numpy(variable) for variable in layer.weights]


def _keras_class(name: str, architecture: Architecture) -> str:
    """Name under which Keras files a layer of `build_unet`."""
    if "_norm" in name:
        return "batch_normalization"
    return "conv2d_transpose" if name.endswith("_up") and architecture.up == "transpose" else "conv2d"


def _digest(weights: dict[str, list[np.ndarray]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        for array in weights[name]:
            digest.update(f"{name} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array, dtype="<f4").data)
    return digest.hexdigest()


def _peaks_digest(peaks: np.ndarray, weights_digest: str) -> str:
    return _digest({f"{PEAKS} of {weights_digest}": [peaks]})
