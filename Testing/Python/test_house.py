"""The house's rule: calls go one way, front doors -> scene -> engine."""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "SpineSeg" / "SpineSegLib"
FORBIDDEN = {
    "engine": ("slicer", "qt", "ctk", "vtk", "PySide6", "SpineSegLib.scene", "SpineSegLib.panel", "SpineSegLib.web",
               "SpineSegLib.cli", "SpineSegLib.jobs", "SpineSegLib.worker", "SpineSegLib.worker_client"),
    "jobs": ("slicer", "qt", "ctk", "vtk", "PySide6", "SpineSegLib.scene", "SpineSegLib.panel", "SpineSegLib.web",
             "SpineSegLib.cli", "SpineSegLib.worker", "SpineSegLib.worker_client"),
    "scene": ("qt", "ctk", "PySide6", "SpineSegLib.panel", "SpineSegLib.web", "SpineSegLib.cli"),
}  # fmt: skip


def imported(path: Path) -> set[str]:
    """Full names of the modules a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_layers_import_only_downwards(layer):
    for path in (LIBRARY / layer).rglob("*.py"):
        for name in imported(path):
            for forbidden in FORBIDDEN[layer]:
                assert not f"{name}.".startswith(f"{forbidden}."), f"{path} imports {name}"


def test_importing_the_engine_loads_nothing_heavy(run_python):
    """What Slicer would import at start-up must not pull in a deep learning framework."""
    loaded = run_python(
        "import pkgutil, importlib, sys, SpineSegLib.engine as e\n"
        "for m in pkgutil.iter_modules(e.__path__, 'SpineSegLib.engine.'): importlib.import_module(m.name)\n"
        "print(sorted({'keras', 'tensorflow', 'torch', 'openvino', 'matplotlib', 'highdicom'} & set(sys.modules)))"
    )
    assert loaded.strip() == "[]"
