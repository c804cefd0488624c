"""Where the files that aren't code are: icons, models, terminologies."""

from __future__ import annotations

from pathlib import Path


def resources_dir() -> Path:
    """The folder Resources: in the package (wheel), beside the module (installed by CMake) or at the top of the source.

    Raises FileNotFoundError if the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for folder in (package, package.parent, package.parent.parent):
        if (folder / "Resources" / "Models").is_dir():
            return folder / "Resources"
    raise FileNotFoundError("SpineSeg's folder Resources is missing; install SpineSeg again.")
