"""The default model's training images: scans rendered from a folder of label maps of real anatomy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.synthetic.anatomy import Anatomy
from SpineSegLib.engine.synthetic.cases import render_case
from SpineSegLib.engine.synthetic.labelmaps import trunk_anatomy, vertebrae_anatomy

# Label maps of whole trunks, and for each vertebra-only mask the trunks it is set into.
TRUNKS = {"s0328": "ts_s0328_117.seg.nrrd", "s0327": "monai_s0327_104.nrrd", "spl": "spl_abdomen.nii.gz"}
VERTEBRAE = {
    "verse004": ("s0327", "s0328"),
    "verse005": ("s0327", "s0328"),
    "verse_gl003": ("s0327",),
    "verse_gl017": ("s0327",),
    "verse010": ("spl",),
}
# Anatomies that are only ever used for validation: no training image shows any part of them.
VALIDATION = ("spl", "verse010-spl")
TRAINING_CASES, VALIDATION_CASES = 367, 16


def render_recipe(
    source: Path, out: Path, seed: int = 1, progress: Callable[[int, int], None] = lambda _done, _count: None
) -> tuple[Path, Path]:
    """Render the recipe's training and validation cases from the label maps in `source`; returns their two folders.

    Cases that exist already are kept, so that a run that was broken off goes on. Raises InputError where a file is
    missing. `progress` gets the number of cases done and the total.
    """
    anatomies = list(load_anatomies(source, seed))
    validation = [a for a in anatomies if a.name in VALIDATION]
    training = [a for a in anatomies if a.name not in VALIDATION]
    # Trunks show the real surroundings of their spine, so they come up twice as often.
    training = [a for a in training if a.name in TRUNKS] + training
    total = TRAINING_CASES + VALIDATION_CASES
    folders = out / "training", out / "validation"
    render_cases(training, folders[0], TRAINING_CASES, seed, lambda done: progress(done, total))
    render_cases(
        validation, folders[1], VALIDATION_CASES, seed + 1, lambda done: progress(TRAINING_CASES + done, total)
    )
    return folders


def load_anatomies(folder: Path, seed: int = 0) -> Iterator[Anatomy]:
    """Build every anatomy of the recipe from the label maps in `folder`.

    Raises InputError naming the file that is missing.
    """
    trunks = {}
    for index, (name, file) in enumerate(TRUNKS.items()):
        trunks[name] = _named(trunk_anatomy(_existing(folder / file), np.random.default_rng([seed, index])), name)
        yield trunks[name]
    for index, (mask, bodies) in enumerate(VERTEBRAE.items()):
        for number, body in enumerate(bodies):
            rng = np.random.default_rng([seed, 100 + index, number])
            path = _existing(folder / f"{mask}.nii.gz")
            yield _named(vertebrae_anatomy(path, trunks[body], rng), f"{mask}-{body}")


def render_cases(
    anatomies: list[Anatomy], out: Path, count: int, seed: int, progress: Callable[[int], None] = lambda _: None
) -> None:
    """Render `count` cases into `out`, each a folder with ct.nrrd, mask.nii.gz and the name of its patient.

    A case depends on its number and `seed` alone, whatever was rendered before. `progress` gets the number done.
    """
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        anatomy = anatomies[number % len(anatomies)]
        folder = out / f"{anatomy.name}_{number:04d}"
        if not (folder / "mask.nii.gz").exists():
            case = render_case(anatomy, rng)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "case.json").write_text(json.dumps({"patient": anatomy.name}))
            sitk.WriteImage(case.image, str(folder / "ct.nrrd"))
            sitk.WriteImage(case.mask, str(folder / "mask.nii.gz"), useCompression=True)
        progress(number + 1)


def _named(anatomy: Anatomy, name: str) -> Anatomy:
    return Anatomy(name, anatomy.tissue, anatomy.vertebrae, anatomy.spine_depth, anatomy.bone_depth, anatomy.spacing)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"The recipe needs {path.name}, which is not in {path.parent}; put it there.")
    return path
