"""The lists of files in SpineSeg/CMakeLists.txt and pyproject.toml hold every file there is and no other."""

from __future__ import annotations

import re
import tomllib

import pytest
from extension_files import REPOSITORY, module_files, resource_files

LISTS = REPOSITORY / "SpineSeg" / "CMakeLists.txt"


def listed(variable: str) -> list[str]:
    """What `set(variable ...)` holds in the module's CMakeLists.txt."""
    block = re.search(rf"^set\({variable}\n(.*?)\)", LISTS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert block, f"{LISTS} has no list {variable}"
    return block[1].split()


@pytest.mark.parametrize(
    ("variable", "files"), [("MODULE_PYTHON_SCRIPTS", module_files()), ("SPINESEG_RESOURCES", resource_files())]
)
def test_cmake_lists_every_file(variable, files):
    right = "\n".join([f"set({variable}", *(f"  {file}" for file in files), "  )"])
    assert listed(variable) == files, f"in SpineSeg/CMakeLists.txt write\n{right}"


def test_the_library_holds_nothing_but_python():
    """Other files belong to Resources, where they are found in every kind of installation."""
    assert [file for file in module_files() if not file.endswith(".py")] == []


def test_the_wheel_holds_every_package():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    inits = (REPOSITORY / "SpineSeg").glob("SpineSegLib/**/__init__.py")
    packages = {".".join(path.parent.relative_to(REPOSITORY / "SpineSeg").parts) for path in inits}
    assert {name for name in settings["packages"] if not name.startswith("SpineSegLib.Resources")} == packages
