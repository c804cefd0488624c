"""What has to be installed into Slicer before the network can run, and installing it, never without asking."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import sys
from dataclasses import dataclass

import slicer

from SpineSegLib.engine.models.backends import nvidia_gpu
from SpineSegLib.resources import resources_dir


@dataclass(frozen=True)
class Kit:
    """Libraries that belong together: requirements file, what it is for people, and its download in MB."""

    file: str
    title: str
    download_mb: int


OPENVINO = Kit("openvino.txt", "Keras with OpenVINO", 140)
TENSORFLOW = Kit("tensorflow.txt", "Keras with TensorFlow", 380)
TENSORFLOW_CUDA = Kit("tensorflow-cuda.txt", "Keras with TensorFlow for NVIDIA GPUs", 3500)
TORCH = Kit("torch.txt", "Keras with PyTorch for NVIDIA GPUs", 3000)


def kit_for(purpose: str) -> Kit:
    """The kit for a job ("segment" or "train") on this machine.

    TensorFlow has no GPU support on Windows, so torch serves there if Slicer's PyTorch extension, which knows the right
    CUDA build, is installed. OpenVINO can't train.
    """
    if nvidia_gpu() is not None and sys.platform == "linux":
        return TENSORFLOW_CUDA
    if nvidia_gpu() is not None and sys.platform == "win32" and hasattr(slicer.modules, "pytorchutils"):
        return TORCH
    return OPENVINO if purpose == "segment" else TENSORFLOW


def missing(kit: Kit) -> list[str]:
    """Requirements of the kit that are not installed, as pip takes them."""
    lines = (resources_dir() / "Requirements" / kit.file).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not _satisfied(line)]


def missing_to_segment() -> list[str]:
    """What is lacking to segment: nothing if any of the engines is there with all it needs."""
    if any(not missing(kit) for kit in (OPENVINO, TENSORFLOW, TORCH)):
        return []
    return missing(kit_for("segment"))


def ask_to_install(kit: Kit, why: str) -> bool:
    """Install what the kit lacks, if the user agrees. Returns whether it is all there now."""
    lacking = missing(kit)
    if not lacking:
        return True
    question = (
        f"{why} needs {kit.title}, which is not installed in this Slicer yet. About {_size(kit.download_mb)} will be "
        "downloaded. This changes Slicer's Python environment. Install now?"
    )
    if not slicer.util.confirmOkCancelDisplay(question, "SpineSeg", detailedText="\n".join(lacking)):
        return False
    try:
        if kit is TORCH:
            importlib.import_module("PyTorchUtils").PyTorchUtilsLogic().installTorch(askConfirmation=False)
            lacking = missing(kit)
        _install(lacking)
    except (subprocess.CalledProcessError, OSError, RuntimeError) as error:
        slicer.util.errorDisplay(
            f"{kit.title} could not be installed; check the network connection and the free disk space and try again.",
            windowTitle="SpineSeg",
            detailedText=str(error),
        )
        return False
    importlib.invalidate_caches()
    return not missing(kit)


def _install(requirements: list[str]) -> None:
    if not requirements:
        return
    try:
        import slicer.packaging as packaging
    except ImportError:  # Slicer 5.10
        slicer.util.showStatusMessage("Installing what SpineSeg needs; this takes minutes...")
        with slicer.util.WaitCursor():
            slicer.util.pip_install(requirements)
        slicer.util.showStatusMessage("")
    else:
        packaging.pip_install(requirements, requester="SpineSeg")


def _satisfied(requirement: str) -> bool:
    """Whether a line of our requirements files (name[extras]>=version; sys_platform ...) is met."""
    parsed = re.fullmatch(
        r'\s*([\w-]+)(?:\[[\w,-]+\])?>=([\d.]+)(?:\s*;\s*sys_platform\s*(==|!=)\s*"(\w+)")?\s*', requirement
    )
    if parsed is None:
        raise ValueError(f"not a requirement of ours: {requirement!r}")
    name, least, operator, platform = parsed.groups()
    if operator and (sys.platform == platform) != (operator == "=="):
        return True  # not for this platform
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return _numbers(installed) >= _numbers(least)


def _numbers(version: str) -> list[int]:
    return [int(n) for n in re.match(r"[\d.]*", version).group().split(".") if n]


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:g} GB" if megabytes >= 1000 else f"{megabytes} MB"
