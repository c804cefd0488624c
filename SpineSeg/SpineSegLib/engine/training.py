"""Training a U-Net on prepared cases: patches, loss, validation, checkpoints, learning curve."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.engine.augmentation import NONE, Augmentation
from SpineSegLib.engine.errors import ComputeError, InputError, OutputError
from SpineSegLib.engine.model_file import ENDING, ModelInfo, read_info, read_weights, save_weights
from SpineSegLib.engine.training_data import (
    PatchSampler,
    PreparedCase,
    TrainingCase,
    find_cases,
    prepare_all,
    split_patients,
)
from SpineSegLib.engine.unet import Preset, build_unet

if TYPE_CHECKING:
    import keras

THRESHOLDS = np.round(np.arange(0.2, 0.81, 0.05), 2)


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. `patch` in working pixels; `validation_share` of the patients; `patience` in epochs.

    `learning_rate` is the highest, reached after `warm_up` steps and then lowered along a cosine to 1 % of it
    (Loshchilov and Hutter 2017). `average` is the decay of the running mean of the weights that is validated and kept
    (Polyak and Juditsky 1992). `mixed_precision`: bfloat16 where the hardware multiplies it if None.
    """

    epochs: int = 40
    steps: int = 200
    batch: int = 16
    patch: int = 160
    learning_rate: float = 2e-3
    warm_up: int = 200
    average: float = 0.998
    patience: int = 12
    validation_share: float = 0.2
    validation_batches: int = 16
    seed: int = 0
    mixed_precision: bool | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class Progress:
    """State of a training: `epoch` and `step` count from 1, `loss` is the mean over the epoch so far."""

    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    seconds_left: float | None
    validation_dice: float | None
    best_dice: float | None


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave: `history` holds loss, validation Dice and seconds of each epoch."""

    model: Path
    info: ModelInfo
    history: list[dict[str, float]]


def train(
    dataset: Path,
    out: Path,
    start: Preset | Path,
    settings: TrainingSettings,
    name: str,
    validation: Path | None = None,
    licence: str = "",
    description: str = "",
    report: Callable[[Progress], None] = lambda _: None,
) -> TrainingResult:
    """Train on the cases in `dataset` and write the best weights as a new model file `out`.

    `start`: a preset to train from scratch, or a model file to go on from. `validation`: folder of validation cases;
    without it patients of `dataset` are split. Work in progress lies in a folder beside `out`; a training that was
    broken off goes on from its last epoch when it is called again with the same arguments.

    Raises InputError, ModelError, OutputError; ComputeError where the loss stops being a number.
    """
    if out.exists():
        raise OutputError(f"{out} exists, and models are never overwritten; choose another name.")
    folder = out.with_name(out.name.removesuffix(ENDING) + ".training")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder.parent} can't be written to ({error.strerror}); choose another place.") from None
    preset, parent = _starting_point(start)
    training_cases, validation_cases = _cases(dataset, validation, settings)

    def prepare(cases: Sequence[TrainingCase], stage: str) -> list[PreparedCase]:
        def tell(done: int, count: int) -> None:
            report(Progress(stage, 0, settings.epochs, done, count, float("nan"), None, None, None))

        return prepare_all(cases, preset.preprocessing, len(preset.labels), folder / "prepared", tell)

    def sampler(cases: Sequence[TrainingCase], stage: str, augmentation: Augmentation, seed: int) -> PatchSampler:
        return PatchSampler(prepare(cases, stage), preset.preprocessing, settings.patch, augmentation, seed)

    samplers = (
        sampler(training_cases, "preparing training cases", settings.augmentation, settings.seed),
        sampler(validation_cases, "preparing validation cases", NONE, settings.seed + 1),
    )
    trainer = _Trainer(preset, start if isinstance(start, Path) else None, settings, folder)
    trainer.run(*samplers, report)
    trainer.use_best()
    threshold, metrics = calibrate(trainer.model, samplers[1], settings)
    metrics |= {"epochs": float(len(trainer.history))}
    info = ModelInfo(
        name=name,
        version=parent.version + 1 if parent else 1,
        architecture=preset.architecture,
        preprocessing=replace(preset.preprocessing, threshold=threshold),
        labels=preset.labels,
        licence=licence or (parent.licence if parent else ""),
        parent=f"{parent.name} {parent.version}" if parent else None,
        training_set=fingerprint(training_cases),
        metrics=metrics,
        description=description,
    )
    save_weights(trainer.weights(), info, out)
    write_curve(trainer.history, folder / "curve.png")
    log = {"settings": asdict(settings), "model": asdict(info), "history": trainer.history}
    _write_atomically(folder / "log.json", json.dumps(log, indent=1).encode())
    shutil.rmtree(folder / "prepared", ignore_errors=True)
    for done in ("resume.npz", "best.npz"):
        (folder / done).unlink(missing_ok=True)
    return TrainingResult(out, info, trainer.history)


def fingerprint(cases: Sequence[TrainingCase]) -> str:
    """SHA-256 over the masks of a training set, independent of names and order."""
    digests = sorted(hashlib.sha256(case.mask.read_bytes()).hexdigest() for case in cases)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def dice_and_crossentropy(outputs: int) -> Callable:
    """Loss of logits (n, y, x, outputs) against labels (n, y, x): cross-entropy plus 1 - soft Dice of the foreground.

    Soft Dice over the whole batch after Milletari et al. 2016 (V-Net), with squares left out.
    """

    def loss(labels, logits):
        from keras import ops

        # Keras may have dropped a channel axis of length 1; flat arrays are the same either way.
        labels, logits = ops.reshape(labels, (-1,)), ops.reshape(logits, (-1, outputs))
        truth = ops.cast(labels > 0, "float32")
        if outputs == 1:
            entropy = ops.mean(ops.binary_crossentropy(truth, logits[:, 0], from_logits=True))
            foreground = ops.sigmoid(logits[:, 0])
        else:
            entropy = ops.mean(ops.sparse_categorical_crossentropy(labels, logits, from_logits=True))
            foreground = 1.0 - ops.softmax(logits)[:, 0]
        dice = (2.0 * ops.sum(foreground * truth) + 1.0) / (ops.sum(foreground) + ops.sum(truth) + 1.0)
        return entropy + 1.0 - dice

    return loss


def calibrate(model: keras.Model, sampler: PatchSampler, settings: TrainingSettings) -> tuple[float, dict[str, float]]:
    """The foreground threshold of the highest pooled validation Dice, and the scores there (voxels pooled)."""
    counts = np.zeros((len(THRESHOLDS), 3))  # true positives, predicted, reference
    for probability, truth in _validation(model, sampler, settings):
        for i, threshold in enumerate(THRESHOLDS):
            predicted = probability >= threshold
            counts[i] += (np.count_nonzero(predicted & truth), np.count_nonzero(predicted), np.count_nonzero(truth))
    dice = 2 * counts[:, 0] / np.maximum(counts[:, 1] + counts[:, 2], 1)
    best = int(np.argmax(dice))
    hits, predicted, reference = counts[best]
    return float(THRESHOLDS[best]), {
        "validation_dice": float(dice[best]),
        "validation_sensitivity": float(hits / max(reference, 1)),
        "validation_precision": float(hits / max(predicted, 1)),
    }


def write_curve(history: Sequence[dict[str, float]], path: Path) -> None:
    """Picture of loss and validation Dice over the epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    epochs = np.arange(1, len(history) + 1)
    axes.plot(epochs, [h["loss"] for h in history], color="tab:blue")
    axes.set(xlabel="Epoch", ylabel="Training loss")
    axes.yaxis.label.set_color("tab:blue")
    right = axes.twinx()
    right.plot(epochs, [h["validation_dice"] for h in history], color="tab:orange")
    right.set_ylabel("Validation Dice", color="tab:orange")
    figure.savefig(path, dpi=110)


