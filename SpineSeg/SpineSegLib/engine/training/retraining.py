"""From a training set of corrected cases and a model to the model's next version.

Fine-tuning must not cost what the model can do already, so part of every batch is rehearsal: scans of another origin
than the corrected ones, by default procedural phantoms, which can be rendered anywhere (as in Rolnick et al. 2019,
Experience Replay for Continual Learning). The same kind of scans, held out, measures what is forgotten.

Epochs are compared by the Dice of the validation patients' own slices, first of all for the starting model: that is the
line to beat. What beats it becomes the current model; what doesn't is kept too.

What an epoch has learned is taken back by a quarter, towards the starting model's weights, and further where rehearsal
demands it: networks on the straight line between the two keep most of what was learned and forget less (Wortsman et
al. 2022, Robust fine-tuning of zero-shot models). The threshold stays what it was: fitted to phantoms it would suit
phantoms alone, and cost 2 to 6 points of Dice on rendered scans of real anatomy.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.datasets.labels import UNCHECKED
from SpineSegLib.engine.errors import ComputeError, InputError
from SpineSegLib.engine.files.writing import atomic_output, check_place
from SpineSegLib.engine.models.model_catalogue import find_models, make_current, user_models_dir
from SpineSegLib.engine.models.model_file import (
    ENDING,
    NAME,
    ModelInfo,
    now,
    read_identity,
    read_info,
    read_peaks,
    read_training,
    read_weights,
    save_weights,
)
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.models.unet import Preset
from SpineSegLib.engine.segments import SEGMENTS
from SpineSegLib.engine.training.augmentation import NONE
from SpineSegLib.engine.training.int8 import int8_peaks
from SpineSegLib.engine.training.trainer import (
    DivergedError,
    Progress,
    Sampler,
    Trainer,
    TrainingSettings,
    foreground_probability,
)
from SpineSegLib.engine.training.training_data import (
    CaseImages,
    CaseSource,
    PatchSampler,
    PreparedCase,
    find_cases,
    prepare_all,
    split_patients,
)
from SpineSegLib.engine.training.training_set import TRAINING, VALIDATION, CaseInfo, TrainingSet, fingerprint

if TYPE_CHECKING:
    import keras

SETTINGS = TrainingSettings(
    epochs=12, steps=60, batch=8, patch=160, learning_rate=1e-3, warm_up=60, average=0.98, patience=4, fixed_norms=True
)
REHEARSAL_SHARE = 0.5  # of every batch
REHEARSAL_CASES, REHEARSAL_HELD_OUT = 6, 2
PHANTOMS = (*range(REHEARSAL_CASES), *range(500, 500 + REHEARSAL_HELD_OUT))  # that are rehearsed, and held out
GAIN = 0.001  # Dice by which a version must be better than its parent
FALL = 0.005  # Dice that may be lost on rehearsal
SHARES = (0.75, 0.5, 0.25)  # of the way from the starting model to what was learned
APART = 0.05  # Dice by which the first share may be worse than the whole; if it is, the two models are too far apart
SCORED_SLICES = 48  # per validation, shared among its cases
PATIENCE = 3.0  # seconds; a program that was killed takes a moment to let go
_PHANTOM_SEED = 1
_SLICE_MULTIPLE = 64  # slices are padded to it, so that networks are compiled for few shapes
_MEANS = ("validation_dice", "rehearsal_dice")
_BEST, _HISTORY, _BASELINE = f"best{ENDING}", "history.json", "baseline.json"


class Report(Protocol):
    """Is told what happens: "plan", "progress", "baseline" and "epoch", with plain values."""

    def __call__(self, event: str, **values: Any) -> None: ...


@dataclass(frozen=True)
class Plan:
    """What a re-training would do, or in `problem` why it can't; `offer` then says what could be done instead.

    `sentences` are for people.
    """

    training: tuple[CaseInfo, ...]
    validation: tuple[CaseInfo, ...]
    sentences: tuple[str, ...] = ()
    problem: str | None = None
    offer: str | None = None


@dataclass(frozen=True)
class Retrained:
    """What came of a re-training: the new version's file and description, its `record` (see `read_training`), whether
    it beats its parent (None: nobody to validate on), whether it was made current, and a sentence for people."""

    model: Path
    info: ModelInfo
    record: dict[str, Any]
    better: bool | None
    made_current: bool
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON. `name` is what the model catalogue knows the version by."""
        info = self.info
        return {
            "model": str(self.model),
            "name": self.model.name.removesuffix(ENDING),
            "version": info.version,
            "parent": info.parent,
            "better": self.better,
            "made_current": self.made_current,
            "sentence": self.sentence,
            "metrics": info.metrics,
            "scores": self.record["scores"],
            "history": self.record["history"],
            "ended": self.record["ended"],
        }


