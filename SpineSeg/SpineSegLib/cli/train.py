"""`spineseg train`: weights from CT and masks, from scratch or from an earlier model."""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from SpineSegLib.engine.models.unet import Architecture, Preset
    from SpineSegLib.engine.training.from_folder import Progress, TrainingSettings

EPILOG = """\
A DATASET holds one folder per case with the CT (ct.nii.gz, .nrrd, .mha ..., or a DICOM series in dicom/) and its mask
(mask.nii.gz ..., 1 vertebrae, 2 sacrum) on the same grid. Cases of one patient belong together: a file case.json with
{"patient": "any name"} in each of their folders says so; otherwise every folder is a patient. Part of the patients
are held out for validation, unless --validation names a folder of others.

VerSe, CTSpine1K, TotalSegmentator, nnU-Net and 3D-IRCADb are taken as they come; what can't be used of them is left out
by name. VerSe and CTSpine1K know no sacrum: give them together with TotalSegmentator, or the model will mark none. What
data you train on may oblige you how to license the weights: say it with --licence.

Work in progress lies in <MODEL>.training beside the model. A training that was stopped, by Ctrl-C or by a power cut,
goes on from its last epoch when the same command is given again. The learning curve is drawn there too.

With --cases a training set of corrected cases (see `spineseg cases --help`) makes the next version of a model: part of
its patients validate, earlier kinds of scans are rehearsed, and the version becomes the current model if it is better
than the one it came from. It goes to your model folder. Ctrl-C keeps the best epoch so far; a training that was killed
goes on when the same command is given again.

With --recipe default DATASET is a folder of label maps instead; the scans to train on are rendered from it into
<MODEL>.rendered, of the kinds that the models shipped with SpineSeg were trained on (see their cards). It needs
verse004, verse005, verse_gl003, verse_gl017 and verse010 (.nii.gz: vertebra masks of VerSe, CC BY-SA 4.0),
ts_s0328_117.seg.nrrd, monai_s0327_104.nrrd and ts_s0327_vertebrae.nii.gz (trunks of the TotalSegmentator data set, CC
BY 4.0) and spl_abdomen.nii.gz (SPL Abdominal Atlas).

examples:
  spineseg phantom cases --count 20
  spineseg train cases --out my.weights.h5
  spineseg train corrected --out better.weights.h5 --from default --epochs 10
  spineseg train verse20_training totalsegmentator --out public.weights.h5 --licence "CC BY-SA 4.0"
  spineseg train labelmaps --recipe default --out mine.weights.h5
  spineseg train --cases spine.cases.h5
"""


NUMBERS = ("epochs", "steps", "batch", "patch", "patience", "learning_rate")
RECIPE_LICENCE = "CC BY-SA 4.0"  # as the vertebrae from VerSe oblige
INTERRUPTED = 130  # see the exit codes in `spineseg --help`