def _starting_point(start: Preset | Path) -> tuple[Preset, ModelInfo | None]:
    if isinstance(start, Preset):
        return start, None
    info = read_info(start)
    return Preset(info.architecture, info.preprocessing, info.labels), info


def _cases(
    dataset: Path, validation: Path | None, settings: TrainingSettings
) -> tuple[list[TrainingCase], list[TrainingCase]]:
    if validation is None:
        return split_patients(find_cases(dataset), settings.validation_share, settings.seed)
    training, held_out = find_cases(dataset), find_cases(validation)
    shared = {c.patient for c in training} & {c.patient for c in held_out}
    if shared:
        raise InputError(f"{len(shared)} patients are in both training and validation; remove them from one.")
    return training, held_out


def _validation(
    model: keras.Model, sampler: PatchSampler, settings: TrainingSettings
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Foreground probability and truth (n, y, x) of the validation patches, the same ones each time."""
    for number in range(settings.validation_batches):
        images, labels = sampler.batch(number, settings.batch)
        logits = np.asarray(model.predict_on_batch(images), dtype=np.float32)
        if logits.shape[-1] == 1:
            probability = 1 / (1 + np.exp(-logits[..., 0]))
        else:
            exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
            probability = 1 - exponents[..., 0] / exponents.sum(axis=-1)
        yield probability, labels > 0


class _Trainer:
    """The network with its optimiser, and the files that let a training go on after it was broken off."""

    def __init__(self, preset: Preset, start: Path | None, settings: TrainingSettings, folder: Path) -> None:
        import keras

        self.settings = settings
        self.folder = folder
        self.history: list[dict[str, float]] = []
        keras.utils.set_random_seed(settings.seed)
        accelerated = _has_gpu()
        mixed = settings.mixed_precision if settings.mixed_precision is not None else accelerated or _has_bf16()
        keras.mixed_precision.set_global_policy("mixed_bfloat16" if mixed else "float32")
        try:
            self.model = build_unet(preset.architecture, logits=True)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        if start is not None:
            self._set_weights(read_weights(start)[1])
        total = settings.epochs * settings.steps
        schedule = keras.optimizers.schedules.CosineDecay(
            settings.learning_rate * 0.02,
            max(1, total - settings.warm_up),
            alpha=0.01,
            warmup_target=settings.learning_rate,
            warmup_steps=settings.warm_up,
        )
        optimizer = keras.optimizers.AdamW(
            schedule, weight_decay=1e-4, global_clipnorm=1.0, use_ema=True, ema_momentum=settings.average
        )
        self.model.compile(
            optimizer=optimizer, loss=dice_and_crossentropy(preset.architecture.outputs), jit_compile=accelerated
        )
        optimizer.build(self.model.trainable_variables)
        self._resume()

    @property
    def best_dice(self) -> float | None:
        return max((h["validation_dice"] for h in self.history), default=None)

    def run(self, training: PatchSampler, validation: PatchSampler, report: Callable[[Progress], None]) -> None:
        """Train until the epochs are done or patience is out."""
        while len(self.history) < self.settings.epochs and not self._out_of_patience():
            self._epoch(training, validation, report)

    def _out_of_patience(self) -> bool:
        dice = [h["validation_dice"] for h in self.history]
        return bool(dice) and len(dice) - 1 - int(np.argmax(dice)) >= self.settings.patience

    def _epoch(self, training: PatchSampler, validation: PatchSampler, report: Callable[[Progress], None]) -> None:
        settings, epoch = self.settings, len(self.history)
        began = time.monotonic()
        losses = []
        first = epoch * settings.steps
        for step, (images, labels) in enumerate(_prefetch(training, first, settings.steps, settings.batch), start=1):
            losses.append(float(self.model.train_on_batch(images, labels)))
            if not np.isfinite(losses[-1]):
                raise ComputeError("The loss stopped being a number; train again with a lower learning rate.")
            pace = (time.monotonic() - began) / step
            left = pace * (settings.steps * (settings.epochs - epoch) - step)
            last = self.history[-1]["validation_dice"] if self.history else None
            mean = float(np.mean(losses))
            report(
                Progress("training", epoch + 1, settings.epochs, step, settings.steps, mean, left, last, self.best_dice)
            )
        best_before = self.best_dice
        running = self.model.get_weights()
        # The running mean of the weights is what gets validated and kept.
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        dice = self._validate(validation)
        self.history.append(
            {"loss": float(np.mean(losses)), "validation_dice": dice, "seconds": time.monotonic() - began}
        )
        if best_before is None or dice > best_before:
            self._save_arrays("best.npz", self.model.get_weights())
        self.model.set_weights(running)
        self._save_arrays("resume.npz", running, [np.asarray(v) for v in self.model.optimizer.variables])

    def _validate(self, sampler: PatchSampler) -> float:
        hits = total = 0
        for probability, truth in _validation(self.model, sampler, self.settings):
            predicted = probability >= 0.5
            hits += np.count_nonzero(predicted & truth)
            total += np.count_nonzero(predicted) + np.count_nonzero(truth)
        return 2 * hits / max(total, 1)

    def use_best(self) -> None:
        """Put the weights of the best epoch into the model."""
        if (self.folder / "best.npz").exists():
            with np.load(self.folder / "best.npz") as file:
                self.model.set_weights([file[f"weights_{i:04d}"] for i in range(len(self.model.weights))])

    def weights(self) -> dict[str, list[np.ndarray]]:
        """The model's weights by layer name."""
        return {layer.name: layer.get_weights() for layer in self.model.layers if layer.weights}

    def _set_weights(self, weights: dict[str, list[np.ndarray]]) -> None:
        for name, arrays in weights.items():
            self.model.get_layer(name).set_weights(arrays)

    def _save_arrays(self, name: str, weights: Sequence[np.ndarray], optimizer: Sequence[np.ndarray] = ()) -> None:
        arrays = {f"weights_{i:04d}": a for i, a in enumerate(weights)}
        arrays |= {f"optimizer_{i:04d}": a for i, a in enumerate(optimizer)}
        part = self.folder / f"{name}.part"
        with part.open("wb") as file:
            np.savez(file, history=np.array(json.dumps(self.history)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.folder / name)

    def _resume(self) -> None:
        path = self.folder / "resume.npz"
        if not path.exists():
            return
        with np.load(path) as file:
            self.model.set_weights([file[f"weights_{i:04d}"] for i in range(len(self.model.weights))])
            for i, variable in enumerate(self.model.optimizer.variables):
                variable.assign(file[f"optimizer_{i:04d}"])
            self.history = json.loads(str(file["history"]))


def _prefetch(sampler: PatchSampler, first: int, steps: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches first to first + steps - 1 in order, drawn by two threads while the network works on earlier ones."""
    with ThreadPoolExecutor(max_workers=2) as drawing:
        ahead = 4
        coming = deque(drawing.submit(sampler.batch, first + n, count) for n in range(min(ahead, steps)))
        try:
            for number in range(first, first + steps):
                batch = coming.popleft().result()
                if number + ahead < first + steps:
                    coming.append(drawing.submit(sampler.batch, number + ahead, count))
                yield batch
        finally:
            for waiting in coming:
                waiting.cancel()


def _has_gpu() -> bool:
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.is_available()
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return bool(tensorflow.config.list_physical_devices("GPU"))
    import jax

    return jax.default_backend() == "gpu"


def _has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware, where half precision pays."""
    flags = Path("/proc/cpuinfo")
    return flags.exists() and any(f in flags.read_text() for f in (" avx512_bf16", " amx_bf16"))


def _write_atomically(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)
