"""VerSe in its structure by subject (BIDS): rawdata/sub-x/sub-x_..._ct.nii.gz and derivatives/sub-x/..._msk.nii.gz.

Sekuboyina et al., VerSe: a vertebrae labelling and segmentation benchmark, Med Image Anal 73:102166 (2021).
"""

from __future__ import annotations

from pathlib import Path

from SpineSegLib.engine.datasets.case import Case, LabelmapCase

CT, MASK = "_ct.nii.gz", "_seg-vert_msk.nii.gz"
NOTES = ("the reference holds whole vertebrae only: parts of others at the CT's ends count as false positives",)


def find(folder: Path) -> list[Case]:
    """Cases of the data set or of several parts of it (training, validation, test) side by side; empty if it is none.

    A subject's series belong to one patient. Partly visible vertebrae were not annotated, nor was the sacrum.
    """
    parts = [part for part in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())) if _is_part(part)]
    cases: list[Case] = []
    for part in parts:
        for ct in sorted((part / "rawdata").glob(f"*/*{CT}")):
            subject, stem = ct.parent.name, ct.name.removesuffix(CT)
            mask = part / "derivatives" / subject / (stem + MASK)
            mask = mask if mask.exists() else None
            cases.append(LabelmapCase(stem, subject, ct, partial=True, notes=NOTES, mask=mask, scheme="verse"))
    return cases


def _is_part(folder: Path) -> bool:
    return (folder / "rawdata").is_dir() and (folder / "derivatives").is_dir()
