"""Recognises which kind of data set a folder is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from SpineSegLib.engine.datasets import ctspine1k, ircadb, nnunet, plain, totalsegmentator, verse
from SpineSegLib.engine.datasets.case import Case, LabelmapCase
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.reading import existing

# the particular before the general: a plain folder is what is left
READERS = {
    "VerSe": verse.find,
    "nnU-Net": nnunet.find,
    "3D-IRCADb": ircadb.find,
    "TotalSegmentator": totalsegmentator.find,
    "CTSpine1K": ctspine1k.find,
    "plain folder": plain.find,
}


@dataclass(frozen=True)
class Dataset:
    """The cases of a folder and the `kind` of data set it was recognised as. Cases without a reference are among them;
    their `files` are empty."""

    kind: str
    cases: tuple[Case, ...]


def find_dataset(folder: str | Path, scheme: str | None = None, patterns: tuple[str, str] | None = None) -> Dataset:
    """The cases in a folder.

    `scheme`: what the labels of label maps mean, of `labels.SCHEMES`, or `labels.ANY`; None: as the data set has them.
    `patterns`: of CT and mask, see `plain.find_by_pattern`; None: the layout is recognised.
    Raises InputError where there is no case with a reference.
    """
    folder = existing(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; give the folder of the data set.")
    try:
        if patterns is not None:
            return Dataset("plain folder", _with_scheme(plain.find_by_pattern(folder, *patterns), scheme))
        for kind, find in READERS.items():
            cases = find(folder)
            if any(case.files for case in cases):
                return Dataset(kind, _with_scheme(cases, scheme))
    except OSError as error:
        raise InputError(f"{folder} can't be looked through ({error.strerror}); check its permissions.") from None
    raise InputError(
        f"{folder} holds no CT with a mask; give a folder of cases with ct.nii.gz and mask.nii.gz each, pairs such as "
        "x_ct.nii.gz and x_mask.nii.gz, or VerSe, CTSpine1K, TotalSegmentator, nnU-Net or 3D-IRCADb as they come."
    )


def _with_scheme(cases: list[Case], scheme: str | None) -> tuple[Case, ...]:
    if scheme is None:
        return tuple(cases)
    return tuple(replace(c, scheme=scheme, labels=None) if isinstance(c, LabelmapCase) else c for c in cases)
