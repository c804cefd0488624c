"""The default model's training images: scans rendered from a folder of label maps of real anatomy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.crew import Died, Share, run_jobs, shares
from SpineSegLib.engine.errors import ComputeError, InputError
from SpineSegLib.engine.files.writing import write_image
from SpineSegLib.engine.synthetic.anatomy import Anatomy
from SpineSegLib.engine.synthetic.cases import View, render_case
from SpineSegLib.engine.synthetic.labelmaps import trunk_anatomy, vertebrae_anatomy, with_vertebrae
from SpineSegLib.engine.synthetic.mixing import VertebraShape, exchange_vertebrae, find_shapes
from SpineSegLib.engine.synthetic.phantom import make_phantom
from SpineSegLib.engine.synthetic.rib_heads import with_rib_heads
from SpineSegLib.engine.synthetic.vertebra import NUMBERS

# Label maps of whole trunks, and for each vertebra-only mask the trunks it is set into.
TRUNKS = {"s0328": "ts_s0328_117.seg.nrrd", "s0327": "monai_s0327_104.nrrd", "spl": "spl_abdomen.nii.gz"}
# A better mask of a trunk's spine than the one it comes with.
BETTER_SPINES = {"s0327": "ts_s0327_vertebrae.nii.gz"}
# Trunks whose ribs end beside the transverse processes.
HEADLESS_RIBS = ("s0328", "s0327")
VERTEBRAE = {
    "verse004": ("s0327", "s0328"),
    "verse005": ("s0327", "s0328"),
    "verse_gl003": ("s0327",),
    "verse_gl017": ("s0327",),
    "verse010": ("spl",),
}
# For validation and testing only: no training image shows these vertebrae. The body they are set into is seen with its
# own ones: three bodies for training instead of two were worth more than a second patient to validate on.
VALIDATION = ("verse010-spl",)
MIXED_CASES, WIDE_CASES, SHORT_CASES, PHANTOMS, HEADS = 212, 25, 60, 26, 9
VALIDATION_CASES, TEST_CASES = 16, 32
EXCHANGED, SCANS_OF_EACH = 60, 3  # anatomies with the vertebrae of others, and scans of each
_FIRST_TEST, _FIRST_WIDE, _FIRST_SHORT, _FIRST_EXCHANGED = 200, 1000, 2000, 3000  # numbers of the cases of a kind
_TEST_SEED = 176  # more than the seed of training
_MEMORY = 3 * 2**30  # bytes that a process with all anatomies takes, rounded up
_FIRST_PHANTOM = 10_000  # seeds of the phantoms; smaller ones stay for testing
_PHANTOM_REGIONS = {
    "spine": ("lumbar", "lumbosacral", "thoracolumbar", "thoracic"),
    "trunk": ("lumbar", "abdomen", "thoracolumbar"),
}


@dataclass(frozen=True)
class _Job:
    """Scans of a kind that are rendered at one go: the scan, or the new patient, with this number."""

    kind: Literal["mixed", "wide", "short", "exchanged", "phantom", "head", "held out"]
    number: int
    out: Path
    seed: int

    @property
    def scans(self) -> range:
        """Their numbers."""
        return _scans_of(self.number) if self.kind == "exchanged" else range(self.number, self.number + 1)

    def done(self) -> bool:
        """Whether all of them are there, which can be told without building an anatomy."""
        kinds = ("phantom", "head")  # which count for themselves
        for number in self.scans:
            there = [p for p in self.out.glob(f"*_{number:04d}") if _complete(p)]
            named = [p.name.partition("_")[0] for p in there]
            if not any(name == self.kind if self.kind in kinds else name not in kinds for name in named):
                return False
        return True


def render_recipe(
    source: Path,
    out: Path,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _count: None,
    places: Sequence[Share] | None = None,
) -> tuple[Path, Path]:
    """Render the recipe's cases from the label maps in `source`; returns the folders of training and validation cases.

    Training shows every anatomy, then the trunks alone in wide fields of view (pelvis, thighs and arms are what is most
    easily taken for spine), short scans of where the ribs end, anatomies whose vertebrae were exchanged for those of
    others, procedural phantoms, and heads, which hold no spine. By the cases of a third folder, "test", nothing is to
    be chosen.
    Cases that exist already are kept, so that a run that was broken off goes on. `progress` gets the number of cases
    done and the total. `places`: see `crew.shares`; None: a process for every core. To be called from a program that
    can be started again by multiprocessing.
    Raises InputError where a file is missing, ComputeError where a process ends without having written its case.
    """
    for file in (*TRUNKS.values(), *BETTER_SPINES.values(), *(f"{mask}.nii.gz" for mask in VERTEBRAE)):
        _existing(source / file)
    training, validation, test = (out / name for name in ("training", "validation", "test"))
    jobs = [
        *(_Job("mixed", number, training, seed) for number in range(MIXED_CASES)),
        *(_Job("wide", _FIRST_WIDE + number, training, seed) for number in range(WIDE_CASES)),
        *(_Job("short", _FIRST_SHORT + number, training, seed) for number in range(SHORT_CASES)),
        *(_Job("exchanged", number, training, seed) for number in range(EXCHANGED)),
        *(_Job("phantom", number, training, seed) for number in range(PHANTOMS)),
        *(_Job("head", number, training, seed) for number in range(HEADS)),
        *(_Job("held out", number, validation, seed + 1) for number in range(VALIDATION_CASES)),
        *(_Job("held out", _FIRST_TEST + number, test, seed + _TEST_SEED) for number in range(TEST_CASES)),
    ]
    total = sum(len(job.scans) for job in jobs)
    jobs = [job for job in jobs if not job.done()]
    done = total - sum(len(job.scans) for job in jobs)
    places = shares(len(jobs), cores_each=1, memory_each=_MEMORY) if places is None else places
    for number, rendered in run_jobs(partial(_render, source, seed), jobs, places):
        if isinstance(rendered, Died):
            raise ComputeError(
                "A process that renders scans ended, probably for lack of memory; close other programs and give the "
                "same command again, which keeps what is rendered."
            )
        done += len(jobs[number].scans)
        progress(done, total)
    return training, validation


def _render(source: Path, seed: int, job: _Job) -> None:
    """Render the scans of a job, in one of the processes. `seed`: of the anatomies."""
    numbers = range(job.number, job.number + 1)
    if job.kind == "phantom":
        render_phantoms(job.out, numbers, job.seed)
    elif job.kind == "head":
        render_heads(job.out, numbers)
    else:
        anatomies = _all_anatomies(source, seed)
        training = [a for a in anatomies if a.name not in VALIDATION]
        trunks = [a for a in training if a.name in TRUNKS]
        if job.kind == "mixed":  # trunks show the real surroundings of their spine, so they come up twice as often
            render_cases(trunks + training, job.out, numbers, job.seed)
        elif job.kind == "wide":
            render_cases(trunks, job.out, numbers, job.seed, "wide")
        elif job.kind == "short":
            with_last_ribs = [a for a in training if (a.vertebrae == NUMBERS["T12"]).any()]
            render_cases(with_last_ribs, job.out, numbers, job.seed, "short")
        elif job.kind == "exchanged":
            render_exchanged(training, _all_shapes(source, seed), job.out, numbers, job.seed)
        else:
            render_cases([a for a in anatomies if a.name in VALIDATION], job.out, numbers, job.seed)


@cache
def _all_anatomies(source: Path, seed: int) -> tuple[Anatomy, ...]:
    """Those of `load_anatomies`, built once a process."""
    return tuple(load_anatomies(source, seed))


@cache
def _all_shapes(source: Path, seed: int) -> list[VertebraShape]:
    """The vertebrae of those to train on."""
    return shapes_of([a for a in _all_anatomies(source, seed) if a.name not in VALIDATION])


def load_anatomies(folder: Path, seed: int = 0) -> Iterator[Anatomy]:
    """Build every anatomy of the recipe from the label maps in `folder`.

    Raises InputError naming the file that is missing.
    """
    trunks = {}
    for index, (name, file) in enumerate(TRUNKS.items()):
        spine = _existing(folder / BETTER_SPINES[name]) if name in BETTER_SPINES else None
        rng = np.random.default_rng([seed, index])
        trunks[name] = replace(trunk_anatomy(_existing(folder / file), rng, spine), name=name)
        yield _completed(trunks[name], name, np.random.default_rng([seed, 200 + index]))
    for index, (mask, bodies) in enumerate(VERTEBRAE.items()):
        for number, body in enumerate(bodies):
            rng = np.random.default_rng([seed, 100 + index, number])
            path = _existing(folder / f"{mask}.nii.gz")
            anatomy = replace(vertebrae_anatomy(path, trunks[body], rng), name=f"{mask}-{body}")
            yield _completed(anatomy, body, np.random.default_rng([seed, 300 + index, number]))


def _completed(anatomy: Anatomy, body: str, rng: np.random.Generator) -> Anatomy:
    """An anatomy set into `body`, with what the body's label map leaves out."""
    return with_rib_heads(anatomy, rng) if body in HEADLESS_RIBS else anatomy


