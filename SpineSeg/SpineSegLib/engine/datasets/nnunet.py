"""nnU-Net's raw format: imagesTr/x_0000.nii.gz, labelsTr/x.nii.gz and dataset.json, which names the labels.

Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation, Nature Methods
18:203-211 (2021).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from SpineSegLib.engine.datasets.case import Case, LabelmapCase, json_object
from SpineSegLib.engine.datasets.labels import structures_of_names
from SpineSegLib.engine.errors import InputError

FOLDERS = (("imagesTr", "labelsTr"), ("imagesTs", "labelsTs"))
CHANNEL = "_0000"


def find(folder: Path) -> list[Case]:
    """Cases of the data set, its test cases only where they have labels; empty if it is none.

    Raises InputError where dataset.json is damaged or names several channels: a CT has one.
    """
    if not all((folder / name).is_dir() for name in FOLDERS[0]):
        return []
    about = json_object(folder / "dataset.json", "it must be the JSON file that nnU-Net asks for")
    channels = about.get("channel_names", about.get("modality", {}))
    if len(channels) > 1:
        raise InputError(f"{folder / 'dataset.json'} names {len(channels)} channels, and a CT has one.")
    ending = str(about.get("file_ending", ".nii.gz"))
    names = _names(about.get("labels", {}))
    labels = structures_of_names(names)
    # a label that training and evaluation leave out, see nnU-Net's documentation of partly annotated data
    ignored = next((label for label, name in names.items() if name.lower() == "ignore"), None)
    cases: list[Case] = []
    for images, masks in FOLDERS:
        if not (folder / masks).is_dir():
            continue
        for ct in sorted((folder / images).glob(f"*{CHANNEL}{ending}")):
            name = ct.name.removesuffix(CHANNEL + ending)
            mask = folder / masks / (name + ending)
            mask = mask if mask.exists() else None
            cases.append(LabelmapCase(name, name, ct, mask=mask, labels=labels, ignored=ignored))
    return cases


def _names(named: dict[str, Any]) -> dict[int, str]:
    """Names by label; version 1 of the format has number: name, version 2 name: number (or a list: a region)."""
    names = {}
    for key, value in named.items():
        if isinstance(value, int):
            names[value] = key
        elif isinstance(value, str) and key.isdigit():
            names[int(key)] = value
    return names
