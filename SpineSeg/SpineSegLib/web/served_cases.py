"""The cases in the folder that a server offers to everybody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from SpineSegLib.engine.files.dicom_frames import read_header
from SpineSegLib.engine.files.reading import volume_ending

MAX_CASES = 500
DEPTH = 3


def find_cases(data: Path) -> Iterator[tuple[str, Path]]:
    """Volume files and DICOM folders in a folder, by their names; links that lead out of it are left out."""
    data = data.resolve()
    found = 0
    for folder, folders, files in os.walk(data):
        place = Path(folder)
        folders.sort()
        if len(place.relative_to(data).parts) >= DEPTH:
            folders.clear()
        dicom = False
        for name in sorted(files):
            path = place / name
            if found >= MAX_CASES:
                return
            if not path.resolve().is_relative_to(data):
                continue
            if volume_ending(path):
                yield str(path.relative_to(data)), path
            elif dicom or read_header(path) is None:
                continue
            else:
                dicom = True
                yield str(place.relative_to(data)), place
            found += 1