def plan(training_set: TrainingSet, info: ModelInfo, without_validation: bool = False) -> Plan:
    """Which cases would train and which validate a successor of this model. Raises InputError for a damaged set."""
    cases = training_set.cases()
    training = tuple(case for case in cases if case.side == TRAINING)
    validation = () if without_validation else tuple(case for case in cases if case.side == VALIDATION)
    empty = Plan(training, validation)
    unknown = [key for key in info.labels if key not in training_set.segments]
    if unknown and len(info.labels) > 1:
        lacking = ", ".join(unknown)
        return replace(
            empty, problem=f"The model segments {lacking}, which the training set doesn't hold; choose another model."
        )
    if not cases:
        return replace(empty, problem="The training set holds no case; correct a segmentation and submit it first.")
    if not training:
        return replace(empty, problem="There is no patient to train on; submit a case of another patient.")
    if not without_validation and not validation:
        return replace(
            empty,
            problem="There is no patient to validate on; submit a case of another one, or train without validation.",
            offer="Without validation nobody can tell whether the new version is better, so it won't be made current.",
        )
    sentences = [f"{_count(training)} to train on" + (f", {_count(validation)} to validate on." if validation else ".")]
    if without_validation:
        sentences.append("Nobody validates, so the new version won't be made current by itself.")
    elif len({case.patient for case in validation}) < 2:
        sentences.append("One validation patient says little about others; more patients make the scores reliable.")
    return replace(empty, sentences=tuple(sentences))


def retrain(
    cases: Path,
    start: Path,
    settings: TrainingSettings = SETTINGS,
    name: str | None = None,
    without_validation: bool = False,
    rehearsal: Path | None = None,
    rehearsal_share: float = REHEARSAL_SHARE,
    report: Report = lambda _event, **_values: None,
) -> Retrained:
    """Fine-tune the model file `start` on the training set `cases`; the new version goes to the user's model folder.

    `name`: of the new version, as `start` if None. `rehearsal`: folder of cases as for `train`, phantoms if None;
    `rehearsal_share` of each batch, 0 for none.

    Work in progress lies in a hidden folder beside the models, told by the event "plan". What was killed there, or left
    because `report` raised something, goes on from its last epoch when it is called again with the same training set
    and model; or `keep_unfinished` makes its best epoch a version, which is how to cancel.

    Raises InputError where the cases don't do (see `plan`), ModelError, OutputError; ComputeError if the loss stops
    being a number before an epoch is done (later the best epoch is kept), if memory is short, or if another program is
    at the same training.
    """
    info = read_info(start)
    name = name or info.name
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r} can't be a model's name; use 1 to 64 letters, digits, spaces or . _ + -.")
    training_set = TrainingSet(cases)
    chosen = plan(training_set, info, without_validation)
    if chosen.problem:
        raise InputError(chosen.problem)
    identity = read_identity(start)
    rehearsed = [str(rehearsal.resolve()) if rehearsal else None, rehearsal_share]  # epochs are compared by it
    content = fingerprint((*chosen.training, *chosen.validation))
    key = json.dumps([identity, content, name, without_validation, rehearsed])
    folder = user_models_dir() / f".training-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    check_place(folder / _BEST)
    counts = {"training": len(chosen.training), "validation": len(chosen.validation)}
    report("plan", sentences=list(chosen.sentences), folder=str(folder), **counts)
    with _working_in(folder):
        parent = folder / f"parent{ENDING}"
        if not parent.exists():  # the file may be renamed or deleted meanwhile
            with atomic_output(parent) as temporary:
                shutil.copyfile(start, temporary)
        work = _Work(folder, parent, info, settings, report)
        own = [_StoredCase(training_set, case, info.labels) for case in chosen.training]
        held_out = [_StoredCase(training_set, case, info.labels) for case in chosen.validation]
        record = {
            "parent": identity,
            "training_set": fingerprint(chosen.training),
            "cases": len(chosen.training),
            "patients": len({case.patient for case in chosen.training}),
            "validation_patients": len({case.patient for case in chosen.validation}),
            "settings": asdict(settings) | {"rehearsal_share": rehearsal_share},
        }
        ended = work.train(own, held_out, rehearsal, rehearsal_share, record | {"name": name})
        if not (folder / _BEST).exists():
            raise ComputeError(
                "The loss stopped being a number before the first epoch was done; the starting model is as it was, "
                "train again with a lower learning rate."
            )
        return _publish(folder, ended)


