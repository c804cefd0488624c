"""From a CT to a segmentation as in the paper: every whole slice of it through a U-Net of 31 million parameters, by
TensorFlow (Kim et al. 2020).

`python -m Testing.Benchmarks.paper_way CT OUT SHARE` prints where the time went as JSON. Random weights. All is done
for all slices but the network: it is run on a `SHARE` of the slices, evenly spread (1: all), after a first time that
doesn't count, and its time multiplied; slices between them get the result of the one before. The CT must lie along the
patient's axes and have square pixels.
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
from SpineSegLib.engine.models.unet import PRESETS, Preset, build_unet

from Testing.Benchmarks.laps import Laps, chosen

BATCH = 2  # slices at once: what TensorFlow is fastest with, a little


def run(ct: Path, out: Path, share: float, preset: Preset = PRESETS["kim2020"]) -> dict[str, object]:
    """The seconds of each stage, peak memory, and how many of all slices the network was run on."""
    laps = Laps()
    with quiet_libraries(debug=False):
        activate(choose_backend("cpu", backend="tensorflow"))
        model = build_unet(preset.architecture)
    laps.end("start")
    volume = read_volume(ct)
    laps.end("read")
    slices = AxialSlices(volume, preset.preprocessing, whole=True)
    count, height, width = slices.grid.shape
    multiple = preset.architecture.multiple
    margins = ((0, -height % multiple), (0, -width % multiple))
    x = np.empty((count, height + margins[0][1], width + margins[1][1], 1), dtype=np.float32)
    for index in range(count):
        x[index, ..., 0] = np.pad(slices.batch(index, index + 1)[0, 0], margins, mode="edge")
    laps.end("prepare")
    batches = range(0, count, BATCH)
    measured = chosen(len(batches), share)
    y = np.empty(x.shape[:3], dtype=np.float32)
    with quiet_libraries(debug=False):
        predicted = model.predict_on_batch(x[:BATCH])[..., 0]
        laps.skip()
        for n, first in enumerate(batches):
            if n in measured:
                laps.end("postprocess")
                predicted = model.predict_on_batch(x[first : first + BATCH])[..., 0]
                laps.end("network", times=len(batches) / len(measured))
            y[first : first + BATCH] = predicted[: count - first]
    labels = np.zeros(volume.grid.shape, dtype=np.uint8)
    axial = patient_view(labels, aligned_axes(volume.grid.direction))
    for index in range(count):
        axial[index] = y[index, :height, :width] >= preset.preprocessing.threshold
    laps.end("postprocess")
    write_image(volume.grid.image(labels), out)
    laps.end("write")
    return {
        "stages": laps.seconds,
        "skipped": laps.skipped,
        "measured": sum(min(BATCH, count - batches[n]) for n in measured),
        "parts": count,
        "peak_memory_mb": peak_memory_mb(),
        "device": "cpu",
    }


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))))
