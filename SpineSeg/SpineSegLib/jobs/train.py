"""The job "train": re-trains a model on a training set of corrected cases."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from SpineSegLib.jobs import Check, Report


def run(parameters: dict[str, Any], report: Report, check: Check) -> dict[str, Any]:
    """`cases`: the training set's file; `start`: model to go on from (name or path); `device`, `backend`; `name`: of
    the new version or None; `settings`: fields of TrainingSettings that shall differ from `retraining.SETTINGS`;
    `without_validation`, `rehearsal`: whether to do without the one, and with the other.

    Events: "plan" (`sentences`; `folder`, where the work lies), "progress" (`stage`, `done`, `of`, `seconds_left`, in
    epochs `loss`), "baseline" (the Dice to beat) and after each epoch "epoch"; see `retraining`. After cancelling,
    `retraining.keep_unfinished(folder)` keeps the best epoch.
    """
    from SpineSegLib.engine.models.backends import activate, choose_backend
    from SpineSegLib.engine.models.model_catalogue import resolve_model
    from SpineSegLib.engine.training.retraining import REHEARSAL_SHARE, SETTINGS, retrain

    began = time.monotonic()
    start = resolve_model(parameters["start"])
    choice = choose_backend(parameters["device"], "train", parameters["backend"])
    activate(choice)
    check()
    result = retrain(
        Path(parameters["cases"]),
        start,
        replace(SETTINGS, **parameters["settings"]),
        name=parameters["name"],
        without_validation=parameters["without_validation"],
        rehearsal_share=REHEARSAL_SHARE if parameters["rehearsal"] else 0.0,
        report=report,
    )
    return result.as_dict() | {
        "backend": choice.backend,
        "device": choice.device,
        "seconds": round(time.monotonic() - began, 1),
    }
