"""Segments all cases of a data set with one or more models and compares them with their references."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpineSegLib import __version__
from SpineSegLib.engine.comparison.pair import TOLERANCE_MM, PairComparison, compare_pair
from SpineSegLib.engine.comparison.study import CaseResult
from SpineSegLib.engine.crew import Died, run_jobs, shares
from SpineSegLib.engine.datasets.case import Case
from SpineSegLib.engine.errors import ComputeError, InputError, ModelError, SpineSegError
from SpineSegLib.engine.files.writing import atomic_output
from SpineSegLib.engine.models.backends import activate, choose_backend, nvidia_gpu
from SpineSegLib.engine.models.model_file import read_info

if TYPE_CHECKING:
    from SpineSegLib.engine.models.network import Network

FORMAT = 1  # of stored results; another one is computed anew


@dataclass(frozen=True)
class EvaluationSettings:
    """How to segment and compare. `device`, `backend`: see `backends.choose_backend`; `repair`: see `read_volume`."""

    tolerance_mm: float = TOLERANCE_MM
    repair: bool = False
    device: str = "auto"
    backend: str | None = None


@dataclass(frozen=True)
class EvaluatedModel:
    """A model file, the name it has in results, and the hash of its content."""

    name: str
    path: Path
    digest: str


@dataclass(frozen=True)
class NamedCase:
    """A case and the name it has in results, which is nobody's."""

    name: str
    case: Case


@dataclass(frozen=True)
class _Job:
    case: NamedCase
    models: tuple[EvaluatedModel, ...]
    settings: EvaluationSettings


