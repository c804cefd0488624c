"""The command in a process of its own, a small CT with its truth, and a model that needs no training."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SOURCE = Path(__file__).resolve().parents[3] / "SpineSeg"

# A U-Net whose weights pass HU on to a soft threshold.
MAKE_MODEL = """
import sys
import numpy as np
from SpineSegLib.engine.models.model_file import ModelInfo, save_model
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.models.unet import Architecture, build_unet

architecture = Architecture(inputs=1, outputs=1, width=8, depth=1)
model = build_unet(architecture)
layers = [layer for layer in model.layers if layer.weights]
for layer in layers:
    kernel, bias = (np.zeros(w.shape, np.float32) for w in layer.weights)
    if kernel.shape[0] != 2:  # the way up carries nothing
        kernel[kernel.shape[0] // 2, kernel.shape[1] // 2, 0, 0] = 40 if layer is layers[-1] else 1
    if layer is layers[-1]:
        bias[:] = -40 * (300 + 200) / 1200  # probability 0.5 at 300 HU
    layer.set_weights([kernel, bias])
preprocessing = Preprocessing(spacing=1.5, context=(0.0,), window=(-200.0, 1000.0))
info = ModelInfo("threshold", 3, architecture, preprocessing, ("spine",), licence="CC0", metrics={"dice": 0.5})
save_model(model, info, sys.argv[1])
"""


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(SOURCE), "KERAS_BACKEND": "openvino"} | more


def spineseg(*arguments: object, **more: str) -> subprocess.CompletedProcess:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "SpineSegLib.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment(**more), capture_output=True, text=True)


@dataclass(frozen=True)
class Case:
    ct: Path
    mask: Path
    image: sitk.Image


def scene(count: int = 20, size: int = 64) -> sitk.Image:
    """A body with a column of bone that gets thicker towards the head; 1.5 x 1.5 x 3 mm."""
    z, y, x = np.ogrid[:count, :size, :size]
    middle = size / 2
    hu = np.full((count, size, size), -1000, dtype=np.int16)
    hu[np.broadcast_to(((x - middle) / (0.45 * size)) ** 2 + ((y - middle) / (0.4 * size)) ** 2 < 1, hu.shape)] = 40
    hu[(x - middle - 3) ** 2 + (y - middle - 6) ** 2 < (8 + 4 * z / count) ** 2] = 600
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((1.5, 1.5, 3.0))
    image.SetOrigin((-50.0, -40.0, -900.0))
    return image
