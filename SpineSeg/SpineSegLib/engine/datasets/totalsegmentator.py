"""TotalSegmentator's data set: one folder a case with ct.nii.gz and segmentations/<structure>.nii.gz.

Wasserthal et al., TotalSegmentator: robust segmentation of 104 anatomic structures in CT images, Radiology: Artificial
Intelligence 5(5) (2023).
"""

from __future__ import annotations

from pathlib import Path

from SpineSegLib.engine.datasets import plain
from SpineSegLib.engine.datasets.case import Case, MaskFilesCase
from SpineSegLib.engine.datasets.labels import CERVICAL, LUMBAR, THORACIC, structure_of

ENDING = ".nii.gz"
EVERY = {*CERVICAL, *THORACIC, *LUMBAR, "sacrum"}


def find(folder: Path) -> list[Case]:
    """Cases of the data set, or the one whose folder it is; empty if it is none.

    Where a mask lies beside a CT, that is the reference, and `segmentations` what the program TotalSegmentator made.
    """
    places = [p for p in (folder, *sorted(folder.iterdir())) if (p / "segmentations").is_dir()]
    if any(plain.mask_of(place) for place in places):
        return []
    cases: list[Case] = []
    for place in places:
        ct = place / f"ct{ENDING}"
        if ct.exists():
            masks = [
                (key, path)
                for path in sorted((place / "segmentations").glob(f"*{ENDING}"))
                if (key := structure_of(path.name.removesuffix(ENDING))) not in (None, "spine")
            ]
            complete = {key for key, _ in masks} >= EVERY
            cases.append(MaskFilesCase(place.name, place.name, ct, complete=complete, masks=tuple(masks)))
    return cases