def render_cases(anatomies: Sequence[Anatomy], out: Path, numbers: range, seed: int, view: View | None = None) -> None:
    """Render the cases with these numbers into `out`, each a folder with ct.nrrd, mask.nii.gz and its patient's name.

    A case depends on its number and `seed` alone, whatever was rendered before. `view`: see `render_case`.
    """
    for number in numbers:
        anatomy = anatomies[number % len(anatomies)]
        folder = out / f"{anatomy.name}_{number:04d}"
        if not _complete(folder):
            case = render_case(anatomy, np.random.default_rng([seed, number]), view)
            _write_case(folder, anatomy.name, case.image, case.mask)


def shapes_of(anatomies: Sequence[Anatomy]) -> list[VertebraShape]:
    """The whole vertebrae of these patients, each patient's once."""
    patients = {_owner(anatomy): anatomy for anatomy in anatomies}
    return [shape for name, a in patients.items() for shape in find_shapes(name, a.vertebrae, a.spacing)]


def render_exchanged(
    anatomies: Sequence[Anatomy], shapes: Sequence[VertebraShape], out: Path, numbers: range, seed: int
) -> None:
    """Render `SCANS_OF_EACH` cases of each of these new patients like `render_cases`.

    Each is one of `anatomies` in turn, most of its vertebrae exchanged for others of `shapes`.
    """
    for number in numbers:
        host = anatomies[number % len(anatomies)]
        name = f"{host.name}-exchanged{number:02d}"
        anatomy = host
        if not all(_complete(out / f"{name}_{case:04d}") for case in _scans_of(number)):
            rng = np.random.default_rng([seed, 400, number])
            vertebrae = exchange_vertebrae(_owner(host), host.vertebrae, shapes, host.spacing, rng)
            anatomy = with_vertebrae(host, vertebrae, rng)
        render_cases([replace(anatomy, name=name)], out, _scans_of(number), seed)


