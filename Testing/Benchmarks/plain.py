"""The baseline: the same network run as most scripts run one, by Keras' `model.predict` on TensorFlow.

`python -m Testing.Benchmarks.plain segment ...` is the command `spineseg` with nothing but that changed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from SpineSegLib.cli import main
from SpineSegLib.engine.models import network
from SpineSegLib.engine.models.backends import activate, choose_backend
from SpineSegLib.engine.models.model_file import build_from_file

KERAS_BATCH = 32  # what `predict` takes unless told otherwise


class PlainNetwork:
    """Takes the place of `network.Network`, with the attributes and methods that segmenting uses."""

    def __init__(self, path: str | Path, device: str = "auto", backend: str | None = None) -> None:
        choice = choose_backend(device, "segment", backend or "tensorflow")
        activate(choice)
        self.model, self.info = build_from_file(path)
        self.backend, self.device = choice.backend, choice.device

    def batch_size(self, height: int, width: int) -> int:
        return KERAS_BATCH

    def predict(self, x: np.ndarray) -> np.ndarray:
        """As `Network.predict`: float32 (n, channels, y, x) to (n, labels, y, x)."""
        height, width = x.shape[2:]
        multiple = self.info.architecture.multiple
        x = np.pad(x, ((0, 0), (0, 0), (0, -height % multiple), (0, -width % multiple)), mode="edge")
        y = np.moveaxis(self.model.predict(np.moveaxis(x, 1, -1), batch_size=KERAS_BATCH, verbose=0), -1, 1)
        return y[:, -len(self.info.labels) :, :height, :width]


if __name__ == "__main__":
    network.Network = PlainNetwork  # the command looks it up when it runs
    sys.exit(main())
