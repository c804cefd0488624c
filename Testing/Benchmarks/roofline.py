"""How near the limit: the network's operations a second beside the most that this machine was seen to do.

The limit is no data sheet's but measured in the same rounds: the faster of a large matrix product and 3x3 convolutions
of many channels in a row, by the library that computes the network. This module as a program measures one device.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from SpineSegLib.cli.console import quiet_libraries
from SpineSegLib.engine.models.backends import Choice, activate, choose_backend, nvidia_gpu
from SpineSegLib.engine.models.network import Network
from SpineSegLib.engine.models.openvino_graph import largest_in_int8
from SpineSegLib.engine.models.unet import Architecture, Preset

from Testing.Benchmarks.engines import int8_model
from Testing.Benchmarks.network_speed import random_model
from Testing.Benchmarks.rounds import REPOSITORY, rounds_within
from Testing.Benchmarks.table import Candidate, Quantity, Table

QUANTITIES = (
    Quantity("milliseconds", "ms", 1, compared=False),
    Quantity("rate", "10⁹ operations a second", 0, compared=False),
    Quantity("share", "% of the limit", 0, compared=False),
)
PRODUCT = 2048  # rows and columns of the matrices
CHANNELS, SIDE = 256, 64  # of the convolutions
ROW = 6  # convolutions one after the other: what turning layouts and precisions costs at both ends hardly counts
EIGHT, HALF, FULL = "int8", "half precision", "float32"
LIMITS = ("matrix product", "3x3 convolutions")
# Does the work once.
Work = Callable[[], Any]


def operations(architecture: Architecture, height: int, width: int) -> int:
    """Multiplications and additions of the network for one slice of height x width pixels, which must suit it.

    Those of its convolutions: all else together is less than 1 %.
    """
    return 2 * sum(
        math.prod(place.kernel) * (height >> level) * (width >> level)
        for place, level in zip(architecture.convolutions(), _levels(architecture), strict=True)
    )


def _levels(architecture: Architecture) -> Iterator[int]:
    """How often the image was halved, for each convolution, where its kernel is applied."""
    for level in range(architecture.depth + 1):
        yield from (level, level)
    for level in reversed(range(architecture.depth)):
        # a transposed convolution's kernel is applied to the pixels before they are enlarged
        yield from (level + 1 if architecture.up == "transpose" else level, level, level)
    yield from (0, 0) if architecture.head else (0,)


def measure_roofline(
    presets: Iterable[tuple[str, Preset]],
    size: int,
    folder: Path,
    rounds: int,
    budget: float,
    tell: Callable[[str], None],
) -> Table:
    """Measure limits and networks, presets by their name, on the CPU, and on the NVIDIA GPU where there is one.

    `budget`: see `rounds_within`, for each of the two.
    """
    models = [random_model(name, preset, folder) for name, preset in presets]
    candidates: list[Candidate] = []
    for device in ("cpu", "gpu"):
        if device == "gpu" and nvidia_gpu() is None:
            candidates.append(Candidate("the same on a GPU", problem="not run, there is none"))
            continue
        tell(f"limits of the {device.upper()}")
        command = [sys.executable, "-m", "Testing.Benchmarks.roofline", device, str(size), str(rounds), str(budget)]
        done = subprocess.run(
            [*command, *map(str, models)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode != 0:
            candidates.append(Candidate(f"limits of the {device.upper()}", problem="failed"))
            continue
        found = json.loads(done.stdout)
        candidates += [Candidate(name, device, tuple(each)) for name, each in found.items()]
    conditions = (
        f"Networks on one slice of {size} x {size} pixels; operations are the multiplications and additions of their "
        f"convolutions. The limit is the faster of a matrix product ({PRODUCT} x {PRODUCT}) and {ROW} 3x3 convolutions "
        f"after each other ({CHANNELS} channels, {SIDE} x {SIDE} pixels) in the same precision and round, the fastest "
        "of three in a row of each. Half precision is bfloat16 on CPUs. SpineSeg computes in int8 where CPU and model "
        "are fit for that, or else in half precision, unless told to be exact."
    )
    return Table("How near the limit", conditions, QUANTITIES, tuple(candidates), None)


def measured(
    works: Mapping[str, tuple[str, float, Work]],
    rounds: int,
    budget: float = math.inf,
    repeats: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[dict[str, float]]]:
    """By name of the work the numbers of each round, works taking turns; of `repeats` in a row the fastest counts.

    `works`: precision, operations and what does them; the limit of a precision is the best rate of those whose names
    begin as in LIMITS. `budget`: see `rounds_within`.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in works}
    for _, _, work in works.values():
        work()  # compiles
    for _ in rounds_within(budget, rounds):
        rates = {}
        for name, (_, count, work) in works.items():
            seconds = min(_seconds(work, clock) for _ in range(repeats))
            rates[name] = count / seconds / 1e9
            found[name].append({"milliseconds": 1000 * seconds, "rate": rates[name]})
        for name, (precision, _, _) in works.items():
            limit = max(rates[n] for n in works if works[n][0] == precision and n.startswith(LIMITS))
            found[name][-1]["share"] = 100 * rates[name] / limit
    return found


