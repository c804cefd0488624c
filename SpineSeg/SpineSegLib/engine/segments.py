"""What can be segmented: key, name, label value, colour and SNOMED CT code of each structure.

Codes are those of DICOM PS3.16: CID 7603 "Vertebra", CID 7151 "Segmentation Property Types" (spine, vertebra, sacrum).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Category as 3D Slicer's terminologies have it; DICOM's newer 91723000 has the same meaning but Slicer doesn't list it.
CATEGORY = ("SCT", "123037004", "Anatomical Structure")

# SpineSeg's own list of terms: those that come with Slicer lack the spine and single vertebrae.
TERMINOLOGY = "Segmentation category and type - SpineSeg"

_ANATOMIC_CONTEXT = "Anatomic codes - DICOM master list"


@dataclass(frozen=True)
class Segment:
    """A structure as it appears in results.

    `key` names it in model files, `label` is its value in label maps, `colour` is red, green and blue from 0 to 1,
    `code` and `meaning` are its SNOMED CT concept.
    """

    key: str
    name: str
    label: int
    colour: tuple[float, float, float]
    code: str
    meaning: str

    @property
    def type_code(self) -> tuple[str, str, str]:
        """Coding scheme, code and meaning of the structure, like CATEGORY."""
        return "SCT", self.code, self.meaning

    @property
    def terminology_entry(self) -> str:
        """Terminology as in the tags of 3D Slicer's segments: context, category, type, modifier, anatomic region."""
        category, kind = "^".join(CATEGORY), "^".join(self.type_code)
        return "~".join((TERMINOLOGY, category, kind, "^^", _ANATOMIC_CONTEXT, "^^", "^^"))


SPINE = Segment("spine", "Spine", 1, (0.945, 0.839, 0.569), "421060004", "Spine")
VERTEBRAE = Segment("vertebrae", "Vertebrae", 1, (0.945, 0.839, 0.569), "51282000", "Vertebra")
SACRUM = Segment("sacrum", "Sacrum", 2, (0.910, 0.545, 0.345), "54735007", "Sacrum")

# In VerSe's order and numbering: C1 to C7 are 1 to 7, T1 to T12 are 8 to 19, L1 to L6 are 20 to 25.
# SNOMED CT has no concept for a sixth lumbar vertebra in DICOM's list, so L6 is coded as a vertebra.
_VERTEBRA_CODES = {
    "C1": "14806007", "C2": "39976000", "C3": "113205007", "C4": "5329002", "C5": "36978003", "C6": "36054005",
    "C7": "87391001", "T1": "64864005", "T2": "53733008", "T3": "1626008", "T4": "73071006", "T5": "56401006",
    "T6": "45296009", "T7": "62487009", "T8": "11068009", "T9": "82687006", "T10": "7610001", "T11": "12989004",
    "T12": "23215003", "L1": "66794005", "L2": "14293000", "L3": "36470004", "L4": "11994002", "L5": "49668003",
    "L6": VERTEBRAE.code,
}  # fmt: skip

# Neighbours must be told apart: five hues in turn.
_VERTEBRA_COLOURS = (
    (0.894, 0.420, 0.420),
    (0.941, 0.761, 0.353),
    (0.467, 0.757, 0.447),
    (0.357, 0.647, 0.871),
    (0.706, 0.490, 0.796),
)

SINGLE_VERTEBRAE = tuple(
    Segment(
        key=name,
        name=f"{name} vertebra",
        label=number,
        colour=_VERTEBRA_COLOURS[number % len(_VERTEBRA_COLOURS)],
        code=code,
        meaning=VERTEBRAE.meaning if code == VERTEBRAE.code else f"{name} vertebra",
    )
    for number, (name, code) in enumerate(_VERTEBRA_CODES.items(), start=1)
)

SEGMENTS = {segment.key: segment for segment in (SPINE, VERTEBRAE, SACRUM, *SINGLE_VERTEBRAE)}


def segments_for(keys: Iterable[str]) -> tuple[Segment, ...]:
    """The segments of these keys, in their order. Raises KeyError for an unknown key."""
    return tuple(SEGMENTS[key] for key in keys)
