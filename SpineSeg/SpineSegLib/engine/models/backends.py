"""Which Keras backend runs a job on this machine, found out without importing any of them.

Keras' backend is fixed once per process, so it is chosen and activated here before Keras is first imported.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from SpineSegLib.engine.errors import ComputeError

DEVICES = ("auto", "cpu", "gpu")
# In order of preference. Segmenting on a CPU with bfloat16, OpenVINO was measured 2 to 15 times faster than the others.
FOR_PURPOSE = {
    "segment": {"cpu": ("openvino", "tensorflow", "torch"), "gpu": ("tensorflow", "torch", "openvino")},
    "train": {"cpu": ("tensorflow", "torch"), "gpu": ("tensorflow", "torch")},
}
BACKENDS = ("openvino", "tensorflow", "torch")


@dataclass(frozen=True)
class Choice:
    """A backend, the device it shall use ("cpu" or "gpu") and a sentence for people that says why."""

    backend: str
    device: str
    reason: str


@dataclass(frozen=True)
class Gpu:
    """A graphics card: its name, its memory in bytes, and how many cards there are."""

    name: str
    memory: int
    count: int = 1


def installed_backends() -> tuple[str, ...]:
    """Backends of Keras that are installed here, of those SpineSeg supports."""
    return tuple(name for name in BACKENDS if importlib.util.find_spec(name) is not None)


def cpu_has(*features: str) -> bool | None:
    """Whether the CPU has any of these features, by Linux' names for them; None where the system doesn't tell."""
    about = Path("/proc/cpuinfo")
    if not about.exists():
        return None
    return not set(features).isdisjoint(about.read_text().split())


@cache
def nvidia_gpu() -> Gpu | None:
    """The first NVIDIA GPU that the driver offers to this process, asked from the driver itself; None without one."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count, device, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
        name = ctypes.create_string_buffer(256)
        if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
            return None
        if cuda.cuDeviceGet(ctypes.byref(device), 0) or cuda.cuDeviceGetName(name, 256, device):
            return None
        cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    except (OSError, AttributeError):
        return None
    return Gpu(name.value.decode(errors="replace"), memory.value, count.value)


@cache
def intel_gpu() -> str | None:
    """Name of the Intel GPU that OpenVINO can use, None without one. Imports OpenVINO where there may be one."""
    if "openvino" not in installed_backends() or not _offers_gpus():
        return None
    _forbid_telemetry()
    import openvino

    try:
        core = openvino.Core()
        return core.get_property("GPU", "FULL_DEVICE_NAME") if "GPU" in core.available_devices else None
    except RuntimeError:
        return None


def _offers_gpus() -> bool:
    """Whether the system has a GPU for OpenVINO at all: on Linux it would be a device, on macOS it can use none."""
    if sys.platform == "linux":
        return any(Path("/dev").glob("dri/renderD*")) or Path("/dev/dxg").exists()  # the latter under Windows
    return sys.platform != "darwin"


def choose_backend(device: str = "auto", purpose: str = "segment", backend: str | None = None) -> Choice:
    """Pick backend and device for a job ("segment" or "train").

    `backend` forces one, as does the environment variable KERAS_BACKEND if that backend can do the job. A process in
    which Keras is already imported keeps its backend. Raises ComputeError if the machine can't do what is asked,
    ValueError for an unknown device.
    """
    if importlib.util.find_spec("keras") is None:
        raise ComputeError("Keras is not installed; install it with pip.")
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, not {device!r}")
    able = FOR_PURPOSE[purpose]["cpu"]
    installed = [name for name in able if name in installed_backends()]
    forced = backend or _running_backend()
    because = "it was asked for" if backend else "Keras runs on it in this process"
    if forced is None and os.environ.get("KERAS_BACKEND") in installed:
        forced, because = os.environ["KERAS_BACKEND"], "KERAS_BACKEND names it"
    if forced is not None:
        if forced not in able:
            raise ComputeError(f"The backend {forced} can't {purpose}; use one of {', '.join(able)}.")
        if forced not in installed:
            raise ComputeError(f"The backend {forced} is not installed; install it with pip or choose another.")
        installed = [forced]
    if not installed:
        extra = "" if purpose == "segment" else f" to {purpose}"
        raise ComputeError(f"No backend{extra} is installed; install one with pip: {', '.join(able)}.")

    if device != "cpu":
        for name in FOR_PURPOSE[purpose]["gpu"]:
            gpu = _gpu_for(name) if name in installed else None
            if gpu is not None:
                return Choice(name, "gpu", f"{name} on {gpu}" + (f", because {because}." if forced else "."))
    if device == "gpu":
        raise ComputeError(_why_no_gpu(installed))
    if forced:
        return Choice(forced, "cpu", f"{forced} on the CPU, because {because}.")
    return Choice(installed[0], "cpu", f"{installed[0]} on the CPU, the fastest installed backend without a GPU.")


def activate(choice: Choice) -> None:
    """Make `choice` the backend of this process. To be called before Keras is imported; nothing happens if it already
    runs on that backend. Raises ComputeError if Keras runs on another one.
    """
    running = _running_backend()
    if running is not None:
        if running != choice.backend:
            raise ComputeError(
                f"This process already computes with {running}; start a new one to compute with {choice.backend}."
            )
        return
    os.environ["KERAS_BACKEND"] = choice.backend
    _forbid_telemetry()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Otherwise TensorFlow takes the whole memory of the GPU, which Slicer's views need too.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if choice.backend == "torch":
        os.environ["KERAS_TORCH_DEVICE"] = "cuda" if choice.device == "gpu" else "cpu"
    elif choice.backend == "tensorflow" and choice.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def _forbid_telemetry() -> None:
    """Nothing leaves the computer: OpenVINO would report its use over the network, from a process of its own, but does
    without the package that does so if it can't be imported.
    """
    sys.modules.setdefault("openvino_telemetry", None)


def _running_backend() -> str | None:
    """The backend of the Keras that this process has imported, None if it hasn't."""
    keras = sys.modules.get("keras")
    return keras.config.backend() if keras is not None else None


def _gpu_for(backend: str) -> str | None:
    """Name of the GPU that `backend` as installed can use, None without one."""
    if backend == "openvino":
        return intel_gpu()
    gpu = nvidia_gpu()
    return gpu.name if gpu is not None and _built_for_cuda(backend) else None


def _built_for_cuda(backend: str) -> bool:
    """Whether the installed TensorFlow or torch is a CUDA build, read from its build file instead of importing it."""
    spec = importlib.util.find_spec(backend)
    if spec is None or spec.origin is None:
        return False
    place, marks = {
        "tensorflow": ("python/platform/build_info.py", ("'is_cuda_build', True", "'is_cuda_build': True")),
        "torch": ("version.py", ("cuda: Optional[str] = '", "cuda = '")),
    }[backend]
    try:
        text = (Path(spec.origin).parent / place).read_text(encoding="utf-8")
    except OSError:
        return False
    return any(mark in text for mark in marks)


def _why_no_gpu(installed: list[str]) -> str:
    gpu = nvidia_gpu()
    if gpu is not None:
        names = " and ".join(installed)
        return f"{names} can't use the {gpu.name}; install a CUDA build of TensorFlow or torch, or use the CPU."
    return "No GPU was found that can be used here; use the CPU (--device cpu) or check the driver."
