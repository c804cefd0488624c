"""The job "submit": stores a corrected case in a training set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.exchange import read_exchanged_volume
from SpineSegLib.engine.training.training_set import Submission, TrainingSet
from SpineSegLib.jobs import Check, Report

CORRECTED = "corrected.npy"


def run(parameters: dict[str, Any], report: Report, check: Check) -> dict[str, Any]:
    """`file`: the training set; `create`: name of a new one where the file isn't there, or None; `project`: identity it
    must have, or None; `folder`: the exchange folder, holding the mask beside the CT as `corrected.npy` (uint8, k, j,
    i, values as in `Segment.label`); `segments`, `patient`, `scan`, `checked`, `model`: see Submission.

    The result names the `case`, its `side`, whether it `replaced` one, and how many `cases` and `patients` there are.
    """
    folder = Path(parameters["folder"])
    volume = read_exchanged_volume(folder)
    try:
        mask = np.load(folder / CORRECTED, allow_pickle=False)
    except (OSError, ValueError):
        raise InputError("The mask was not passed on completely; try again.") from None
    if mask.shape != volume.grid.shape:
        raise InputError("The mask lies on another grid than its CT; resample it to the CT first.")
    report("progress", done=0, of=1, seconds_left=None)
    path = Path(parameters["file"])
    if not path.exists() and parameters["create"]:
        target = TrainingSet.create(path, parameters["create"], parameters["segments"])
    else:
        target = TrainingSet(path, parameters["project"])
    submission = Submission(
        volume.image,
        volume.grid.image(mask.astype(np.uint8)),
        tuple(parameters["segments"]),
        patient=parameters["patient"],
        scan=parameters["scan"],
        checked=None if parameters["checked"] is None else tuple(parameters["checked"]),
        model=parameters["model"],
    )
    check()
    case, replaced = target.add(submission)
    cases = target.cases()
    return {
        "case": case.case,
        "side": case.side,
        "replaced": replaced,
        "identity": target.identity,
        "cases": len(cases),
        "patients": len({each.patient for each in cases}),
    }
