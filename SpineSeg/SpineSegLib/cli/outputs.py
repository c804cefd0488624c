"""Where results may go: nothing that exists is ever replaced without being told to."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from SpineSegLib.engine.errors import OutputError


def free_name(folder: Path, stem: str, ending: str) -> Path:
    """`stem` + `ending` in `folder`, or with -2, -3 ... before the ending where such files exist."""
    path, number = folder / (stem + ending), 2
    while path.exists():
        path, number = folder / f"{stem}-{number}{ending}", number + 1
    return path


def check_new_file(path: Path, inputs: Iterable[Path], overwrite: bool) -> None:
    """Raise OutputError where `path` can't become a file, would replace an input, or exists without `overwrite`."""
    for source in inputs:
        if path.resolve() == source.resolve():
            raise OutputError(f"{path} is an input and can't be the output too; choose another name.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name or add --overwrite.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path} can't be written into {folder}; choose another place.")


def check_new_folder(path: Path, known: Collection[str], overwrite: bool) -> None:
    """Raise OutputError where `new_folder` with the same arguments may not write."""
    if not path.exists():
        return
    content = [entry.name for entry in path.iterdir()] if path.is_dir() else [path.name]
    if content and not (overwrite and set(content) <= set(known)):
        hint = "" if overwrite or not set(content) <= set(known) else " or add --overwrite"
        raise OutputError(f"{path} exists and isn't empty; choose another folder{hint}.")


@contextmanager
def new_folder(path: Path, known: Collection[str], overwrite: bool) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends without an error, and else disappears.

    A folder that is there already is replaced if it is empty, or if `overwrite` is set and it holds nothing but `known`
    names. Raises OutputError where it may not be replaced or can't be made.
    """
    temporary = None
    try:
        check_new_folder(path, known, overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except OSError as error:
        raise OutputError(f"{path} can't be written ({error.strerror}); choose another place.") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
