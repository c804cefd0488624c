"""The extension is configured, built and installed as for Slicer, against a stand-in for Slicer's CMake package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from extension_files import REPOSITORY, module_files, resource_files

PACKAGING = REPOSITORY / "Testing" / "Packaging"
MODULES = Path("lib", "Slicer-5.12", "qt-scripted-modules")


def tool(name: str) -> str:
    """Path of a program of CMake, first beside the running Python."""
    path = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if path is None:
        pytest.skip(f"no {name}; install the packages cmake and ninja to test the extension's build")
    return path


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def configure(source: Path, build: Path) -> str:
    return run(
        tool("cmake"), "-S", source, "-B", build, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}",
        f"-DSlicer_DIR={PACKAGING / 'Slicer'}", f"-DCMAKE_TOOLCHAIN_FILE={PACKAGING / 'no_compiler.cmake'}",
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The build tree."""
    build = tmp_path_factory.mktemp("extension") / "build"
    configure(REPOSITORY, build)
    run(tool("cmake"), "--build", build)
    return build


@pytest.fixture(scope="module")
def installed(built) -> Path:
    """The install tree."""
    run(tool("cmake"), "--install", built, "--prefix", built.parent / "installed")
    return built.parent / "installed"


def files_under(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_all_files_and_nothing_else_are_in_both_trees(built, installed):
    expected = {*module_files(), *(f"Resources/{file}" for file in resource_files())}
    assert files_under(built / MODULES) == expected
    assert files_under(installed) == {
        "share/Slicer-5.12/SpineSeg.s4ext",
        *(f"{MODULES.as_posix()}/{f}" for f in expected),
    }


def test_resources_arrive_unchanged(installed):
    for file in resource_files():
        assert (installed / MODULES / "Resources" / file).read_bytes() == (REPOSITORY / "Resources" / file).read_bytes()


def test_the_description_names_category_and_icon(installed):
    lines = (installed / "share" / "Slicer-5.12" / "SpineSeg.s4ext").read_text(encoding="utf-8").splitlines()
    description = dict(line.split(" ", 1) for line in lines)
    assert description["category"] == "Segmentation"
    assert description["iconurl"].endswith("/SpineSegExtension/SpineSeg.png")


def test_everything_without_qt_imports_from_the_installed_tree(installed):
    """Nothing may depend on files that are only in the source tree, and the default model is found."""
    program = (
        "import importlib, pkgutil, SpineSegLib\n"
        "def skipped(name): raise ImportError(name)\n"
        "for module in pkgutil.walk_packages(SpineSegLib.__path__, 'SpineSegLib.', onerror=skipped):\n"
        "    if not module.name.startswith('SpineSegLib.panel') and not module.name.endswith('__main__'):\n"
        "        print(importlib.import_module(module.name).__file__)\n"
        "from SpineSegLib.engine.models.model_catalogue import find_models\n"
        "print(*[model.path for model in find_models()], sep='\\n')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed / MODULES), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=installed, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    paths = {Path(line).relative_to(installed / MODULES).as_posix() for line in done.stdout.splitlines()}
    assert "Resources/Models/default.weights.h5" in paths
    assert paths >= {f for f in module_files() if f.startswith("SpineSegLib/engine/")}


RUN_IN_SHELL = """
import sys, unittest
import SlicerShell
shell = SlicerShell.start()
module = shell.load_module(sys.argv[1])
import slicer
slicer.util.selectModule("SpineSeg")
from SpineSegLib.panel.selftest import PanelTest
result = unittest.TextTestRunner().run(PanelTest("test_segment"))
assert result.wasSuccessful()
assert not shell.take_errors()
assert not module.icon.isNull()
shell.exit()
print(*[m.__file__ for name, m in sys.modules.items() if name.startswith("SpineSegLib")], sep="\\n")
"""


@pytest.mark.skipif(find_spec("slicer") is None or find_spec("PySide6") is None, reason="needs slicer-core and PySide6")
def test_the_module_segments_from_the_installed_tree(installed):
    """In a process of its own, since this one may have imported the sources."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "Testing"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN_IN_SHELL, installed / MODULES / "SpineSeg.py"],
        cwd=installed, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = done.stdout.splitlines()
    assert len(files) > 20
    assert all(Path(file).is_relative_to(installed / MODULES) for file in files)


def test_the_modules_tests_are_registered(built):
    tests = json.loads(run(tool("ctest"), "--test-dir", built, "--show-only=json-v1"))["tests"]
    assert {test["name"] for test in tests} == {"py_SpineSeg", "py_nomainwindow_qSlicerSpineSegModuleGenericTest"}


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        ("SCRIPTS Tiny.py Gone.py", "nonexistent file Gone.py"),
        ("SCRIPTS Tiny RESOURCES Gone.png", "nonexistent file Gone.png"),
        ("SCRIPTS Tiny RESOURCES ../CMakeLists.txt", "not within"),
        ("RESOURCES Tiny.py", "SCRIPTS is mandatory"),
        ("FILES Tiny.py SCRIPTS Tiny", "unknown keywords"),
    ],
)
def test_the_stand_in_is_as_strict_as_slicer(tmp_path, module, complaint):
    (tmp_path / "Tiny.py").touch()
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(Tiny)\n"
        "find_package(Slicer REQUIRED)\ninclude(${Slicer_USE_FILE})\n"
        f"slicerMacroBuildScriptedModule(NAME Tiny {module})\n",
        encoding="utf-8",
    )
    with pytest.raises(AssertionError, match=complaint):
        configure(tmp_path, tmp_path / "build")
