"""What segments mean: SpineSeg's list of terms in Slicer, and the meaning of a segment."""

from __future__ import annotations

import slicer
import vtk

from SpineSegLib.engine.segments import TERMINOLOGY
from SpineSegLib.resources import resources_dir

FILE_NAME = "SegmentationCategoryTypeModifier-SpineSeg.term.json"


def load_terminology() -> None:
    """Add SpineSeg's terms to those that Slicer offers for segments; nothing happens where they are there."""
    logic = slicer.modules.terminologies.logic()
    loaded = vtk.vtkStringArray()
    logic.GetLoadedTerminologyNames(loaded)
    if TERMINOLOGY not in [loaded.GetValue(n) for n in range(loaded.GetNumberOfValues())]:
        logic.LoadTerminologyFromFile(str(resources_dir() / "Terminologies" / FILE_NAME))


def type_code_of(segment: slicer.vtkSegment) -> tuple[str, str, str]:
    """Coding scheme, code and meaning of what a segment is; empty where it doesn't say."""
    value = vtk.mutable("")
    segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), value)
    # context ~ category ~ type ~ ..., of which category and type are scheme ^ code ^ meaning
    parts = str(value).split("~")
    code = parts[2].split("^") if len(parts) > 2 else []
    return tuple(code) if len(code) == 3 else ("", "", "")
