"""From a folder of cases to a new model file: prepare, train, calibrate, describe."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logit

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.writing import atomic_output
from SpineSegLib.engine.models.model_file import ENDING, ModelInfo, check_new_model, read_info, save_weights
from SpineSegLib.engine.models.unet import Preset
from SpineSegLib.engine.training.augmentation import NONE, Augmentation
from SpineSegLib.engine.training.int8 import int8_peaks
from SpineSegLib.engine.training.trainer import (
    Progress,
    Sampler,
    Trainer,
    TrainingSettings,
    patch_dice,
    validation_patches,
)
from SpineSegLib.engine.training.training_data import (
    PatchSampler,
    PreparedCase,
    PublicCase,
    TrainingCase,
    find_cases,
    prepare_all,
    split_patients,
)

if TYPE_CHECKING:
    import keras

THRESHOLDS = np.round(np.arange(0.2, 0.81, 0.05), 2)
FLAT = 0.002  # Dice that counts as the same
COOLING = (0.5, 4.0)  # temperatures that are tried


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave: `history` holds loss, validation Dice and seconds of each epoch, `left_out` a sentence for
    each case of a public data set that couldn't be used."""

    model: Path
    info: ModelInfo
    history: list[dict[str, float]]
    left_out: tuple[str, ...] = ()


def find_and_split(
    datasets: Sequence[Path], validation: Path | None, settings: TrainingSettings
) -> tuple[list[TrainingCase | PublicCase], list[TrainingCase | PublicCase]]:
    """Training and validation cases: of the folder `validation`, or where it is None some patients of `datasets`.

    Raises InputError where there are too few, or a patient is in both.
    """
    training = [case for dataset in datasets for case in find_cases(dataset)]
    if validation is None:
        return split_patients(training, settings.validation_share, settings.seed)
    held_out = find_cases(validation)
    shared = {c.patient for c in training} & {c.patient for c in held_out}
    if shared:
        raise InputError(f"Of the patients, {len(shared)} are in both training and validation; remove them from one.")
    return training, held_out