def named_models(paths: Sequence[Path]) -> tuple[EvaluatedModel, ...]:
    """The models with names that tell them apart, each once. Raises ModelError where one can't be used."""
    found: dict[str, EvaluatedModel] = {}
    for path in paths:
        info = read_info(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found.setdefault(digest, EvaluatedModel(f"{info.name} {info.version}", path, digest))
    names = [model.name for model in found.values()]
    return tuple(
        replace(m, name=f"{m.name} ({m.digest[:6]})") if names.count(m.name) > 1 else m for m in found.values()
    )


def named_cases(cases: Sequence[Case], show_names: bool = False) -> tuple[NamedCase, ...]:
    """The cases with names that differ and are nobody's: private ones get a number unless `show_names`."""
    named, used = [], set()
    for number, case in enumerate(cases, start=1):
        name = f"case {number}" if case.private and not show_names else case.name
        if name in used:
            name = f"{name} ({number})"
        used.add(name)
        named.append(NamedCase(name, case))
    return tuple(named)


def evaluate(
    cases: Sequence[NamedCase],
    models: Sequence[EvaluatedModel],
    settings: EvaluationSettings | None = None,
    store: Path | None = None,
) -> Iterator[list[CaseResult]]:
    """Segment and compare every case with every model; yields the results of a case, one a model, as they come.

    `store`: folder in which results are kept, from which they are taken again where CT, mask, model and settings are
    unchanged. What fails is a result with a `problem`, and is tried again next time. To be called from a program that
    can be started again by multiprocessing, not from inside Slicer.
    Raises ComputeError where this machine can't compute at all, OutputError where the store can't be written.
    """
    settings = settings or EvaluationSettings()
    jobs = []
    for case in cases:
        # before the work: a mask that is corrected meanwhile must not get the result of the old one
        stored = {m.digest: _place(store, case, m, settings) for m in models}
        kept = {m.digest: r for m in models if (r := _load(stored[m.digest], case, m))}
        missing = tuple(model for model in models if model.digest not in kept)
        if not missing or not case.case.files:
            yield [kept.get(m.digest) or CaseResult(case.name, m.name, problem=_NO_REFERENCE) for m in models]
        else:
            jobs.append((_Job(case, missing, settings), kept, stored))
    if not jobs:
        return
    gpu = nvidia_gpu() if choose_backend(settings.device, "segment", settings.backend).device == "gpu" else None
    places = shares(len(jobs), gpu.count if gpu else 0)
    for number, outcome in run_jobs(_work, [job for job, *_ in jobs], places):
        job, kept, stored = jobs[number]
        if isinstance(outcome, Died):
            problem = "Its process ended without a result, probably for lack of memory; try it alone."
            outcome = [CaseResult(job.case.name, model.name, problem=problem) for model in job.models]
        by_model = {model.digest: result for model, result in zip(job.models, outcome, strict=True)}
        for model, result in zip(job.models, outcome, strict=True):
            if result.comparison is not None:
                _keep(stored[model.digest], result)
        yield [by_model.get(model.digest) or kept[model.digest] for model in models]


_NO_REFERENCE = "There is no reference for this CT."


def signature(cases: Sequence[NamedCase], models: Sequence[EvaluatedModel], settings: EvaluationSettings) -> str:
    """Hash of what is evaluated: two evaluations with the same one go on where the other stopped."""
    described = sorted(repr(each.case) for each in cases)  # with its files and what its labels mean
    about = [described, [m.digest for m in models], asdict(settings)]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


# --- in the processes -------------------------------------------------------------------------------------------------


def _work(job: _Job) -> list[CaseResult]:
    """Results of a case, one a model. Raises ComputeError where the machine can't compute, which is no case's fault."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    names = [model.name for model in job.models]
    try:
        volume = job.case.case.read_volume(job.settings.repair)
        reference = job.case.case.read_reference(volume)
        if reference.ignored is not None:
            raise InputError("Nobody has checked all of its mask; finish the mask or leave the case out.")
    except Exception as error:
        return [CaseResult(job.case.name, name, problem=_sentence(error, job.case.case)) for name in names]
    results = []
    for model in job.models:
        try:
            results.append(_evaluated(job, model, volume, reference))
        except Exception as error:
            if isinstance(error, ComputeError | ModelError) and "memory" not in str(error):
                raise
            results.append(CaseResult(job.case.name, model.name, problem=_sentence(error, job.case.case)))
    return results


def _evaluated(job: _Job, model: EvaluatedModel, volume, reference) -> CaseResult:
    from SpineSegLib.engine.comparison.pictures import draw_worst_slices
    from SpineSegLib.engine.segmenter import Segmentation

    began = time.monotonic()
    segmentation = Segmentation(volume, _network(model.path, job.settings.device, job.settings.backend))
    for _ in segmentation:
        pass
    labelmap = segmentation.labelmap()
    seconds = round(time.monotonic() - began, 2)
    structures = {segment.label: segment.key for segment in segmentation.segments}
    pair = compare_pair(labelmap, reference.image, structures, reference.structures, job.settings.tolerance_mm)
    picture = draw_worst_slices(volume.image, labelmap, reference.image, pair)
    notes = (*(note.rstrip(".") for note in volume.notes), *job.case.case.notes, *pair.notes)
    # the difference is as large as the CT and nobody needs it any more
    pair = replace(pair, notes=notes, _difference=None)
    return CaseResult(job.case.name, model.name, pair, seconds=seconds, picture=picture)


@cache
def _network(path: Path, device: str, backend: str | None) -> Network:
    """The model, loaded once a process."""
    activate(choose_backend(device, "segment", backend))
    from SpineSegLib.engine.models.network import Network

    return Network(path, device, backend)


def _sentence(error: Exception, case: Case) -> str:
    """What went wrong with a case, without the text of unknown errors, which may hold paths: reports are passed on."""
    if isinstance(error, SpineSegError):
        return case.without_paths(str(error))
    if isinstance(error, MemoryError):
        return "There is not enough memory for this CT."
    return f"An unexpected {type(error).__name__} came up; segment it alone with --debug to see where."


# --- the store --------------------------------------------------------------------------------------------------------


def _place(store: Path | None, case: NamedCase, model: EvaluatedModel, settings: EvaluationSettings) -> Path | None:
    """Where a result is kept: elsewhere once the CT, its masks, the model, the settings or the program change. None
    without a store, and where the files can't be looked at."""
    if store is None:
        return None
    try:
        about = [FORMAT, __version__, case.case.state(), model.digest, asdict(settings)]
    except OSError:
        return None
    return store / f"{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:24]}.json"


def _keep(place: Path | None, result: CaseResult) -> None:
    if place is None:
        return
    if result.picture is not None:
        with atomic_output(place.with_suffix(".jpg")) as temporary:
            temporary.write_bytes(result.picture)
    values: dict[str, Any] = {"seconds": result.seconds, "comparison": result.comparison.as_dict()}
    with atomic_output(place) as temporary:
        temporary.write_text(json.dumps(values, allow_nan=False), encoding="utf-8")


def _load(place: Path | None, case: NamedCase, model: EvaluatedModel) -> CaseResult | None:
    """A result that was kept; None without one, and for one that can't be read."""
    if place is None:
        return None
    try:
        values = json.loads(place.read_text(encoding="utf-8"))
        pair = PairComparison.from_dict(values["comparison"])
        picture = place.with_suffix(".jpg")
        jpeg = picture.read_bytes() if picture.exists() else None
        return CaseResult(case.name, model.name, pair, seconds=values["seconds"], picture=jpeg)
    except (OSError, ValueError, KeyError, TypeError):
        return None
