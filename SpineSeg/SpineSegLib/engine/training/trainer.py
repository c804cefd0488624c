"""The optimisation of a U-Net: loss, epochs, validation, and the files that let it go on after it was broken off."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.special import expit, softmax

from SpineSegLib.engine.errors import ComputeError, InputError
from SpineSegLib.engine.files.writing import atomic_output
from SpineSegLib.engine.models.backends import cpu_has
from SpineSegLib.engine.models.model_file import read_weights
from SpineSegLib.engine.models.network import is_out_of_memory
from SpineSegLib.engine.models.unet import Preset, build_unet
from SpineSegLib.engine.training.augmentation import Augmentation

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. `patch` in working pixels; `validation_share` of the patients; `patience` in epochs.

    `learning_rate` is the highest, reached after `warm_up` steps and then lowered along a cosine to 1 % of it
    (Loshchilov and Hutter 2017). `average` is the decay of the running mean of the weights that is validated and kept
    (Polyak and Juditsky 1992); it is lower in a short training, so that the mean is of about a tenth of its steps and
    holds no random weights of the beginning. `mixed_precision`: bfloat16 where the hardware multiplies it if None.
    `fixed_norms`: batch normalisation stays as the starting model has it; in short trainings on few cases its running
    statistics would lag behind the weights.
    """

    epochs: int = 34
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
    fixed_norms: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)


class DivergedError(ComputeError):
    """The loss stopped being a number."""


class Sampler(Protocol):
    """Where batches come from; see `PatchSampler.batch`."""

    def batch(self, number: int, count: int) -> tuple[np.ndarray, np.ndarray]: ...


# Scores of the model as it is, by name: "validation_dice" if there is somebody to validate on; "score", by which epochs
# are compared, if that is another number.
Validate = Callable[["keras.Model"], dict[str, float]]


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
    best_dice: float | None


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


