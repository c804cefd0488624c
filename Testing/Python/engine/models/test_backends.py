"""Choice of the backend on machines as they are imagined here, without importing any backend."""

import os
import subprocess
import sys

import pytest
from SpineSegLib.engine.errors import ComputeError
from SpineSegLib.engine.models import backends
from SpineSegLib.engine.models.backends import Choice, Gpu, activate, choose_backend


@pytest.fixture
def machine(monkeypatch):
    """Sets what the machine has; nothing but OpenVINO on a CPU unless told otherwise."""

    def set_up(installed=("openvino",), nvidia=False, cuda_builds=(), intel=False, running=None, environment=None):
        monkeypatch.setattr(backends, "installed_backends", lambda: tuple(installed))
        monkeypatch.setattr(backends, "nvidia_gpu", lambda: Gpu("NVIDIA Test", 8 * 2**30) if nvidia else None)
        monkeypatch.setattr(backends, "intel_gpu", lambda: "Intel Test" if intel else None)
        monkeypatch.setattr(backends, "_built_for_cuda", lambda name: name in cuda_builds)
        monkeypatch.setattr(backends, "_running_backend", lambda: running)
        monkeypatch.delenv("KERAS_BACKEND", raising=False)
        if environment:
            monkeypatch.setenv("KERAS_BACKEND", environment)

    return set_up


ALL = ("openvino", "tensorflow", "torch")


@pytest.mark.parametrize(
    ("has", "asks", "backend", "device"),
    [
        ({}, {}, "openvino", "cpu"),
        ({"installed": ALL}, {}, "openvino", "cpu"),
        ({"installed": ALL}, {"purpose": "train"}, "tensorflow", "cpu"),
        ({"installed": ("openvino", "torch")}, {"purpose": "train"}, "torch", "cpu"),
        ({"installed": ("tensorflow", "torch")}, {}, "tensorflow", "cpu"),
        ({"installed": ALL, "nvidia": True}, {}, "openvino", "cpu"),
        ({"installed": ALL, "nvidia": True, "cuda_builds": ("tensorflow", "torch")}, {}, "tensorflow", "gpu"),
        ({"installed": ALL, "nvidia": True, "cuda_builds": ("torch",)}, {}, "torch", "gpu"),
        ({"installed": ALL, "nvidia": True, "cuda_builds": ("torch",)}, {"device": "cpu"}, "openvino", "cpu"),
        ({"installed": ALL, "nvidia": True, "cuda_builds": ("torch",)}, {"purpose": "train"}, "torch", "gpu"),
        ({"installed": ALL, "cuda_builds": ("torch",)}, {}, "openvino", "cpu"),
        ({"intel": True}, {}, "openvino", "gpu"),
        ({"intel": True, "installed": ALL}, {"purpose": "train"}, "tensorflow", "cpu"),
        ({"installed": ALL}, {"backend": "torch"}, "torch", "cpu"),
        ({"installed": ALL, "environment": "torch"}, {}, "torch", "cpu"),
        ({"installed": ALL, "environment": "torch"}, {"backend": "openvino"}, "openvino", "cpu"),
        ({"installed": ALL, "environment": "openvino"}, {"purpose": "train"}, "tensorflow", "cpu"),
        ({"installed": ALL, "running": "tensorflow"}, {}, "tensorflow", "cpu"),
    ],
)
def test_the_fastest_backend_that_can_is_chosen(machine, has, asks, backend, device):
    machine(**has)
    choice = choose_backend(**asks)
    assert (choice.backend, choice.device) == (backend, device)
    assert choice.reason.endswith(".")


@pytest.mark.parametrize(
    ("has", "asks", "message"),
    [
        ({"installed": ()}, {}, "No backend is installed"),
        ({}, {"purpose": "train"}, "No backend to train is installed"),
        ({}, {"backend": "torch"}, "torch is not installed"),
        ({"installed": ALL}, {"backend": "openvino", "purpose": "train"}, "openvino can't train"),
        ({"installed": ALL, "running": "openvino"}, {"purpose": "train"}, "openvino can't train"),
        ({"installed": ALL}, {"backend": "numpy"}, "numpy can't segment"),
        ({"installed": ALL}, {"device": "gpu"}, "No GPU was found"),
        ({"installed": ("tensorflow",), "nvidia": True}, {"device": "gpu"}, "tensorflow can't use the NVIDIA Test"),
    ],
)
def test_what_the_machine_can_not_do_is_one_sentence(machine, has, asks, message):
    machine(**has)
    with pytest.raises(ComputeError, match=message) as caught:
        choose_backend(**asks)
    assert str(caught.value).endswith(".")
    assert ". " not in str(caught.value)


def test_keras_itself_may_be_missing(machine, monkeypatch):
    machine()
    find = backends.importlib.util.find_spec
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None if name == "keras" else find(name))
    with pytest.raises(ComputeError, match="Keras is not installed"):
        choose_backend()


def test_unknown_devices_are_refused():
    with pytest.raises(ValueError, match="tpu"):
        choose_backend("tpu")


def test_a_process_keeps_its_backend(machine):
    machine(installed=ALL, running="tensorflow")
    activate(Choice("tensorflow", "cpu", ""))
    with pytest.raises(ComputeError, match="already computes with tensorflow"):
        activate(Choice("openvino", "cpu", ""))


def test_cuda_builds_are_told_by_their_build_files(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, place in (("torch", "version.py"), ("tensorflow", "python/platform/build_info.py")):
        file = tmp_path / name / place
        file.parent.mkdir(parents=True)
        (tmp_path / name / "__init__.py").touch()
        for text, expected in (
            ("cuda: Optional[str] = None", False),
            ("cuda: Optional[str] = '12.8'", name == "torch"),
            ("OrderedDict([('is_cuda_build', True)])", name == "tensorflow"),
            ("OrderedDict([('is_cuda_build', False)])", False),
        ):
            file.write_text(text)
            spec = backends.importlib.util.spec_from_file_location(name, tmp_path / name / "__init__.py")
            monkeypatch.setattr(backends.importlib.util, "find_spec", lambda _, spec=spec: spec)
            assert backends._built_for_cuda(name) is expected
            monkeypatch.undo()


def test_choosing_imports_no_backend():
    code = """
import sys
from SpineSegLib.engine.models import backends, model_catalogue, network

backends.choose_backend("cpu")
backends.nvidia_gpu()
backends._offers_gpus = lambda: False
backends.intel_gpu()
print([name for name in ("keras", "tensorflow", "torch", "openvino", "jax") if name in sys.modules])
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == "[]"
