"""One worker process for all tests that can share it: it takes seconds to load a network."""

from __future__ import annotations

import pytest
from SpineSegLib.worker_client import WorkerProcess
from worker_models import save_model


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "small.weights.h5")


@pytest.fixture(scope="session")
def worker():
    with WorkerProcess() as process:
        yield process


@pytest.fixture
def folder(worker):
    folder = worker.new_folder()
    yield folder
    worker.remove_folder(folder)
