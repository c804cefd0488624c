"""Where results may go: nothing that exists is ever replaced without being told to."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from SpineSegLib.engine.errors import OutputError


def free_name(folder: Path, stem: str, ending: str) -> Path:
    """`stem` + `ending` in `folder`, or with -2, -3 ... before the ending where such files exist."""
    path, number = folder / (stem + ending), 2
    while os.path.lexists(path):  # also links that lead nowhere
        path, number = folder / f"{stem}-{number}{ending}", number + 1
    return path


def check_new_file(path: Path, inputs: Iterable[Path], overwrite: bool) -> None:
    """Raise OutputError where `path` can't become a file, would replace an input, or exists without `overwrite`."""
    from SpineSegLib.engine.files.writing import check_place

    check_place(path)
    for source in inputs:
        if path.resolve() == source.resolve():
            raise OutputError(f"{path} is an input and can't be the output too; choose another name.")
    if os.path.lexists(path) and not overwrite:
        raise OutputError(f"{path} exists already; choose another name or add --overwrite.")


def check_new_folder(path: Path, known: Collection[str], overwrite: bool) -> None:
    """Raise OutputError where a folder can't be made at `path`, or is there and may not be replaced.

    One that is there may be replaced if it is empty, or if `overwrite` is set and it holds nothing but `known` names.
    """
    try:
        if not path.exists():
            return
        if path.resolve() in (Path.cwd(), *Path.cwd().parents):
            raise OutputError(f"{path} is the folder you are in; give the name of a new folder.")
        content = [entry.name for entry in path.iterdir()] if path.is_dir() else [path.name]
    except OSError as error:
        raise OutputError(f"{path} can't be looked into ({error.strerror}); choose another folder.") from None
    if content and not (overwrite and path.is_dir() and set(content) <= set(known)):
        hint = "" if overwrite or not set(content) <= set(known) else " or add --overwrite"
        raise OutputError(f"{path} exists and isn't empty; choose another folder{hint}.")
