"""A package imported later is whole once it is used, and opening the panel uses none of SimpleITK."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LOADED = "print('SimpleITK.SimpleITK' in sys.modules)"


def test_a_package_is_imported_when_it_is_first_used(run_python):
    program = f"""
import sys
from SpineSegLib.late_import import import_later

import_later("SimpleITK")
import SimpleITK as sitk
from importlib.util import find_spec
print(find_spec("SimpleITK").origin == sitk.__file__, hasattr(sitk, "__wrapped__"))
{LOADED}
print(sitk.GetArrayFromImage(sitk.Image((2, 3), sitk.sitkUInt8) + 4).tolist())
{LOADED}
import SimpleITK
from SimpleITK import Image
print(SimpleITK is not sitk and SimpleITK.Image is sitk.Image is Image, SimpleITK.__version__ == sitk.__version__)
import_later("SimpleITK")
print(sys.modules["SimpleITK"] is SimpleITK)
"""
    assert run_python(program).splitlines() == [
        "True False",
        "False",
        "[[4, 4], [4, 4], [4, 4]]",
        "True",
        "True True",
        "True",
    ]


def test_what_is_not_installed_stays_so(run_python):
    program = """
from SpineSegLib.late_import import import_later

import_later("no_such_package")
try:
    import no_such_package
except ImportError as error:
    print(error)
"""
    assert run_python(program).strip() == "No module named 'no_such_package'"


def test_the_panel_opens_without_simpleitk(run_python):
    """It would take half of the time."""
    pytest.importorskip("slicer")
    pytest.importorskip("PySide6")
    program = f"""
import sys

sys.path.insert(0, {str(REPOSITORY / "Testing")!r})
import SlicerShell

shell = SlicerShell.start()
import slicer

module = shell.load_module({str(REPOSITORY / "SpineSeg" / "SpineSeg.py")!r})
slicer.util.selectModule("SpineSeg")
slicer.app.processEvents()
print(module.widgetRepresentation().self().ui.segmentButton.text)
{LOADED}
shell.exit()
"""
    assert run_python(program).splitlines()[-2:] == ["Segment", "False"]
