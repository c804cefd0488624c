"""The files the extension consists of, found by looking."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
NOT_IN_SLICER = "SpineSegLib/web/"  # the front door for where Slicer is not


def files_in(folder: Path, under: str = ".") -> list[str]:
    """Paths relative to `folder` of all files in its folder `under`, without hidden and compiled ones."""
    paths = (path.relative_to(folder) for path in (folder / under).rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if not any(part[0] in "._" for part in path.parts[:-1]))


def module_files() -> list[str]:
    library = [path for path in files_in(REPOSITORY / "SpineSeg", "SpineSegLib") if not path.startswith(NOT_IN_SLICER)]
    return ["SpineSeg.py", *library]


def resource_files() -> list[str]:
    return files_in(REPOSITORY / "Resources")
