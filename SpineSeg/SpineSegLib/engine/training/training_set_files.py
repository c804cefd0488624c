"""The training set and the files around it: cases come in from CT and mask files, and go out for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.comparison.grids import on_grid_of
from SpineSegLib.engine.datasets.case import Case, LabelmapCase
from SpineSegLib.engine.datasets.labels import UNCHECKED
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.files.reading import read_volume
from SpineSegLib.engine.files.writing import atomic_folder, write_image
from SpineSegLib.engine.segments import SEGMENTS
from SpineSegLib.engine.training.training_data import training_mask
from SpineSegLib.engine.training.training_set import (
    VALIDATION,
    CaseInfo,
    Submission,
    TrainingSet,
)
from SpineSegLib.engine.volume import Volume


def submission_of_files(
    ct: Path,
    mask: Path,
    segments: tuple[str, ...],
    patient: str | None = None,
    series: str | None = None,
    repair: bool = False,
    scheme: str | None = None,
) -> Submission:
    """A case from a CT (`series`, `repair`: see `read_volume`) and its mask in any form `read_labelmap` knows.

    `scheme`: what the mask's labels mean, see `find_dataset`. `patient`: None takes the PatientID of a DICOM CT, else
    the voxels tell. Raises InputError.
    """
    volume = read_volume(ct, series, repair)
    return _submission(LabelmapCase("", "", ct, mask=mask, scheme=scheme), volume, segments, patient)


def submission_of_case(case: Case, segments: tuple[str, ...]) -> Submission:
    """A case of a data set. Where only whole vertebrae were annotated, the slices at their ends are not checked, nor
    are those that hold nnU-Net's ignore label.

    Raises InputError where it can't be read or has no reference.
    """
    patient = None if case.guessed else case.patient
    submission = _submission(case, case.read_volume(), segments, patient)
    return submission if submission.patient else replace(submission, patient=case.patient)


class Exported(NamedTuple):
    """How many `cases` were written, and how many checked slices without a checked neighbour were left out."""

    cases: int
    single_slices: int = 0


def export_nifti(training_set: TrainingSet, folder: Path) -> Exported:
    """Write a folder per case with ct.nii.gz, mask.nii.gz and case.json, as `spineseg train` reads them.

    Of partly checked cases each run of neighbouring checked slices becomes one, but for single slices, which are no CT.
    Raises InputError, OutputError; the folder appears only when it is complete.
    """
    count = single = 0
    with atomic_folder(folder) as temporary:
        for case in training_set.cases():
            ct, mask = training_set.images(case.case)
            runs = _runs(case)
            for number, run in enumerate(runs, start=1):
                part = mask[run]
                if part.GetSize()[2 - case.axial_axis] == 1:
                    single += 1
                    continue
                place = temporary / (case.case if len(runs) == 1 else f"{case.case}_{number}")
                place.mkdir()
                write_image(ct[run], place / "ct.nii.gz")
                write_image(part, place / "mask.nii.gz")
                about: dict[str, object] = {"patient": case.patient}
                if not sitk.GetArrayViewFromImage(part).any():
                    about["spineless"] = True
                (place / "case.json").write_text(json.dumps(about), encoding="utf-8")
                count += 1
        if single and not count:
            raise InputError(
                "All checked slices are single ones, which are no CT; export for nnU-Net or check their neighbours."
            )
    return Exported(count, single)


def export_nnunet(training_set: TrainingSet, folder: Path) -> Exported:
    """Write a data set as nnU-Net 2 reads it: imagesTr, labelsTr, dataset.json, and splits_final.json with our split.

    Slices that nobody has checked get nnU-Net's ignore label. Raises InputError, OutputError; the folder appears only
    when it is complete.
    """
    cases = training_set.cases()
    labels = {"background": 0} | {key: n for n, key in enumerate(training_set.segments, start=1)}
    ignore = len(labels)
    table = np.zeros(256, dtype=np.uint8)
    for key in training_set.segments:
        table[SEGMENTS[key].label] = labels[key]
    table[UNCHECKED] = ignore
    if any(case.checked is not None for case in cases):
        labels["ignore"] = ignore
    with atomic_folder(folder) as temporary:
        for kind in ("imagesTr", "labelsTr"):
            (temporary / kind).mkdir()
        for case in cases:
            ct, mask = training_set.images(case.case)
            consecutive = sitk.GetImageFromArray(table[sitk.GetArrayViewFromImage(mask)])
            consecutive.CopyInformation(mask)
            write_image(ct, temporary / "imagesTr" / f"{case.case}_0000.nii.gz")
            write_image(consecutive, temporary / "labelsTr" / f"{case.case}.nii.gz")
        about = {
            "channel_names": {"0": "CT"},
            "labels": labels,
            "numTraining": len(cases),
            "file_ending": ".nii.gz",
        }
        held_out = [case.case for case in cases if case.side == VALIDATION]
        split = {"train": [case.case for case in cases if case.side != VALIDATION], "val": held_out}
        for name, content in (("dataset.json", about), ("splits_final.json", [split])):
            (temporary / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
    return Exported(len(cases))


def _submission(case: Case, volume: Volume, segments: tuple[str, ...], patient: str | None) -> Submission:
    if segments == ("vertebrae", "sacrum") or len(segments) == 1:
        mask, right = training_mask(case, volume)
        if len(segments) == 1:
            mask = sitk.Cast(mask > 0, sitk.sitkUInt8)
    else:
        mask, _ = on_grid_of(volume.image, case.read_reference(volume).image)
        right = None
    checked = None if right is None else tuple(np.flatnonzero(right).tolist())
    known = _dicom_identity(volume)
    return Submission(volume.image, mask, segments, patient=patient or known[0], scan=known[1], checked=checked)


def _dicom_identity(volume: Volume) -> tuple[str | None, str | None]:
    """PatientID and SeriesInstanceUID of a CT read from DICOM, as far as it has them."""
    if not volume.dicom_files:
        return None, None
    from SpineSegLib.engine.files.dicom_frames import read_header

    header = read_header(volume.dicom_files[0], ("PatientID", "SeriesInstanceUID"))
    if header is None:
        raise InputError("The DICOM series was changed while it was read; try again.")
    return tuple(str(header.get(tag) or "") or None for tag in ("PatientID", "SeriesInstanceUID"))


def _runs(case: CaseInfo) -> list[tuple[slice, slice, slice]]:
    """The checked parts of a case, as slices of its images in i, j, k order."""
    if case.checked is None:
        return [(slice(None),) * 3]
    checked = np.array(case.checked)
    runs = []
    for run in np.split(checked, np.flatnonzero(np.diff(checked) > 1) + 1):
        part = [slice(None)] * 3
        part[2 - case.axial_axis] = slice(int(run[0]), int(run[-1]) + 1)
        runs.append(tuple(part))
    return runs


def submissions(cases: tuple[Case, ...], segments: tuple[str, ...]) -> Iterator[tuple[Case, Submission | InputError]]:
    """Each case that has a reference, read, or why it can't be: one bad case stops no import."""
    for case in cases:
        if case.files:
            try:
                yield case, submission_of_case(case, segments)
            except InputError as error:
                yield case, error