def add_parser(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "train",
        parents=[common],
        help="train a model on CT and masks",
        description="Train a model on CT and masks, from scratch or from an earlier model. Needs TensorFlow or torch.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "datasets", metavar="DATASET", type=Path, nargs="*", help="folder of cases to train on, see below"
    )
    parser.add_argument("--out", metavar="MODEL", type=Path, help="file to write, ending in .weights.h5")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--from",
        dest="start",
        metavar="MODEL",
        help="model to go on from (default: from scratch, with --cases current)",
    )
    start.add_argument(
        "--preset",
        choices=("default", "fast", "kim2020"),
        default="default",
        help="network to train from scratch (default: default)",
    )
    parser.add_argument("--recipe", choices=("default",), help="render the training scans from label maps in DATASET")
    parser.add_argument("--validation", metavar="FOLDER", type=Path, help="folder of cases to validate on")
    corrected = parser.add_argument_group("re-training on corrected cases")
    corrected.add_argument("--cases", metavar="FILE", type=Path, help="training set, instead of DATASET and --out")
    corrected.add_argument(
        "--without-validation", action="store_true", help="with too few patients; the version is not made current"
    )
    corrected.add_argument(
        "--rehearsal", metavar="FOLDER", type=Path, help="cases to rehearse (default: phantoms, rendered once)"
    )
    corrected.add_argument("--no-rehearsal", action="store_true", help="train on the corrected cases alone")
    parser.add_argument(
        "--epochs", metavar="N", type=int, help="epochs at most (default: 34, from a model 10, with --cases 12)"
    )
    parser.add_argument("--steps", metavar="N", type=int, help="batches per epoch (default: 200, with --cases 60)")
    parser.add_argument("--batch", metavar="N", type=int, help="patches per batch (default: 16, with --cases 8)")
    parser.add_argument("--patch", metavar="N", type=int, help="pixels of a patch's side (default: 160)")
    parser.add_argument(
        "--learning-rate",
        metavar="X",
        type=float,
        help="highest learning rate (default: 0.002, from a model 0.0003, with --cases 0.001)",
    )
    parser.add_argument(
        "--patience",
        metavar="N",
        type=int,
        help="stop after so many epochs without a gain (default: 12, with --cases 4)",
    )
    parser.add_argument(
        "--seed",
        metavar="S",
        type=int,
        default=0,
        help="seed of the training; the recipe's scans have theirs (default: 0)",
    )
    parser.add_argument("--name", help="name of the model (default: the file's, with --cases that of the model)")
    parser.add_argument(
        "--licence",
        metavar="TEXT",
        default="",
        help=f"licence to store with the weights (default: none, of a recipe {RECIPE_LICENCE})",
    )
    parser.add_argument(
        "--description", metavar="TEXT", default="", help="what the model was trained on, for the model list"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "gpu"), default="auto", help="where to compute (default: auto)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run, error=parser.error)


def run(options: argparse.Namespace) -> int:
    """Run the command with parsed options; see `add_parser`."""
    from SpineSegLib.cli import console
    from SpineSegLib.engine.files.reading import existing
    from SpineSegLib.engine.models.model_file import ENDING, NAME, check_new_model

    if options.cases is not None:
        return _retrain(options)
    if not options.datasets or options.out is None:
        options.error("DATASET and --out are needed, or --cases")
    if options.rehearsal or options.no_rehearsal or options.without_validation:
        options.error("--rehearsal, --no-rehearsal and --without-validation belong to --cases")
    name = options.name or options.out.name.removesuffix(ENDING)
    if not options.out.name.endswith(ENDING):
        options.error(f"--out must end in {ENDING}")
    if not NAME.fullmatch(name):
        options.error("the name must be 1 to 64 letters, digits, spaces or . _ + -; give another --name")
    if options.recipe and (options.validation or len(options.datasets) > 1):
        options.error("--recipe takes one folder of label maps and renders its own validation cases")
    _check_numbers(options)
    start, architecture = _start(options)
    _check_patch(options, architecture)
    for folder in (*options.datasets, options.validation):
        if folder is not None:
            existing(folder)
    check_new_model(options.out)
    settings = settings_of(options)

    from SpineSegLib.engine.models.backends import activate, choose_backend
    from SpineSegLib.engine.training.from_folder import find_and_split, train

    choice = choose_backend(options.device, purpose="train")
    activate(choice)
    show = _Display(silent=options.json or options.quiet)
    began = time.monotonic()
    datasets, validation = options.datasets, options.validation
    if options.recipe:
        from SpineSegLib.engine.synthetic.recipe import render_recipe

        rendered = options.out.with_name(options.out.name.removesuffix(ENDING) + ".rendered")
        training, validation = render_recipe(datasets[0], rendered, progress=show.rendered)
        datasets = [training]
    cases = find_and_split(datasets, validation, settings)  # says what is missing before the backend takes its seconds
    with console.quiet_libraries(options.debug):
        importlib.import_module("keras")  # and with it the backend, which has more to say than anyone asked for
    result = train(
        *cases,
        options.out,
        start,
        settings,
        name,
        licence=licence_of(options),
        description=options.description,
        report=show,
        note=show.note,
    )
    if options.json:
        console.print_json(
            {
                "model": str(result.model),
                "name": result.info.name,
                "version": result.info.version,
                "parent": result.info.parent,
                "backend": choice.backend,
                "epochs": len(result.history),
                "seconds": round(time.monotonic() - began, 1),
                "threshold": result.info.preprocessing.threshold,
                "left_out": result.left_out,
                "metrics": result.info.metrics,
                "history": result.history,
            }
        )
    else:
        scores = result.info.metrics
        console.say(f"{result.model}: version {result.info.version}, validation Dice {scores['validation_dice']:.4f}")
    return 0


