"""A brake for the worker processes of tests: Python runs this file first where its folder is in PYTHONPATH.

While the file $SPINESEG_BRAKE/EVENT holds a number, a job that has reported as many slices or epochs goes no further,
but can be cancelled. So what people see in the middle of a job is there for as long as a test wants to look at it.
"""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path


def _limit(brake: Path) -> float:
    try:
        return int(brake.read_text())
    except FileNotFoundError:
        return math.inf


def _braked(run):
    folder = Path(os.environ["SPINESEG_BRAKE"])

    def braked(parameters, report, check):
        def hold(event, **values):
            report(event, **values)
            reached = values.get("epoch", values.get("done", 0))
            while reached >= _limit(folder / event):
                check()
                time.sleep(0.01)

        return run(parameters, hold, check)

    return braked


if any(argument.endswith("worker.py") for argument in sys.orig_argv):
    from SpineSegLib.jobs import segment, train

    for job in (segment, train):
        job.run = _braked(job.run)