def unfinished() -> list[Path]:
    """Folders of re-trainings that were broken off after at least one epoch and that no program is working in."""
    found = []
    for folder in _work_folders():
        with suppress(ComputeError), _working_in(folder, keep_others=True):
            if (folder / _BEST).exists():
                found.append(folder)
    return found


def _work_folders() -> list[Path]:
    return [path for path in sorted(user_models_dir().glob(".training-*")) if path.is_dir()]


def keep_unfinished(folder: Path) -> Retrained:
    """Make the best epoch of a re-training that was broken off a version, as if it had been cancelled then.

    Needs no Keras. Raises ComputeError if a program is working in it, ModelError, OutputError.
    """
    with _working_in(folder, keep_others=True):
        return _publish(folder, "cancelled")


@dataclass
class _Work:
    """The re-training in its folder."""

    folder: Path
    parent: Path
    info: ModelInfo
    settings: TrainingSettings
    report: Report

    def train(
        self,
        own: Sequence[CaseSource],
        held_out: Sequence[CaseSource],
        rehearsal: Path | None,
        share: float,
        record: dict[str, Any],
    ) -> str:
        """Train; keeps the best epoch as a model file.

        Returns why it ended: "finished", "no gain", or "loss" where that stopped being a number.
        """
        info, settings = self.info, self.settings
        try:
            earlier = self._rehearsal_cases(rehearsal) if share > 0 else ([], [])
            sampler = PatchSampler(
                self._prepared(own, "preparing cases"), info.preprocessing, settings.patch, settings.augmentation,
                settings.seed,
            )  # fmt: skip
            if earlier[0]:
                cases = self._prepared(earlier[0], "preparing rehearsal")
                sampler = _MixedSampler(sampler, replace(sampler, cases=cases, seed=settings.seed + 1), share)
            validation = self._prepared(held_out, "preparing validation cases")
            unseen = self._prepared(earlier[1], "preparing rehearsal")
            scores = _Scores(validation, unseen, info.preprocessing, self.report)
            judged = sampler
            if validation or unseen:
                cases = [*validation, *unseen]
                judged = PatchSampler(cases, info.preprocessing, settings.patch, NONE, settings.seed + 2)
            preset = Preset(info.architecture, info.preprocessing, info.labels)
            trainer = Trainer(preset, self.parent, settings, self.folder)
            known = read_weights(self.parent)[1]
            start_weights = [array for layer in trainer.model.layers if layer.weights for array in known[layer.name]]
            baseline = self._baseline(trainer.model, scores, resumed=bool(trainer.history))
            self.report("baseline", **{key: baseline[key] for key in _MEANS})
            record = record | {"baseline": baseline, "rehearsal_cases": len(earlier[0])}

            def validate(model: keras.Model) -> dict[str, float]:
                return scores.entry(model, start_weights, baseline, len(trainer.history))

            def keep() -> None:
                self._write_history(trainer)
                self._keep(trainer, record, scores.by_case, sampler, judged)

            self._write_history(trainer)
            for entry in trainer.epochs(sampler, validate, self._tell, keep):
                self._write_history(trainer)
                best = trainer.best
                seconds = float(np.mean([e["seconds"] for e in trainer.history]))
                self.report(
                    "epoch",
                    epoch=len(trainer.history),
                    epochs=settings.epochs,
                    loss=entry["loss"],
                    validation_dice=entry.get("validation_dice"),
                    rehearsal_dice=entry.get("rehearsal_dice"),
                    best_dice=best.get("validation_dice"),
                    seconds_left=0.0 if trainer.out_of_patience else seconds * (settings.epochs - len(trainer.history)),
                )
        except DivergedError:
            return "loss"
        return "no gain" if trainer.out_of_patience and len(trainer.history) < settings.epochs else "finished"

    def _rehearsal_cases(self, folder: Path | None) -> tuple[list[CaseSource], list[CaseSource]]:
        """Cases to rehearse and cases to measure what is forgotten; none for models that phantoms don't fit."""
        count, held_out = REHEARSAL_CASES, REHEARSAL_HELD_OUT
        if folder is not None:
            return split_patients(find_cases(folder), held_out / (count + held_out), self.settings.seed)
        if self.info.labels not in (("vertebrae", "sacrum"), ("spine",)):
            return [], []
        from SpineSegLib.engine.synthetic.recipe import render_phantoms

        place = user_models_dir() / ".rehearsal"
        for done, number in enumerate(PHANTOMS):
            stage = "rendering phantoms to rehearse"
            self.report("progress", stage=stage, done=done, of=len(PHANTOMS), seconds_left=None)
            render_phantoms(place, range(number, number + 1), _PHANTOM_SEED)
        cases = {case.name: case for case in find_cases(place)}
        wanted = [cases[f"phantom_{number:04d}"] for number in PHANTOMS]
        return wanted[:count], wanted[count:]

    def _prepared(self, cases: Sequence[CaseSource], stage: str) -> list[PreparedCase]:
        def tell(done: int, of: int) -> None:
            self.report("progress", stage=stage, done=done, of=of, seconds_left=None)

        preprocessing = self.info.preprocessing
        return prepare_all(cases, preprocessing, len(self.info.labels), self.folder / "prepared", tell)

    def _tell(self, progress: Progress) -> None:
        self.report(
            "progress",
            stage=f"epoch {progress.epoch} of {progress.epochs}",
            done=progress.step,
            of=progress.steps,
            loss=progress.loss,
            seconds_left=progress.seconds_left,
        )

    def _baseline(self, model: keras.Model, scores: _Scores, resumed: bool) -> dict[str, Any]:
        """The scores of the starting model: measured before the first epoch, and kept for when it is gone on with."""
        path = self.folder / _BASELINE
        if not resumed:
            measured = scores.measure(model)
            with atomic_output(path) as temporary:
                temporary.write_text(json.dumps(measured), encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))

    def _write_history(self, trainer: Trainer) -> None:
        history = [{key: round(value, 5) for key, value in entry.items()} for entry in trainer.history]
        with atomic_output(self.folder / _HISTORY) as temporary:
            temporary.write_text(json.dumps(history), encoding="utf-8")

    def _keep(
        self, trainer: Trainer, record: dict[str, Any], by_case: dict[str, float], trained: Sampler, judged: Sampler
    ) -> None:
        """Write the epoch that is the best so far as a complete model: whatever happens now, it is there."""
        best, baseline = trainer.best, record["baseline"]
        metrics = {"epochs": float(len(trainer.history)), "validation_patients": float(record["validation_patients"])}
        for key in _MEANS:
            if baseline[key] is not None:
                metrics |= {key: round(best[key], 5), f"parent_{key}": round(baseline[key], 5)}
        weights, threshold = trainer.weights(), self.info.preprocessing.threshold
        peaks, cost = int8_peaks(self.info.architecture, weights, threshold, trained, judged, self.settings.batch)
        metrics |= cost
        before = baseline["by_case"]
        scored = [{"case": c, "dice": by_case[c], "parent_dice": before[c]} for c in sorted(by_case)]
        info = replace(
            self.info,
            name=record["name"],
            version=self.info.version + 1,
            parent=f"{self.info.name} {self.info.version}",
            training_set=record["training_set"],
            metrics=metrics,
            description=f"{self.info.name} {self.info.version}, re-trained on {record['cases']} corrected cases.",
            created=now(),
        )
        save_weights(weights, info, self.folder / _BEST, True, record | {"scores": scored}, peaks)


