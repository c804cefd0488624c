"""The long jobs that the worker process runs for every front door.

A kind of job is one module with a function

    run(parameters: dict, report: Report, check: Check) -> dict

that gets what the front door passed to `WorkerProcess.start_job`, `device` and `backend` included, and returns the
job's result; all are plain JSON values (no NaN, no numpy types). It is imported in the worker only, when a job of its
kind comes. What it raises becomes one sentence for people: the text of a SpineSegError, a plain one for all else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class Cancelled(Exception):  # noqa: N818 - it is no error
    """The person has cancelled the job. A job lets it pass, closing what it has open."""


class Report(Protocol):
    """Sends an event with JSON values to the front door, and raises `Cancelled` where the job was cancelled.

    Every kind sends `report("progress", done=..., of=..., seconds_left=... or None)` at least once a second, with
    whatever else the front door can show.
    """

    def __call__(self, event: str, **values: Any) -> None: ...


class Check(Protocol):
    """Raises `Cancelled` where the job was cancelled, else does nothing. To be called several times a second."""

    def __call__(self) -> None: ...


@dataclass(frozen=True)
class Kind:
    """`module`: where `run` is. `purpose`: what the backend is chosen for, "segment" or "train", empty if none is
    needed: such a job takes the process that is there."""

    module: str
    purpose: str


KINDS = {
    "warm": Kind("SpineSegLib.jobs.warm", "segment"),
    "segment": Kind("SpineSegLib.jobs.segment", "segment"),
    "submit": Kind("SpineSegLib.jobs.submit", ""),
    "train": Kind("SpineSegLib.jobs.train", "train"),
    "compare": Kind("SpineSegLib.jobs.compare", ""),
}
