"""The default model's training images: scans rendered from a folder of label maps of real anatomy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.writing import write_image
from SpineSegLib.engine.synthetic.anatomy import Anatomy
from SpineSegLib.engine.synthetic.cases import View, render_case
from SpineSegLib.engine.synthetic.labelmaps import trunk_anatomy, vertebrae_anatomy, with_vertebrae
from SpineSegLib.engine.synthetic.mixing import exchange_vertebrae, find_shapes
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
_FIRST_PHANTOM = 10_000  # seeds of the phantoms; smaller ones stay for testing
_PHANTOM_REGIONS = {
    "spine": ("lumbar", "lumbosacral", "thoracolumbar", "thoracic"),
    "trunk": ("lumbar", "abdomen", "thoracolumbar"),
}


def render_recipe(
    source: Path, out: Path, seed: int = 1, progress: Callable[[int, int], None] = lambda _done, _count: None
) -> tuple[Path, Path]:
    """Render the recipe's cases from the label maps in `source`; returns the folders of training and validation cases.

    Training shows every anatomy, then the trunks alone in wide fields of view (pelvis, thighs and arms are what is most
    easily taken for spine), short scans of where the ribs end, anatomies whose vertebrae were exchanged for those of
    others, procedural phantoms, and heads, which hold no spine. By the cases of a third folder, "test", nothing is to
    be chosen.
    Cases that exist already are kept, so that a run that was broken off goes on. Raises InputError where a file is
    missing. `progress` gets the number of cases done and the total.
    """
    anatomies = list(load_anatomies(source, seed))
    validation = [a for a in anatomies if a.name in VALIDATION]
    training = [a for a in anatomies if a.name not in VALIDATION]
    trunks = [a for a in training if a.name in TRUNKS]
    total = MIXED_CASES + WIDE_CASES + SHORT_CASES + EXCHANGED * SCANS_OF_EACH + PHANTOMS + HEADS
    total += VALIDATION_CASES + TEST_CASES
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    folders = out / "training", out / "validation"
    # Trunks show the real surroundings of their spine, so they come up twice as often.
    render_cases(trunks + training, folders[0], range(MIXED_CASES), seed, progress=one_more)
    render_cases(trunks, folders[0], range(_FIRST_WIDE, _FIRST_WIDE + WIDE_CASES), seed, "wide", one_more)
    with_last_ribs = [a for a in training if (a.vertebrae == NUMBERS["T12"]).any()]
    short = range(_FIRST_SHORT, _FIRST_SHORT + SHORT_CASES)
    render_cases(with_last_ribs, folders[0], short, seed, "short", one_more)
    render_exchanged(training, folders[0], range(EXCHANGED), seed, progress=one_more)
    render_phantoms(folders[0], range(PHANTOMS), seed, progress=one_more)
    render_heads(folders[0], range(HEADS), progress=one_more)
    render_cases(validation, folders[1], range(VALIDATION_CASES), seed + 1, progress=one_more)
    test = range(_FIRST_TEST, _FIRST_TEST + TEST_CASES)
    render_cases(validation, out / "test", test, seed + _TEST_SEED, progress=one_more)
    return folders


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


def render_cases(
    anatomies: list[Anatomy],
    out: Path,
    numbers: range,
    seed: int,
    view: View | None = None,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Render the cases with these numbers into `out`, each a folder with ct.nrrd, mask.nii.gz and its patient's name.

    A case depends on its number and `seed` alone, whatever was rendered before. `view`: see `render_case`; `progress`
    is called after each case.
    """
    for number in numbers:
        anatomy = anatomies[number % len(anatomies)]
        folder = out / f"{anatomy.name}_{number:04d}"
        if not _complete(folder):
            case = render_case(anatomy, np.random.default_rng([seed, number]), view)
            _write_case(folder, anatomy.name, case.image, case.mask)
        progress()


def render_exchanged(
    anatomies: list[Anatomy], out: Path, numbers: range, seed: int, progress: Callable[[], None] = lambda: None
) -> None:
    """Render `SCANS_OF_EACH` cases of each of these new patients like `render_cases`.

    Each is one of `anatomies` in turn, most of its vertebrae exchanged for those of the others.
    """
    patients = {_owner(anatomy): anatomy for anatomy in anatomies}
    shapes = [s for name, a in patients.items() for s in find_shapes(name, a.vertebrae, a.spacing)]
    for number in numbers:
        cases = range(_FIRST_EXCHANGED + number * SCANS_OF_EACH, _FIRST_EXCHANGED + (number + 1) * SCANS_OF_EACH)
        host = anatomies[number % len(anatomies)]
        name = f"{host.name}-exchanged{number:02d}"
        anatomy = host
        if not all(_complete(out / f"{name}_{case:04d}") for case in cases):
            rng = np.random.default_rng([seed, 400, number])
            vertebrae = exchange_vertebrae(_owner(host), host.vertebrae, shapes, host.spacing, rng)
            anatomy = with_vertebrae(host, vertebrae, rng)
        render_cases([replace(anatomy, name=name)], out, cases, seed, progress=progress)


def _owner(anatomy: Anatomy) -> str:
    """Whose vertebrae an anatomy of the recipe has."""
    return anatomy.name.split("-")[0]


def render_phantoms(out: Path, numbers: range, seed: int, progress: Callable[[], None] = lambda: None) -> None:
    """Render procedural phantoms into `out` like `render_cases`; every fourth shows the whole trunk."""
    for number in numbers:
        folder = out / f"phantom_{number:04d}"
        if not _complete(folder):
            view = "trunk" if number % 4 == 0 else "spine"
            region = str(np.random.default_rng([seed, number, 1]).choice(_PHANTOM_REGIONS[view]))
            phantom = make_phantom(_FIRST_PHANTOM + number, view=view, region=region)
            _write_case(folder, folder.name, phantom.image, phantom.mask)
        progress()


def render_heads(out: Path, numbers: range, progress: Callable[[], None] = lambda: None) -> None:
    """Render procedural heads above the foramen magnum into `out` like `render_cases`."""
    for number in numbers:
        folder = out / f"head_{number:04d}"
        if not _complete(folder):
            head = make_phantom(_FIRST_PHANTOM + number, kind="head")
            _write_case(folder, folder.name, head.image, head.mask)
        progress()


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
