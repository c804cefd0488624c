"""From a CT to a segmentation as in the paper: every whole slice of it through a U-Net of 31 million parameters, by
TensorFlow's `model.predict` (Kim et al. 2020).

`python -m Testing.Benchmarks.paper_way CT OUT MEASURED` prints where the time went as JSON. Random weights; only the
network on `MEASURED` of the slices is measured, after a first time on as many, and multiplied. The CT must lie along
the patient's axes and have square pixels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from SpineSegLib.cli.console import quiet_libraries
from SpineSegLib.cli.measure import peak_memory_mb
from SpineSegLib.engine.axial import AxialSlices, aligned_axes, patient_view
from SpineSegLib.engine.files.reading import read_volume
from SpineSegLib.engine.files.writing import write_image
from SpineSegLib.engine.models.backends import activate, choose_backend
from SpineSegLib.engine.models.unet import PRESETS, build_unet

from Testing.Benchmarks.laps import Laps


def run(ct: Path, out: Path, measured: int) -> dict[str, object]:
    """The seconds of each stage, peak memory, and what was measured of how much."""
    laps = Laps()
    preset = PRESETS["kim2020"]
    with quiet_libraries(debug=False):
        activate(choose_backend("cpu", backend="tensorflow"))
        model = build_unet(preset.architecture)
    laps.end("start")
    volume = read_volume(ct)
    laps.end("read")
    slices = AxialSlices(volume, preset.preprocessing, whole=True)
    count, height, width = slices.grid.shape
    multiple = preset.architecture.multiple
    margins = ((0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0))
    x = np.empty((count, height, width, 1), dtype=np.float32)
    for index in range(count):
        x[index, ..., 0] = slices.batch(index, index + 1)[0, 0]
    x = np.pad(x, margins, mode="edge")
    laps.end("prepare")
    with quiet_libraries(debug=False):
        model.predict(x[:measured], batch_size=measured, verbose=0)
        laps.skip()
        y = model.predict(x[:measured], batch_size=measured, verbose=0)
    laps.end("network", times=count / measured)
    labels = np.zeros(volume.grid.shape, dtype=np.uint8)
    axial = patient_view(labels, aligned_axes(volume.grid.direction))
    for index in range(count):
        axial[index] = y[index % measured, :height, :width, 0] >= preset.preprocessing.threshold
    laps.end("postprocess")
    write_image(volume.grid.image(labels), out)
    laps.end("write")
    return {"stages": laps.seconds, "skipped": laps.skipped, "peak_memory_mb": peak_memory_mb(), "device": "cpu"}


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
