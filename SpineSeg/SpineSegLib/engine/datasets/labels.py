"""What the numbers in label maps mean: the schemes of public data sets and tools, mapped to our structures.

Structures are the keys of `segments` ("C1" to "L6", "sacrum", "vertebrae" for all of them in one, "spine"), and "T13".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import SimpleITK as sitk

CERVICAL = tuple(f"C{n}" for n in range(1, 8))
THORACIC = tuple(f"T{n}" for n in range(1, 13))
LUMBAR = tuple(f"L{n}" for n in range(1, 6))
SACRAL = tuple(f"S{n}" for n in range(1, 6))
LEVELS = (*CERVICAL, *THORACIC, "T13", *LUMBAR, "L6")


def _numbered(names: tuple[str, ...], first: int) -> dict[int, str]:
    return dict(enumerate(names, start=first))


# TotalSegmentator marks the first sacral vertebra on its own; for us it is part of the sacrum.
SCHEMES: dict[str, dict[int, str]] = {
    "spineseg": {1: "vertebrae", 2: "sacrum"},
    # Sekuboyina et al. 2021; CTSpine1K (Deng et al. 2021) uses the same numbers
    "verse": _numbered((*CERVICAL, *THORACIC, *LUMBAR, "L6"), 1) | {26: "sacrum", 27: "sacrum", 28: "T13"},
    # class map "total" of TotalSegmentator 2, from L5 up to C1
    "totalsegmentator": {25: "sacrum", 26: "sacrum"} | _numbered((*CERVICAL, *THORACIC, *LUMBAR)[::-1], 27),
    "totalsegmentator-v1": _numbered((*CERVICAL, *THORACIC, *LUMBAR)[::-1], 18) | {92: "sacrum"},
    "totalspineseg": _numbered(CERVICAL, 11) | _numbered(THORACIC, 21) | _numbered(LUMBAR, 41) | {50: "sacrum"},
}  # fmt: skip
ANY = "any"  # every label is spine, which structure is not known
UNCHECKED = 255  # in masks to train on: nobody has looked at this voxel

# "L3", "vertebrae_L3", "T12 vertebral body", "Th12", "thoracic vertebra 12", "LWK3" (German), "C1 (Atlas)" ...
_LEVEL = re.compile(
    r"(?:(?:cervical|thoracic|lumbar|sacral)[ _-]+)?(?:vertebrae?[ _-]*)?"
    r"(?P<region>cervical|thoracic|lumbar|sacral|[HBL]WK|Th|[CTLS])(?:[ _-]+vertebrae?)?[ _-]*0?(?P<number>\d{1,2})"
    r"(?:[ _-]*(?:vertebrae?|vertebral body|body))?(?:[ _-]*\(.*\))?",
    re.IGNORECASE,
)
_REGIONS = {
    "cervical": "C", "thoracic": "T", "lumbar": "L", "sacral": "S", "hwk": "C", "bwk": "T", "lwk": "L", "th": "T",
}  # fmt: skip
_WHOLE = {
    "vertebra": "vertebrae", "vertebrae": "vertebrae", "vertebral column": "vertebrae", "spine": "spine",
    "sacrum": "sacrum", "sacrum and coccyx": "sacrum", "coccyx": "sacrum", "atlas": "C1", "axis": "C2",
}  # fmt: skip


def structure_of(name: str) -> str | None:
    """The structure a segment's name means ("vertebrae_L5", "L5 vertebra", "L5", "Sacrum" ...), None if it is none."""
    name = name.strip()
    if key := _WHOLE.get(name.lower()):
        return key
    match = _LEVEL.fullmatch(name)
    if match is None:
        return None
    region = match["region"].lower()
    level = f"{_REGIONS.get(region, region.upper())}{int(match['number'])}"
    return "sacrum" if level in SACRAL else level if level in LEVELS else None


def nearness(name: str) -> int:
    """Which of two overlapping segments is on top, by their names: a vertebra or the sacrum (3) is more than all
    vertebrae (2), these more than the spine (1), and what is no spine (0) hides none of it."""
    key = structure_of(name)
    return 0 if key is None else {"spine": 1, "vertebrae": 2}.get(key, 3)


def structures_of_names(names: Mapping[int, str]) -> dict[int, str] | None:
    """Structures by label of a mask whose segments have names; labels that mean no spine are left out.

    None where no name means anything to us: then every label counts, and which one is what is not known.
    """
    known = {label: key for label, name in names.items() if (key := structure_of(name))}
    return known or None


def notes_on_names(names: Iterable[str]) -> tuple[str, ...]:
    """A note on each segment that marks something and still has the name Slicer gave it, so that it means nothing."""
    return tuple(
        f"nobody named {name}, so it counts as background; if it is spine, name it so"
        for name in names
        if re.fullmatch(r"Segment(_\d+)?", name)
    )


def is_vertebra(key: str) -> bool:
    """Whether a structure is a vertebra, or all of them."""
    return key == "vertebrae" or key in LEVELS


def labels_in(array: np.ndarray) -> frozenset[int]:
    """Labels above 0 in an array (k, j, i) of uint8 or uint16, plane by plane: `np.unique` sorts all it gets."""
    found = np.zeros(2**16, dtype=bool)
    for plane in array:
        found[plane.ravel()] = True
    found[0] = False
    return frozenset(np.flatnonzero(found).tolist())


def training_label(key: str) -> int:
    """The label that the default model learns for a structure: 1 vertebrae, 2 sacrum."""
    return 2 if key == "sacrum" else 1


def to_training_labels(
    mask: sitk.Image, structures: Mapping[int, str] | None, ignored: int | None = None
) -> sitk.Image:
    """A mask (uint8 or uint16) as uint8 with 1 for vertebrae and 2 for the sacrum, everything else 0.

    `structures`: by label, as in SCHEMES; None: a single label becomes 1, and where there are several the mask stays as
    it is, since one of them may be the sacrum. `ignored`: label of what nobody has checked, which becomes UNCHECKED.
    """
    table = np.zeros(2**16, dtype=np.uint8)
    if structures is None:
        if len(labels_in(sitk.GetArrayViewFromImage(mask)) - {ignored}) > 1:
            return mask
        table[1:] = 1
    else:
        for label, key in structures.items():
            table[label] = training_label(key)
    if ignored is not None:
        table[ignored] = UNCHECKED
    result = sitk.GetImageFromArray(table[sitk.GetArrayViewFromImage(mask)])
    result.CopyInformation(mask)
    return result
