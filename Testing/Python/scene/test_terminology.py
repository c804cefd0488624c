"""SpineSeg's list of terms: the codes of DICOM, the same as in the engine, found by Slicer's own logic."""

from __future__ import annotations

import json

import pytest
import slicer
import vtk
from pydicom.sr.codedict import codes
from SpineSegLib.engine.segments import CATEGORY, SEGMENTS, TERMINOLOGY
from SpineSegLib.resources import resources_dir
from SpineSegLib.scene.terminology import FILE_NAME, load_terminology, type_code_of


def terms() -> dict[str, dict]:
    """The types in the file by their codes."""
    content = json.loads((resources_dir() / "Terminologies" / FILE_NAME).read_text(encoding="utf-8"))
    assert content["SegmentationCategoryTypeContextName"] == TERMINOLOGY
    (category,) = content["SegmentationCodes"]["Category"]
    assert (category["CodingSchemeDesignator"], category["CodeValue"], category["CodeMeaning"]) == CATEGORY
    found = {term["CodeValue"]: term for term in category["Type"]}
    assert len(found) == len(category["Type"])
    assert {term["CodingSchemeDesignator"] for term in category["Type"]} == {"SCT"}
    return found


def test_every_segment_of_the_engine_has_its_term():
    found = terms()
    assert {segment.code for segment in SEGMENTS.values()} | {codes.SCT.Coccyx.value} == set(found)
    for key, segment in SEGMENTS.items():
        term = found[segment.code]
        assert term["CodeMeaning"] == segment.meaning
        if key != "L6":  # has the code of any vertebra, which has its own colour
            assert term["recommendedDisplayRGBValue"] == [round(255 * value) for value in segment.colour]


def test_codes_are_those_of_dicom():
    names = {codes.SCT.Spine.value: "Spine", codes.SCT.Vertebra.value: "Vertebra", codes.SCT.Sacrum.value: "Sacrum"}
    names[codes.SCT.Coccyx.value] = "Coccyx"
    for region, count in (("C", 7), ("T", 12), ("L", 5)):
        for number in range(1, count + 1):
            names[getattr(codes.SCT, f"{region}{number}Vertebra").value] = f"{region}{number} vertebra"
    assert {code: term["CodeMeaning"] for code, term in terms().items()} == names


def test_slicer_loads_it_once_and_finds_every_segment(scene):
    logic = slicer.modules.terminologies.logic()
    load_terminology()
    load_terminology()
    loaded = vtk.vtkStringArray()
    logic.GetLoadedTerminologyNames(loaded)
    assert [loaded.GetValue(n) for n in range(loaded.GetNumberOfValues())].count(TERMINOLOGY) == 1
    for segment in SEGMENTS.values():
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(segment.terminology_entry, entry)
        assert logic.UpdateEntryFromLoadedTerminologies(entry, [], [])
        assert entry.GetTerminologyContextName() == TERMINOLOGY
        # a colour stands in the file only
        assert max(entry.GetTypeObject().GetRecommendedDisplayRGBValue()) > 127
        assert entry.GetTypeObject().GetCodeMeaning() == segment.meaning


@pytest.mark.parametrize("entry", ["", "nonsense", "a~b~c~d", "context~SCT^1^x"])
def test_a_segment_without_a_usable_meaning(entry):
    segment = slicer.vtkSegment()
    segment.SetTag("TerminologyEntry", entry)
    assert type_code_of(segment) == ("", "", "")


def test_the_meaning_of_a_segment():
    segment = slicer.vtkSegment()
    segment.SetTag("TerminologyEntry", SEGMENTS["T12"].terminology_entry)
    assert type_code_of(segment) == SEGMENTS["T12"].type_code