def train(
    training_cases: Sequence[TrainingCase | PublicCase],
    validation_cases: Sequence[TrainingCase | PublicCase],
    out: Path,
    start: Preset | Path,
    settings: TrainingSettings,
    name: str,
    licence: str = "",
    description: str = "",
    report: Callable[[Progress], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> TrainingResult:
    """Train on cases, see `find_and_split`, and write the best weights as a new model file `out`.

    `start`: a preset to train from scratch, or a model file to go on from. `note` gets a sentence for each case that is
    left out. Work in progress lies in a folder beside `out`; a training that was broken off goes on from its last epoch
    when it is called again with the same arguments. The learning curve is drawn there after every epoch.

    Raises InputError, ModelError, OutputError; ComputeError where the loss stops being a number.
    """
    check_new_model(out)
    preset, parent = _starting_point(start)
    left_out: list[str] = []

    def leave_out(sentence: str) -> None:
        left_out.append(sentence)
        note(sentence)

    folder = out.with_name(out.name.removesuffix(ENDING) + ".training")

    def prepare(cases: Sequence[TrainingCase], stage: str) -> list[PreparedCase]:
        def tell(done: int, count: int) -> None:
            report(Progress(stage, 0, settings.epochs, done, count, float("nan"), None, None))

        return prepare_all(cases, preset.preprocessing, len(preset.labels), folder / "prepared", tell, leave_out)

    def sampler(cases: Sequence[TrainingCase], stage: str, augmentation: Augmentation, seed: int) -> PatchSampler:
        return PatchSampler(prepare(cases, stage), preset.preprocessing, settings.patch, augmentation, seed)

    samplers = (
        sampler(training_cases, "preparing training cases", settings.augmentation, settings.seed),
        sampler(validation_cases, "preparing validation cases", NONE, settings.seed + 1),
    )
    sides = [sorted(case.patient for case in side) for side in (training_cases, validation_cases)]
    patients = hashlib.sha256(json.dumps(sides).encode()).hexdigest()
    trainer = Trainer(preset, start if isinstance(start, Path) else None, settings, folder, patients)
    for _ in trainer.epochs(samplers[0], patch_dice(samplers[1], settings), report):
        write_curve(trainer.history, folder / "curve.png")
    trainer.use_best()
    cool(trainer.model, samplers[1], settings)
    threshold, metrics = calibrate(trainer.model, samplers[1], settings)
    weights = trainer.weights()
    peaks, cost = int8_peaks(preset.architecture, weights, threshold, *samplers, settings.batch)
    metrics |= {"epochs": float(len(trainer.history))} | cost
    used = {case.name for case in samplers[0].cases}
    info = ModelInfo(
        name=name,
        version=parent.version + 1 if parent else 1,
        architecture=preset.architecture,
        preprocessing=replace(preset.preprocessing, threshold=threshold),
        labels=preset.labels,
        licence=licence or (parent.licence if parent else ""),
        parent=f"{parent.name} {parent.version}" if parent else None,
        training_set=fingerprint([case for case in training_cases if case.name in used]),
        metrics=metrics,
        description=description,
    )
    save_weights(weights, info, out, peaks=peaks)
    log = {"settings": asdict(settings), "model": asdict(info), "left out": len(left_out), "history": trainer.history}
    with atomic_output(folder / "log.json") as temporary:
        temporary.write_text(json.dumps(log, indent=1), encoding="utf-8")
    del samplers  # Windows removes no file that is still mapped
    shutil.rmtree(folder / "prepared", ignore_errors=True)
    for done in ("resume.npz", "best.npz"):
        (folder / done).unlink(missing_ok=True)
    return TrainingResult(out, info, trainer.history, tuple(left_out))


def fingerprint(cases: Sequence[TrainingCase | PublicCase]) -> str:
    """SHA-256 over the masks of a training set, independent of names and order."""
    digests = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for case in cases for file in case.masks)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def cool(model: keras.Model, sampler: Sampler, settings: TrainingSettings) -> float:
    """Divide the network's logits by the temperature at which the validation patches are most likely; returns it.

    Networks are surer than they are right (Guo et al. 2017). With one label the edge stays where it was, with several
    very nearly.
    """
    odds, spine = [], []
    for probability, truth in validation_patches(model, sampler, settings):
        odds.append(logit(np.clip(probability, 1e-6, 1 - 1e-6)).ravel())
        spine.append(truth.ravel())
    signed = np.concatenate(odds) * np.where(np.concatenate(spine), np.float32(-1), np.float32(1))

    def surprise(temperature: float) -> float:
        return float(np.logaddexp(np.float32(0), signed / np.float32(temperature)).mean())

    temperature = float(minimize_scalar(surprise, bounds=COOLING, method="bounded", options={"xatol": 0.01}).x)
    layer = model.get_layer("logits")
    layer.set_weights([array / temperature for array in layer.get_weights()])
    return temperature


def calibrate(model: keras.Model, sampler: Sampler, settings: TrainingSettings) -> tuple[float, dict[str, float]]:
    """The foreground threshold with the best pooled validation Dice, up to `FLAT`, and the scores there."""
    counts = np.zeros((len(THRESHOLDS), 3))  # true positives, predicted, reference
    for probability, truth in validation_patches(model, sampler, settings):
        for i, threshold in enumerate(THRESHOLDS):
            predicted = probability >= threshold
            counts[i] += (np.count_nonzero(predicted & truth), np.count_nonzero(predicted), np.count_nonzero(truth))
    dice = 2 * counts[:, 0] / np.maximum(counts[:, 1] + counts[:, 2], 1)
    # The optimum is flat: of thresholds that are as good, the one nearest to a half promises most on other scans.
    good = np.flatnonzero(dice >= dice.max() - FLAT)
    best = int(good[np.argmin(np.abs(THRESHOLDS[good] - 0.5))])
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
    with atomic_output(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _starting_point(start: Preset | Path) -> tuple[Preset, ModelInfo | None]:
    if isinstance(start, Preset):
        return start, None
    info = read_info(start)
    return Preset(info.architecture, info.preprocessing, info.labels), info
