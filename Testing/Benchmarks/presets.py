"""What a preset's network learns from random weights in so many core-minutes: `python -m Testing.Benchmarks.presets`.

The number of batches is chosen by what a batch costs, so that networks of any size get the same budget of CPU time.
Score the models with `spineseg evaluate FOLDER --model A --model B --labels spineseg`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from SpineSegLib.cli.console import quiet_libraries
from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.engine.models.backends import activate, choose_backend
from SpineSegLib.engine.models.unet import PRESETS, Preset
from SpineSegLib.engine.training.augmentation import STRONG
from SpineSegLib.engine.training.from_folder import find_and_split, train
from SpineSegLib.engine.training.trainer import Progress, Trainer, TrainingSettings
from SpineSegLib.engine.training.training_data import PatchSampler, TrainingCase, prepare_all

EPOCHS = 8
WARM, TIMED = 2, 3  # batches that aren't counted, as they compile, and those that are
SHARE = 0.95  # of the budget that batches may take; the rest is for validation


def batches_within(
    seconds: float, preset: Preset, cases: Sequence[TrainingCase], settings: TrainingSettings
) -> tuple[int, float]:
    """How many batches fit into `seconds` of CPU time of all cores, and those that one of them takes."""
    settings = replace(settings, epochs=1, steps=WARM + TIMED)
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare_all(cases, preset.preprocessing, len(preset.labels), Path(folder))
        sampler = PatchSampler(prepared, preset.preprocessing, settings.patch, settings.augmentation, settings.seed)
        work = Trainer(preset, None, settings, Path(folder))
        for _ in work.epochs(sampler, lambda _: {"validation_dice": 0.0}, lambda _: times.append(time.process_time())):
            pass
        del prepared, sampler  # Windows removes no file that is still mapped
    each = (times[-1] - times[WARM - 1]) / TIMED
    return max(EPOCHS, int(SHARE * seconds / each)), each


def main() -> int:
    """Train, and print what it took."""
    parser = argparse.ArgumentParser(prog="python -m Testing.Benchmarks.presets", description=__doc__)
    parser.add_argument("training", metavar="TRAINING", type=Path, help="folder of cases to train on")
    parser.add_argument("validation", metavar="VALIDATION", type=Path, help="folder of cases to validate on")
    parser.add_argument("out", metavar="MODEL", type=Path, help="file to write, ending in .weights.h5")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="default")
    parser.add_argument("--minutes", type=float, default=60, help="of one core, for all batches (default: 60)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    options = parser.parse_args()
    preset = PRESETS[options.preset]
    settings = TrainingSettings(
        epochs=EPOCHS,
        batch=options.batch,
        patch=options.patch,
        learning_rate=options.learning_rate,
        average=0.98,
        validation_batches=8,
        augmentation=STRONG,
    )
    activate(choose_backend("cpu", purpose="train"))

    def tell(progress: Progress) -> None:
        if progress.stage == "training" and progress.step == progress.steps:
            print(f"epoch {progress.epoch}: loss {progress.loss:.4f}", file=sys.stderr)

    try:
        training, validation = find_and_split([options.training], options.validation, settings)
        with quiet_libraries(debug=False):
            count, each = batches_within(60 * options.minutes, preset, training[:4], settings)
        settings = replace(settings, steps=count // EPOCHS, warm_up=count // 10)
        before, began = time.process_time(), time.monotonic()
        result = train(training, validation, options.out, preset, settings, options.preset, report=tell)
    except SpineSegError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    spent = {
        "preset": options.preset,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "batches": EPOCHS * settings.steps,
        "CPU seconds a batch": round(each, 2),
        "core-minutes in all": round((time.process_time() - before) / 60, 1),
        "minutes in all": round((time.monotonic() - began) / 60, 1),
        "metrics": result.info.metrics,
        "history": result.history,
    }
    print(json.dumps(spent, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
