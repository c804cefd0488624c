"""CTSpine1K: volumes/<source>/x.nii.gz and labels/<source>/x_seg.nii.gz (or data and label).

Deng et al., CTSpine1K: a large-scale dataset for spinal vertebrae segmentation in computed tomography,
arXiv:2105.14711 (2021). Labels are numbered as in VerSe.
"""

from __future__ import annotations

import re
from pathlib import Path

from SpineSegLib.engine.datasets.case import Case, LabelmapCase

FOLDERS = (("volumes", "labels"), ("data", "label"))
MASK = "_seg.nii.gz"


def find(folder: Path) -> list[Case]:
    """Cases of the data set; empty if it is none."""
    for root in (folder, folder / "rawdata", folder / "raw_data"):
        for volumes, labels in FOLDERS:
            if (root / volumes).is_dir() and next((root / labels).rglob(f"*{MASK}"), None) is not None:
                return [_case(ct, root / volumes, root / labels) for ct in sorted((root / volumes).rglob("*.nii.gz"))]
    return []


def _case(ct: Path, volumes: Path, labels: Path) -> Case:
    name = ct.name.removesuffix(".nii.gz")
    mask = labels / ct.parent.relative_to(volumes) / (name + MASK)
    # the head and neck scans of one patient, before, during and after therapy, differ in what follows the number
    patient = match[1] if (match := re.match(r"(HN[_-]?P?\d+)", name)) else name
    # the sacrum was not annotated
    return LabelmapCase(name, patient, ct, partial=True, mask=mask if mask.exists() else None, scheme="verse")
