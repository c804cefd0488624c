"""Makes a trained network ready for int8: how large its activations get, and whether it is as good in int8.

A network in which int8 costs too much is kept without, and so computed as it was trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.engine.models.backends import installed_backends
from SpineSegLib.engine.models.model_file import MAX_PEAK
from SpineSegLib.engine.models.openvino_graph import build_graph, largest_in_int8
from SpineSegLib.engine.models.unet import Architecture
from SpineSegLib.engine.training.trainer import Sampler

if TYPE_CHECKING:
    import openvino

MOST_LOST = 0.002  # Dice
MEASURED, JUDGED = 4, 8  # batches


def int8_peaks(
    architecture: Architecture,
    weights: dict[str, list[np.ndarray]],
    threshold: float,
    training: Sampler,
    validation: Sampler,
    count: int,
) -> tuple[dict[str, float] | None, dict[str, float]]:
    """`peaks` for `save_weights`, and the Dice that int8 costs as a metric "int8_dice_lost".

    Peaks are those of patches from `training`, Dice is that of patches from `validation`, pooled, of all labels
    together at `threshold`; batches have `count` of them. No peaks where int8 costs more than MOST_LOST, and nothing at
    all where it can't be tried: without OpenVINO, or on a CPU that isn't fast with it. Tried are the coarsest kernels
    that any CPU needs, so that what is found holds for all.
    """
    if "openvino" not in installed_backends() or not largest_in_int8():
        return None, {}
    peaks = measured_peaks(architecture, weights, (training.batch(n, count)[0] for n in range(MEASURED)))
    if not np.max(list(peaks.values())) <= MAX_PEAK:  # or not a number
        return None, {}
    plain, int8 = (_dice(build_graph(architecture, weights, p), threshold, validation, count) for p in (None, peaks))
    lost = round(float(plain - int8), 5)
    return peaks if lost <= MOST_LOST else None, {"int8_dice_lost": lost}


def measured_peaks(
    architecture: Architecture, weights: dict[str, list[np.ndarray]], batches: Iterable[np.ndarray]
) -> dict[str, float]:
    """`peaks` for `save_weights` from normalised slices (n, y, x, channels)."""
    import openvino
    from openvino import opset13 as ops

    graph = build_graph(architecture, weights)
    nodes = {node.get_friendly_name(): node for node in graph.get_ops()}
    axes = np.arange(4)
    outputs = [ops.reduce_max(ops.abs(nodes[name]), axes).output(0) for name in architecture.inner]
    run = _runner(openvino.Model(outputs, graph.get_parameters()))
    peaks = np.max([run(images) for images in batches], axis=0)
    # What is always 0 needs levels too.
    return dict(zip(architecture.inner, np.maximum(peaks, 1e-6).tolist(), strict=True))


def _dice(graph: openvino.Model, threshold: float, sampler: Sampler, count: int) -> float:
    run = _runner(graph)
    hits = total = 0
    for number in range(JUDGED):
        images, labels = sampler.batch(number, count)
        probabilities = run(images)[0]
        spine = probabilities[:, 0] if probabilities.shape[1] == 1 else 1 - probabilities[:, 0]
        predicted, truth = spine >= threshold, labels > 0
        hits += 2 * np.count_nonzero(predicted & truth)
        total += np.count_nonzero(predicted) + np.count_nonzero(truth)
    return hits / max(total, 1)


def _runner(graph: openvino.Model) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Computes all outputs of a graph for slices (n, y, x, channels)."""
    import openvino

    core, compiled = openvino.Core(), {}

    def run(images: np.ndarray) -> list[np.ndarray]:
        x = np.ascontiguousarray(np.moveaxis(images, -1, 1))
        if x.shape not in compiled:
            fixed = graph.clone()
            fixed.reshape(list(x.shape))
            compiled[x.shape] = core.compile_model(fixed, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
        return list(compiled[x.shape](x).values())

    return run
