"""The table of structures, against the codes DICOM itself lists."""

from __future__ import annotations

import itertools

import pytest
from pydicom.sr.codedict import codes
from SpineSegLib.engine.segments import SACRUM, SEGMENTS, SINGLE_VERTEBRAE, SPINE, VERTEBRAE, segments_for


def test_codes_are_those_of_dicom():
    assert (SPINE.code, VERTEBRAE.code, SACRUM.code) == (
        codes.SCT.Spine.value,
        codes.SCT.Vertebra.value,
        codes.SCT.Sacrum.value,
    )
    for segment in SINGLE_VERTEBRAE:
        if segment.key != "L6":
            assert segment.type_code[1:] == getattr(codes.SCT, f"{segment.key}Vertebra")[:3:2]
    assert SEGMENTS["L6"].code == VERTEBRAE.code


def test_numbers_are_those_of_verse():
    numbers = {segment.key: segment.label for segment in SINGLE_VERTEBRAE}
    assert len(numbers) == 25
    assert list(numbers.values()) == list(range(1, 26))
    assert (numbers["C1"], numbers["C7"], numbers["T1"], numbers["T12"]) == (1, 7, 8, 19)
    assert (numbers["L1"], numbers["L5"], numbers["L6"]) == (20, 24, 25)


def test_names_and_colours():
    assert len({segment.name for segment in SEGMENTS.values()}) == len(SEGMENTS)
    assert all(0 <= value <= 1 for segment in SEGMENTS.values() for value in segment.colour)
    assert VERTEBRAE.colour != SACRUM.colour
    assert all(a.colour != b.colour for a, b in itertools.pairwise(SINGLE_VERTEBRAE))


def test_segments_of_a_model():
    assert segments_for(("vertebrae", "sacrum")) == (VERTEBRAE, SACRUM)
    assert [segment.label for segment in segments_for(["vertebrae", "sacrum"])] == [1, 2]
    with pytest.raises(KeyError):
        segments_for(["rib"])


def test_terminology_as_slicer_stores_it():
    assert SINGLE_VERTEBRAE[0].terminology_entry == (
        "Segmentation category and type - SpineSeg~SCT^123037004^Anatomical Structure~SCT^14806007^C1 vertebra"
        "~^^~Anatomic codes - DICOM master list~^^~^^"
    )
