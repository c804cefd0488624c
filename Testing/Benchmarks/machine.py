"""What the numbers were measured on. Nothing here names the computer or a place on it."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from SpineSegLib import __version__
from SpineSegLib.engine.models.backends import intel_gpu, nvidia_gpu

LIBRARIES = ("keras", "openvino", "tensorflow", "torch", "onnxruntime", "numpy", "SimpleITK")
BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")  # as Linux names them; the last is ARM's


def machine() -> dict[str, str]:
    """Processor, cores, bfloat16, memory, graphics and operating system, as text for people."""
    import openvino

    core = openvino.Core()
    nvidia = nvidia_gpu()
    return {
        "CPU": f"{core.get_property('CPU', 'FULL_DEVICE_NAME').strip()}, {os.cpu_count()} cores",
        "bf16": _bf16(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        "RAM": _memory(),
        "GPU": (nvidia.name if nvidia else intel_gpu()) or "none",
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Versions of SpineSeg, Python and the libraries that compute; those not installed are left out."""
    packages = metadata.packages_distributions()
    found = {name: metadata.version(packages[name][0]) for name in LIBRARIES if name in packages}
    return {"SpineSeg": __version__, "Python": platform.python_version(), **found}


def _bf16(capabilities: list[str]) -> str:
    """Whether the CPU multiplies bfloat16, and where Linux tells, by which instructions: they differ in speed a lot."""
    if "BF16" not in capabilities:
        return "no"
    cpuinfo = Path("/proc/cpuinfo")
    words = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    return ", ".join(name for name in BF16_INSTRUCTIONS if name in words) or "yes"


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):  # Windows has no such call
        return "unknown"