def _retrain(options: argparse.Namespace) -> int:
    """Re-train on a training set of corrected cases."""
    from SpineSegLib.cli import console

    own = ("datasets", "out", "recipe", "validation", "licence", "description")
    if any(getattr(options, name) for name in own):
        options.error("--cases takes none of DATASET, --out, --recipe, --validation, --licence and --description")
    if options.rehearsal and options.no_rehearsal:
        options.error("--rehearsal and --no-rehearsal exclude each other")
    _check_numbers(options)
    from dataclasses import replace

    from SpineSegLib.engine.errors import InputError
    from SpineSegLib.engine.models.backends import activate, choose_backend
    from SpineSegLib.engine.models.model_catalogue import resolve_model
    from SpineSegLib.engine.models.model_file import read_info
    from SpineSegLib.engine.training.retraining import (
        REHEARSAL_SHARE,
        SETTINGS,
        keep_unfinished,
        plan,
        retrain,
        unfinished,
    )
    from SpineSegLib.engine.training.training_set import TrainingSet

    start = resolve_model(options.start)
    info = read_info(start)
    _check_patch(options, info.architecture)
    # what can be known is said before the backend is loaded, which takes seconds
    problem = plan(TrainingSet(options.cases), info, options.without_validation).problem
    if problem:
        raise InputError(problem)
    choice = choose_backend(options.device, purpose="train")
    activate(choice)
    told = _Retraining(_Display(silent=options.json or options.quiet))
    with console.quiet_libraries(options.debug):
        importlib.import_module("keras")
    began = time.monotonic()
    code = 0
    try:
        result = retrain(
            options.cases,
            start,
            replace(SETTINGS, **_given(options), seed=options.seed),
            name=options.name,
            without_validation=options.without_validation,
            rehearsal=options.rehearsal,
            rehearsal_share=0.0 if options.no_rehearsal else REHEARSAL_SHARE,
            report=told,
        )
    except (KeyboardInterrupt, Exception) as error:
        stopped = options.stopped.by_user or isinstance(error, KeyboardInterrupt)
        if not stopped or told.folder not in unfinished():
            raise
        result, code = keep_unfinished(told.folder), INTERRUPTED
    if options.json:
        seconds = round(time.monotonic() - began, 1)
        console.print_json(result.as_dict() | {"backend": choice.backend, "seconds": seconds})
    else:
        console.say(f"{result.model}: {result.sentence}")
    return code


def _check_numbers(options: argparse.Namespace) -> None:
    given = _given(options)
    rate = given.pop("learning_rate", None)
    if min(given.values(), default=1) < 1:
        options.error("--epochs, --steps, --batch, --patch and --patience must be at least 1")
    if rate is not None and not 0 < rate < 1:
        options.error("--learning-rate must lie between 0 and 1")


def _check_patch(options: argparse.Namespace, architecture: Architecture) -> None:
    if options.patch is not None and options.patch % architecture.multiple:
        options.error(f"--patch must be a multiple of {architecture.multiple}, as the network's depth asks for")


