"""A small model whose segmentation of small CT volumes has some of everything, and how to wait for a job."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from small_models import model_info, random_weights
from SpineSegLib.engine.models.model_file import save_weights
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.models.unet import Architecture
from SpineSegLib.worker_client import Job

PATIENCE = 60  # seconds after which a test gives up, on a machine however slow


def save_model(path: Path, seed: int = 27) -> Path:
    """A model with two labels and three slices of context; of its random weights these find both everywhere."""
    architecture = Architecture(inputs=3, outputs=3, width=4, depth=2, normalization="batch")
    info = model_info(
        architecture,
        labels=("vertebrae", "sacrum"),
        preprocessing=Preprocessing(spacing=1.5, context=(-2.0, 0.0, 2.0), threshold=0.5),
    )
    path.unlink(missing_ok=True)
    save_weights(random_weights(architecture, seed), info, path)
    return path


def wait(job: Job, until: str | None = None, count: int = 1) -> list[dict[str, Any]]:
    """Poll until the job has ended, or has sent an event of this name so often; all events so far."""
    events, deadline = [], time.monotonic() + PATIENCE
    while job.state == "running" and time.monotonic() < deadline:
        events += job.poll()
        if until is not None and sum(event["event"] == until for event in events) >= count:
            return events
        time.sleep(0.01)
    assert job.state != "running", "the job takes too long"
    assert until is None, (job.state, job.message)
    return events


def gone(pid: int) -> bool:
    """Whether a process that is no child of this one ends."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat")
        try:
            if state.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False