def validation_patches(
    model: keras.Model, sampler: Sampler, settings: TrainingSettings
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Foreground probability and truth (n, y, x) of the validation patches, the same ones each time."""
    for number in range(settings.validation_batches):
        images, labels = sampler.batch(number, settings.batch)
        yield foreground_probability(model, images), labels > 0


def foreground_probability(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Probability (n, y, x) that it is any of the labels, from a network that gives logits."""
    logits = np.asarray(model.predict_on_batch(images), dtype=np.float32)
    if logits.shape[-1] == 1:
        return expit(logits[..., 0])
    return 1 - softmax(logits, axis=-1)[..., 0]


def patch_dice(sampler: Sampler, settings: TrainingSettings) -> Validate:
    """Validation by the pooled Dice of validation patches at a threshold of a half."""

    def validate(model: keras.Model) -> dict[str, float]:
        hits = total = 0
        for probability, truth in validation_patches(model, sampler, settings):
            predicted = probability >= 0.5
            hits += np.count_nonzero(predicted & truth)
            total += np.count_nonzero(predicted) + np.count_nonzero(truth)
        dice = 2 * hits / max(total, 1)
        return {"validation_dice": dice}

    return validate


class Trainer:
    """The network with its optimiser, and the files that let a training go on after it was broken off."""

    def __init__(
        self, preset: Preset, start: Path | None, settings: TrainingSettings, folder: Path, data: str = ""
    ) -> None:
        """`data`: a text that is another one for other patients, of whom some may have changed sides. Raises InputError
        where `folder` holds what an unfinished training of something else left."""
        import keras

        self.settings = settings
        self.folder = folder
        self.history: list[dict[str, float]] = []
        self._largest_batch: int | None = None  # known once memory was short
        # What an unfinished training must have in common with this one to be gone on with.
        parent = hashlib.sha256(start.read_bytes()).hexdigest() if start else None
        self._origin = json.dumps([asdict(preset), parent, data])
        keras.utils.set_random_seed(settings.seed)
        accelerated = _has_gpu()
        mixed = settings.mixed_precision
        if mixed is None:  # half precision pays where the hardware multiplies it
            mixed = accelerated or bool(cpu_has("avx512_bf16", "amx_bf16"))
        keras.mixed_precision.set_global_policy("mixed_bfloat16" if mixed else "float32")
        try:
            self.model = build_unet(preset.architecture, logits=True)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        if start is not None:
            self._set_weights(read_weights(start)[1])
        if settings.fixed_norms:
            for layer in self.model.layers:
                layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
        total = settings.epochs * settings.steps
        schedule = keras.optimizers.schedules.CosineDecay(
            settings.learning_rate * 0.02,
            max(1, total - settings.warm_up),
            alpha=0.01,
            warmup_target=settings.learning_rate,
            warmup_steps=settings.warm_up,
        )
        average = max(0.0, min(settings.average, 1 - 10 / total))
        optimizer = keras.optimizers.AdamW(
            schedule, weight_decay=1e-4, global_clipnorm=1.0, use_ema=True, ema_momentum=average
        )
        self.model.compile(
            optimizer=optimizer, loss=dice_and_crossentropy(preset.architecture.outputs), jit_compile=accelerated
        )
        optimizer.build(self.model.trainable_variables)
        self._resume()

    @property
    def best(self) -> dict[str, float] | None:
        """What `history` says of the epoch whose weights are kept, None before the first one."""
        return max(self.history, key=lambda entry: entry.get("score", entry.get("validation_dice")), default=None)

    def epochs(
        self,
        training: Sampler,
        validate: Validate,
        report: Callable[[Progress], None],
        keep: Callable[[], None] = lambda: None,
    ) -> Iterator[dict[str, float]]:
        """Train until the epochs are done or patience is out; yields what `history` gains after each one.

        `keep` is called when an epoch is the best so far, with its weights in the model, before it counts as done.
        Raises DivergedError; what the epochs before gave is kept. Where memory is short, the batch is halved.
        """
        while len(self.history) < self.settings.epochs and not self.out_of_patience:
            self._epoch(training, validate, report, keep)
            yield self.history[-1]

    @property
    def out_of_patience(self) -> bool:
        """Whether the best epoch lies too far back."""
        best = self.best
        return best is not None and len(self.history) - 1 - self.history.index(best) >= self.settings.patience

    def _epoch(
        self, training: Sampler, validate: Validate, report: Callable[[Progress], None], keep: Callable[[], None]
    ) -> None:
        settings, epoch = self.settings, len(self.history)
        began = time.monotonic()
        losses = []
        first = epoch * settings.steps
        best = self.best
        for step, (images, labels) in enumerate(_prefetch(training, first, settings.steps, settings.batch), start=1):
            losses.append(self._step(images, labels))
            if not np.isfinite(losses[-1]):
                raise DivergedError("The loss stopped being a number; train again with a lower learning rate.")
            pace = (time.monotonic() - began) / step
            left = pace * (settings.steps * (settings.epochs - epoch) - step)
            mean = float(np.mean(losses))
            best_dice = best.get("validation_dice") if best else None
            report(Progress("training", epoch + 1, settings.epochs, step, settings.steps, mean, left, best_dice))
        running = self.model.get_weights()
        # The running mean of the weights is what gets validated and kept.
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        scores = validate(self.model)
        entry = {"loss": float(np.mean(losses)), **scores, "seconds": time.monotonic() - began}
        self.history.append(entry)
        if self.best is entry:
            self._save_arrays("best.npz", self.model.get_weights())
            keep()
        self.model.set_weights(running)
        self._save_arrays("resume.npz", running, [np.asarray(v) for v in self.model.optimizer.variables])

    def _step(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Train on a batch, or as much of it as fits into memory; returns the loss."""
        while True:
            size = self._largest_batch or len(images)
            try:
                return float(self.model.train_on_batch(images[:size], labels[:size]))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1:
                    raise ComputeError(
                        "There is not enough memory to train even on one patch at a time; close other programs, or "
                        "train with smaller patches."
                    ) from error
                self._largest_batch = size // 2

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
        about = {"history": json.dumps(self.history), "origin": self._origin}
        with atomic_output(self.folder / name) as temporary, temporary.open("wb") as file:
            np.savez(file, **{key: np.array(text) for key, text in about.items()}, **arrays)

    def _resume(self) -> None:
        path = self.folder / "resume.npz"
        if not path.exists():
            return
        with np.load(path) as file:
            if str(file["origin"]) != self._origin:
                raise InputError(
                    f"{self.folder} holds an unfinished training of another network, from another model or on other "
                    "cases; remove it or choose another name for the new model."
                )
            self.model.set_weights([file[f"weights_{i:04d}"] for i in range(len(self.model.weights))])
            for i, variable in enumerate(self.model.optimizer.variables):
                variable.assign(file[f"optimizer_{i:04d}"])
            self.history = json.loads(str(file["history"]))


def _prefetch(sampler: Sampler, first: int, steps: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches first to first + steps - 1 in order, drawn by threads while the network works on earlier ones.

    A batch of 16 takes 0.25 s of a core: two threads are enough for a CPU, a GPU needs more of them.
    """
    threads = max(2, min(8, (os.cpu_count() or 2) // 2))
    with ThreadPoolExecutor(max_workers=threads) as drawing:
        ahead = 2 * threads
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
    import tensorflow

    return bool(tensorflow.config.list_physical_devices("GPU"))