class _Scores:
    """How good a network is on the validation patients and on rehearsal."""

    def __init__(
        self,
        validation: Sequence[PreparedCase],
        rehearsal: Sequence[PreparedCase],
        preprocessing: Preprocessing,
        report: Report,
    ) -> None:
        self._cases = dict(zip(_MEANS, (validation, rehearsal), strict=True))
        self._preprocessing = preprocessing
        self._report = report
        self.by_case: dict[str, float] = {}  # of the last entry

    def measure(self, model: keras.Model) -> dict[str, Any]:
        """Mean Dice over the patients to validate on and over those of rehearsal, None where there are none, and that
        of each validation case ("by_case")."""
        found = {key: self._by_case(model, key) for key in self._cases}
        means = {key: self._mean_dice(dice, self._cases[key]) for key, dice in found.items()}
        return means | {"by_case": {case: round(dice, 5) for case, dice in found["validation_dice"].items()}}

    def entry(
        self, model: keras.Model, start: Sequence[np.ndarray], baseline: dict[str, Any], epoch: int
    ) -> dict[str, float]:
        """What the history gains: both means as far as there are any, and by which number ("score") epochs compare.

        That is the validation Dice, without patients to validate on the later epoch; one that has forgotten too much
        loses against all others. The model's weights are moved towards `start` and stay there; "share" is how much of
        the way from there is left. Models that are too far apart for that, as untrained ones are, stay as they are.
        """
        learned, whole = model.get_weights(), self.measure(model)
        for share in SHARES:
            mixed = zip(start, learned, strict=True)
            model.set_weights([old + np.float32(share) * (new - old) for old, new in mixed])
            found = self.measure(model)
            if share == SHARES[0] and any(found[key] < whole[key] - APART for key in _MEANS if whole[key] is not None):
                model.set_weights(learned)
                share, found = 1.0, whole
                break
            if not _forgot(found, baseline):
                break
        self.by_case = found["by_case"]
        scores = {key: found[key] for key in _MEANS if found[key] is not None}
        score = scores.get("validation_dice", float(epoch))
        return scores | {"share": share, "score": score - 1e6 if _forgot(found, baseline) else score}

    @staticmethod
    def _mean_dice(dice: dict[str, float], cases: Sequence[PreparedCase]) -> float | None:
        """Mean over patients."""
        patients = {case.patient for case in cases}
        means = [np.mean([dice[case.name] for case in cases if case.patient == each]) for each in patients]
        return float(np.mean(means)) if means else None

    def _by_case(self, model: keras.Model, key: str) -> dict[str, float]:
        cases, dice = self._cases[key], {}
        for done, case in enumerate(cases):
            self._report("progress", stage="measuring", done=done, of=len(cases), seconds_left=None)
            dice[case.name] = self._dice(model, case, SCORED_SLICES // len(cases))
        return dice

    def _dice(self, model: keras.Model, case: PreparedCase, most: int) -> float:
        """Dice of all labels together, pooled over up to `most` slices that are evenly spread."""
        spread = np.linspace(0, len(case.slices) - 1, min(max(most, 4), len(case.slices)))
        hits = total = 0
        for index in case.slices[np.unique(np.round(spread).astype(int))]:
            hu = self._preprocessing.normalise(case.slab(int(index), self._preprocessing.context))
            height, width = hu.shape[1:]
            padding = ((0, 0), (0, -height % _SLICE_MULTIPLE), (0, -width % _SLICE_MULTIPLE))
            batch = np.moveaxis(np.pad(hu, padding, mode="edge"), 0, -1)[None]
            predicted = foreground_probability(model, batch)[0, :height, :width] >= self._preprocessing.threshold
            truth = case.labels[index] > 0
            hits += 2 * np.count_nonzero(predicted & truth)
            total += np.count_nonzero(predicted) + np.count_nonzero(truth)
        return hits / max(total, 1)


@dataclass(frozen=True)
class _MixedSampler:
    """Batches of which about `share` comes from `earlier` and the rest from `own`."""

    own: Sampler
    earlier: Sampler
    share: float

    def batch(self, number: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        earlier = round(self.share * count)
        drawn = [s.batch(number, n) for s, n in ((self.own, count - earlier), (self.earlier, earlier)) if n]
        return tuple(np.concatenate(arrays) for arrays in zip(*drawn, strict=True))


@dataclass(frozen=True)
class _StoredCase:
    """A case of a training set as a `CaseSource` for a model with these labels."""

    training_set: TrainingSet
    info: CaseInfo
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.info.case

    @property
    def patient(self) -> str:
        return self.info.patient

    def state(self) -> str:
        return self.info.digest

    def images(self) -> CaseImages:
        ct, mask = self.training_set.images(self.name)
        values = sitk.GetArrayFromImage(mask)
        table = np.zeros(256, dtype=np.uint8)
        keys = self.training_set.segments if len(self.labels) == 1 else self.labels
        for number, key in enumerate(keys, start=1):
            table[SEGMENTS[key].label] = number
        labels = sitk.GetImageFromArray(table[values])
        labels.CopyInformation(mask)
        return CaseImages(ct, labels, None if self.info.checked is None else self._checked(values))

    def _checked(self, values: np.ndarray) -> np.ndarray:
        """Per slice along the patient's axis whether it was checked."""
        axis = self.info.axial_axis
        return (np.moveaxis(values, axis, 0) != UNCHECKED).all(axis=(1, 2))


@contextmanager
def _working_in(folder: Path, keep_others: bool = False, patience: float | None = None) -> Iterator[None]:
    """Keep other programs from a training's folder; other trainings' folders that nobody works in any more go.

    Raises ComputeError if another program has it for longer than `patience` seconds (`PATIENCE`).
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(folder.name + ".lock"))
    try:
        lock.acquire(timeout=PATIENCE if patience is None else patience)
    except Timeout:
        raise ComputeError("Another program is at this training already; wait until it is done.") from None
    try:
        if not keep_others:
            for other in _work_folders():
                if other != folder:
                    with suppress(ComputeError), _working_in(other, keep_others=True, patience=0):
                        shutil.rmtree(other, ignore_errors=True)
        yield
    finally:
        lock.release()
        if not folder.exists():
            with suppress(OSError):
                folder.with_name(folder.name + ".lock").unlink()


def _publish(folder: Path, ended: str) -> Retrained:
    """The best epoch in `folder` becomes a version in the model folder, current if it beats its parent."""
    info, weights = read_weights(folder / _BEST)
    record = read_training(folder / _BEST)
    if not record:
        raise ComputeError("What the training left can't be read; train again.")
    better = _is_better(info.metrics)
    taken = [model.info.version for model in find_models() if model.info and model.info.name == info.name]
    version = max([info.version - 1, *taken]) + 1
    out = user_models_dir() / f"{info.name}-{version}{ENDING}"
    while out.exists():
        version += 1
        out = user_models_dir() / f"{info.name}-{version}{ENDING}"
    info = replace(info, version=version)
    history = json.loads((folder / _HISTORY).read_text(encoding="utf-8"))
    record |= {"ended": ended, "history": history}
    save_weights(weights, info, out, training=record, peaks=read_peaks(folder / _BEST))
    if better:
        make_current(out.name.removesuffix(ENDING))
    shutil.rmtree(folder, ignore_errors=True)
    return Retrained(out, info, record, better, bool(better), _sentence(info, better, ended))


def _is_better(metrics: dict[str, float]) -> bool | None:
    if "validation_dice" not in metrics:
        return None
    gained = metrics["validation_dice"] >= metrics["parent_validation_dice"] + GAIN
    return gained and not _forgot(metrics, _before(metrics))


def _before(metrics: dict[str, float]) -> dict[str, float]:
    """Its parent's scores, from the metrics of a version."""
    return {key: metrics[f"parent_{key}"] for key in _MEANS if key in metrics}


def _forgot(scores: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether too much of rehearsal was lost."""
    now, then = (each.get("rehearsal_dice") for each in (scores, before))
    return now is not None and now < then - FALL


def _sentence(info: ModelInfo, better: bool | None, ended: str) -> str:
    """What came of it, for people."""
    told = {
        "loss": "The loss stopped being a number, so the best epoch before was kept. ",
        "cancelled": "Cancelled; the best epoch so far was kept. ",
    }.get(ended, "")
    new = f"{info.name} {info.version}"
    if better is None:
        return f"{told}{new} is there, but nobody validated it, so it was not made current; compare it before using it."
    dice, parent = info.metrics["validation_dice"], info.metrics["parent_validation_dice"]
    scores = f"Dice {dice:.3f} instead of {parent:.3f} on the validation patients"
    if better:
        return f"{told}{new} is better than {info.parent} ({scores}) and is the current model now."
    if _forgot(info.metrics, _before(info.metrics)):
        lost = info.metrics["parent_rehearsal_dice"] - info.metrics["rehearsal_dice"]
        return (
            f"{told}{new} has forgotten too much of other scans (Dice -{lost:.3f}) and was not made current ({scores})."
        )
    return f"{told}{new} is not better than {info.parent} by {GAIN} ({scores}), so it was kept but not made current."


def _count(cases: Sequence[CaseInfo]) -> str:
    patients = len({case.patient for case in cases})
    return f"{len(cases)} case{'s' * (len(cases) != 1)} of {patients} patient{'s' * (patients != 1)}"