def _scans_of(number: int) -> range:
    """Numbers of the cases of a new patient."""
    return range(_FIRST_EXCHANGED + number * SCANS_OF_EACH, _FIRST_EXCHANGED + (number + 1) * SCANS_OF_EACH)


def _owner(anatomy: Anatomy) -> str:
    """Whose vertebrae an anatomy of the recipe has."""
    return anatomy.name.split("-")[0]


def render_phantoms(out: Path, numbers: range, seed: int) -> None:
    """Render procedural phantoms into `out` like `render_cases`; every fourth shows the whole trunk."""
    for number in numbers:
        folder = out / f"phantom_{number:04d}"
        if not _complete(folder):
            view = "trunk" if number % 4 == 0 else "spine"
            region = str(np.random.default_rng([seed, number, 1]).choice(_PHANTOM_REGIONS[view]))
            phantom = make_phantom(_FIRST_PHANTOM + number, view=view, region=region)
            _write_case(folder, folder.name, phantom.image, phantom.mask)


def render_heads(out: Path, numbers: range) -> None:
    """Render procedural heads above the foramen magnum into `out` like `render_cases`."""
    for number in numbers:
        folder = out / f"head_{number:04d}"
        if not _complete(folder):
            head = make_phantom(_FIRST_PHANTOM + number, kind="head")
            _write_case(folder, folder.name, head.image, head.mask)


def _complete(folder: Path) -> bool:
    """Whether a case was written to the end: the mask comes last, and whole."""
    return (folder / "mask.nii.gz").exists()


def _write_case(folder: Path, patient: str, image: sitk.Image, mask: sitk.Image) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    about: dict[str, object] = {"patient": patient}
    if not sitk.GetArrayViewFromImage(mask).any():
        about["spineless"] = True
    (folder / "case.json").write_text(json.dumps(about), encoding="utf-8")
    write_image(image, folder / "ct.nrrd")
    write_image(mask, folder / "mask.nii.gz")


def _existing(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"The recipe needs {path.name}, which is not in {path.parent}; put it there.")
    return path
