"""What tests of all folders share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parents[1]
# Tests import the helpers that lie beside them by their plain names.
sys.path += [str(folder) for folder in sorted({file.parent for file in TESTS.glob("*/**/*.py")})]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real CT volumes (`cases/`) and label maps (`labelmaps/`) with README; not part of the repository."""
    folder = Path(os.environ.get("SPINESEG_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "cases").is_dir():
        pytest.skip(f"no real data in {folder}; set SPINESEG_DATA to the folder that holds cases/ and labelmaps/")
    return folder


@pytest.fixture(scope="session")
def run_python() -> Callable[[str], str]:
    """Run a program in a fresh interpreter that finds SpineSegLib; gives what it printed, fails if it fails."""

    def run(program: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "SpineSeg")}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