def _seconds(work: Work, clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def _works(device: str, size: int, models: Sequence[Path]) -> dict[str, tuple[str, float, Work]]:
    product, convolution = 2.0 * PRODUCT**3, ROW * 18.0 * CHANNELS**2 * SIDE**2
    choice = choose_backend(device)
    activate(choice)
    limit = {"openvino": _openvino_limit, "tensorflow": _tensorflow_limit, "torch": _torch_limit}[choice.backend]
    works: dict[str, tuple[str, float, Work]] = {}
    for precision in _precisions(choice):
        for name, count in zip(LIMITS, (product, convolution), strict=True):
            works[f"{name}, {precision}"] = (precision, count, limit(name, precision, device))
        for model in models:
            file = int8_model(model) if precision == EIGHT else model
            network = Network(file, device, choice.backend, exact=precision == FULL)
            architecture = network.info.architecture
            x = np.random.default_rng(0).random((1, architecture.inputs, size, size), dtype=np.float32)
            count = operations(architecture, size, size)
            works[f"SpineSeg {network.info.name}, {precision}"] = (precision, count, partial(network.predict, x))
    return works


def _precisions(choice: Choice) -> list[str]:
    """In what the network can be computed there."""
    if choice.backend != "openvino" or choice.device == "gpu":
        return [HALF, FULL] if choice.device == "gpu" else [FULL]
    import openvino

    half = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [EIGHT] * bool(largest_in_int8()) + [HALF] * half + [FULL]


def _openvino_limit(name: str, precision: str, device: str) -> Work:
    import openvino
    from openvino import opset13 as ops

    random = np.random.default_rng(0)
    product = name == LIMITS[0]
    x = ops.parameter([PRODUCT, PRODUCT] if product else [1, CHANNELS, SIDE, SIDE], openvino.Type.f32)
    shape = (PRODUCT, PRODUCT) if product else (CHANNELS, CHANNELS, 3, 3)
    if precision == EIGHT:
        low, high = np.float32(0), np.float32(1)
        kernel = ops.convert(ops.constant(random.integers(-127, 128, shape, np.int8)), np.float32)
        weights = ops.multiply(kernel, np.float32(1 / 127))
    else:
        weights = ops.constant(random.random(shape, np.float32))
    y = x
    for _ in range(1 if product else ROW):
        a = ops.fake_quantize(y, low, high, low, high, 256) if precision == EIGHT else y
        y = ops.matmul(a, weights, False, True) if product else ops.convolution(a, weights, *[[1, 1]] * 4)
    settings = {"PERFORMANCE_HINT": "LATENCY"}
    if precision == FULL:
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    request = openvino.Core().compile_model(openvino.Model([y], [x]), device.upper(), settings).create_infer_request()
    values = random.random(list(x.shape), np.float32)
    return lambda: request.infer([values], share_inputs=True, share_outputs=True)


def _torch_limit(name: str, precision: str, device: str) -> Work:
    import torch

    kind = torch.float32 if precision == FULL else torch.bfloat16
    place = "cuda" if device == "gpu" else "cpu"
    if name == LIMITS[0]:
        a, b = (torch.rand(PRODUCT, PRODUCT, dtype=kind, device=place) for _ in range(2))
    else:
        a = torch.rand(1, CHANNELS, SIDE, SIDE, dtype=kind, device=place)
        b = torch.rand(CHANNELS, CHANNELS, 3, 3, dtype=kind, device=place)

    def work() -> None:
        with torch.inference_mode():
            y = a
            for _ in range(1 if name == LIMITS[0] else ROW):
                y = torch.matmul(y, b) if name == LIMITS[0] else torch.nn.functional.conv2d(y, b, padding=1)
            if place == "cuda":
                torch.cuda.synchronize()

    return work


def _tensorflow_limit(name: str, precision: str, device: str) -> Work:
    import tensorflow as tf

    kind = tf.float32 if precision == FULL else tf.bfloat16
    if name == LIMITS[0]:
        a, b = (tf.cast(tf.random.uniform((PRODUCT, PRODUCT)), kind) for _ in range(2))
    else:
        a = tf.cast(tf.random.uniform((1, SIDE, SIDE, CHANNELS)), kind)
        b = tf.cast(tf.random.uniform((3, 3, CHANNELS, CHANNELS)), kind)

    @tf.function
    def once() -> Any:
        y = a
        for _ in range(1 if name == LIMITS[0] else ROW):
            y = tf.matmul(y, b) if name == LIMITS[0] else tf.nn.conv2d(y, b, 1, "SAME")
        return tf.reduce_max(y)  # its value can be waited for without copying all

    return lambda: once().numpy()


def _main(device: str, size: str, rounds: str, budget: str, *models: str) -> None:
    """Print the numbers of a device as JSON."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    with quiet_libraries(debug=False):
        works = _works(device, int(size), [Path(model) for model in models])
    print(json.dumps(measured(works, int(rounds), float(budget))), file=replies, flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
