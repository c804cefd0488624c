"""`slicer.packaging` of Slicer 5.12 (and `slicer.util.pip_install`), which install nothing: tests say what happens.

Which packages are there is the truth of this Python, less those that a test says are missing.
"""
# ruff: noqa: N802 (names are Slicer's)

from __future__ import annotations

import importlib.metadata
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from subprocess import CalledProcessError
from types import ModuleType
from typing import Any

import slicer
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from PySide6 import QtCore

Requirements = str | Requirement | list[str | Requirement]


class Installer:
    """What pip would find and do."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        # Names of packages that shall seem not to be there.
        self.missing: set[str] = set()
        # The arguments of every `pip install`.
        self.installed: list[list[str]] = []
        # Without network every installation fails.
        self.network = True
        # What each installation does besides, as a real one brings files.
        self.then: Callable[[list[str]], None] | None = None
        # Lines that pip prints.
        self.lines = ["Collecting packages", "Successfully installed packages"]
        # Milliseconds that an installation takes where it doesn't block.
        self.milliseconds = 20

    def run(self, arguments: list[str]) -> int:
        """The return code of pip."""
        self.installed.append(arguments)
        if not self.network:
            return 1
        for each in arguments:
            try:
                self.missing.discard(canonicalize_name(Requirement(each).name))
            except InvalidRequirement:
                continue
        if self.then is not None:
            self.then(arguments)
        return 0


PIP = Installer()


def load_requirements(path: str | Path) -> list[Requirement]:
    """The requirements of a file; comments and options of pip are passed over."""
    lines = (each.strip() for each in Path(path).read_text().splitlines())
    return [Requirement(each) for each in lines if each and each[0] not in "#-"]


def load_pyproject_dependencies(path: str | Path) -> list[Requirement]:
    """`project.dependencies` of a pyproject.toml. Raises KeyError where it has no [project]."""
    with Path(path).open("rb") as file:
        project = tomllib.load(file)["project"]
    return [Requirement(each) for each in project.get("dependencies", [])]


def _listed(requirements: Requirements) -> list[Requirement]:
    if isinstance(requirements, Requirement):
        return [requirements]
    if isinstance(requirements, list):
        return [Requirement(each) if isinstance(each, str) else each for each in requirements]
    if isinstance(requirements, str):
        try:
            return [Requirement(requirements)]
        except InvalidRequirement:
            return [Requirement(each) for each in requirements.split()]
    raise TypeError(f"Expected str, Requirement, or list, got {type(requirements).__name__}")


def pip_check(req: Requirements) -> bool:
    """Whether all are installed in a version that suits; those for other machines count as installed."""
    return all(_is_there(each) for each in _listed(req))


def _is_there(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    if canonicalize_name(requirement.name) in PIP.missing:
        return False
    try:
        return importlib.metadata.version(requirement.name) in requirement.specifier
    except importlib.metadata.PackageNotFoundError:
        return False


def pip_ensure(
    requirements: Requirements,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Install what is missing after asking. Raises RuntimeError when declined, CalledProcessError when pip fails."""
    missing = [each for each in _listed(requirements) if not _is_there(each)]
    if not missing or (skip_in_testing and slicer.app.testingEnabled()):
        return None
    if prompt_install:
        title = f"{requester} - Install Python Packages" if requester else "Install Python Packages"
        count = "1 Python package needs" if len(missing) == 1 else f"{len(missing)} Python packages need"
        text = f"{count} to be installed.\n\nThis will modify Slicer's Python environment. Continue?"
        details = "\n".join(f"- {each}" for each in missing)
        if not slicer.util.confirmOkCancelDisplay(text, title, detailedText=details):
            raise RuntimeError("User declined package installation")
    return pip_install(
        [str(each) for each in missing],
        constraints=constraints,
        skip_packages=skip_packages,
        show_progress=show_progress,
        requester=requester,
    )


def pip_install(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    no_deps_requirements: str | list[str] | None = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    parent: Any = None,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> list[str] | None:
    """Install. Where it blocks it raises CalledProcessError on failure (after a message, if it shows progress)."""
    if skip_packages is not None and (no_deps_requirements is not None or not blocking):
        raise ValueError("skip_packages requires blocking=True and excludes no_deps_requirements.")
    if not isinstance(requirements, (str, list)):
        raise ValueError("pip_install requirement input must be string or list")
    arguments = shlex.split(requirements) if isinstance(requirements, str) else list(requirements)
    if constraints is not None:
        arguments += ["-c", str(constraints)]
    if not blocking:
        QtCore.QTimer.singleShot(PIP.milliseconds, lambda: _finish(arguments, logCallback, completedCallback))
        return None
    code = PIP.run(arguments)
    if code:
        if show_progress and not slicer.app.testingEnabled():
            title = f"{requester} - Installation Failed" if requester else "Installation Failed"
            slicer.util.errorDisplay("Package installation failed.", windowTitle=title, detailedText=_log(code))
        raise CalledProcessError(code, "pip install")
    return None if skip_packages is None else list(skip_packages)


def _log(code: int) -> str:
    return "ERROR: Could not find a version that satisfies the requirement" if code else "\n".join(PIP.lines)


def _finish(arguments: list[str], log: Callable[[str], None] | None, completed: Callable[[int], None] | None) -> None:
    code = PIP.run(arguments)
    for line in _log(code).splitlines():
        if log is not None:
            log(line)
    if completed is not None:
        completed(code)


def isPipInstallInProgress() -> bool:
    return False


def _old_pip_install(requirements: str | list[str]) -> None:
    """`slicer.util.pip_install` of Slicer 5.10: it blocks and shows nothing."""
    pip_install(requirements, show_progress=False)


def make_module() -> ModuleType:
    module = ModuleType("slicer.packaging", __doc__)
    public = (
        load_requirements,
        load_pyproject_dependencies,
        pip_check,
        pip_ensure,
        pip_install,
        isPipInstallInProgress,
    )
    for each in public:
        setattr(module, each.__name__, each)
    return module


def adopt(version: str) -> ModuleType | None:
    """Put the installer behind `slicer.util.pip_install`; gives `slicer.packaging` where that Slicer has it."""
    major, minor = (int(each) for each in version.split(".")[:2])
    if (major, minor) < (5, 12):
        slicer.util.pip_install = _old_pip_install
        return None
    slicer.util.pip_install = pip_install
    return make_module()