def _start(options: argparse.Namespace) -> tuple[Preset | Path, Architecture]:
    if options.start:
        from SpineSegLib.engine.models.model_catalogue import resolve_model
        from SpineSegLib.engine.models.model_file import read_info

        path = resolve_model(options.start)
        return path, read_info(path).architecture
    from SpineSegLib.engine.models.unet import PRESETS

    preset = PRESETS[options.preset]
    return preset, preset.architecture


def licence_of(options: argparse.Namespace) -> str:
    """The licence to store with the weights."""
    return options.licence or (RECIPE_LICENCE if options.recipe else "")


def settings_of(options: argparse.Namespace) -> TrainingSettings:
    """How to train as parsed options ask for it, re-training on corrected cases left aside."""
    from dataclasses import replace

    from SpineSegLib.engine.training.augmentation import STRONG
    from SpineSegLib.engine.training.from_folder import TrainingSettings

    settings = TrainingSettings(seed=options.seed, augmentation=STRONG)
    if options.start:
        settings = replace(settings, epochs=10, learning_rate=3e-4)
    return replace(settings, **_given(options))


def _given(options: argparse.Namespace) -> dict[str, int | float]:
    """The numbers that were asked for."""
    return {key: value for key in NUMBERS if (value := getattr(options, key)) is not None}


class _Display:
    """Shows a training on stderr: where each stage begins and ends, and a line every few seconds in between."""

    def __init__(self, silent: bool) -> None:
        self._silent = silent
        self._said = (0.0, "")

    def rendered(self, done: int, count: int) -> None:
        self.tell("rendering scans", f"{done} of {count}", done == count)

    def note(self, sentence: str) -> None:
        from SpineSegLib.cli import console

        if not self._silent:
            console.note(sentence)

    def __call__(self, progress: Progress) -> None:
        if progress.stage != "training":
            self.tell(progress.stage, f"{progress.step} of {progress.steps}", progress.step == progress.steps)
            return
        best = "" if progress.best_dice is None else f", best validation Dice {progress.best_dice:.4f}"
        left = "" if progress.seconds_left is None else f", {_duration(progress.seconds_left)} left"
        state = f"step {progress.step} of {progress.steps}, loss {progress.loss:.4f}{best}{left}"
        self.tell(f"epoch {progress.epoch} of {progress.epochs}", state, progress.step == progress.steps)

    def tell(self, stage: str, state: str, done: bool) -> None:
        from SpineSegLib.cli import console

        at, before = self._said
        now = time.monotonic()
        if not self._silent and (done or stage != before or now - at >= console.PLAIN_EVERY):
            self._said = (now, stage)
            console.note(f"{stage}: {state}")


class _Retraining:
    """Shows a re-training; see `retraining.Report`. `folder`: where its work lies, once that is known."""

    def __init__(self, display: _Display) -> None:
        self.folder: Path | None = None
        self._display = display
        self._to_beat: float | None = None

    def __call__(self, event: str, **values: Any) -> None:
        if event == "plan":
            self.folder = Path(values["folder"])
            for sentence in values["sentences"]:
                self._display.tell("plan", sentence, done=True)
        elif event == "baseline":
            self._to_beat = values["validation_dice"]
        elif event == "epoch":
            scores = [f"loss {values['loss']:.4f}"]
            if self._to_beat is not None:
                scores.append(f"validation Dice {values['validation_dice']:.4f} (to beat {self._to_beat:.4f})")
            if values["rehearsal_dice"] is not None:
                scores.append(f"rehearsal {values['rehearsal_dice']:.4f}")
            scores.append(f"{_duration(values['seconds_left'])} left")
            self._display.tell(f"epoch {values['epoch']} of {values['epochs']} done", ", ".join(scores), done=True)
        else:
            left = "" if values["seconds_left"] is None else f", {_duration(values['seconds_left'])} left"
            state = f"{values['done']} of {values['of']}{left}"
            self._display.tell(values["stage"], state, done=False)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
