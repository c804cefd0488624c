"""Slices a second in training: ours, with patches drawn and changed as it goes, and plain Keras `fit` of the same
network on patches that lie ready.

`python -m Testing.Benchmarks.training_speed WAY CT BATCH PATCH STEPS` does it one way and prints JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from SpineSegLib.cli.console import quiet_libraries
from SpineSegLib.cli.measure import peak_memory_mb
from SpineSegLib.engine.axial import AxialSlices
from SpineSegLib.engine.files.reading import read_volume
from SpineSegLib.engine.models.backends import activate, choose_backend
from SpineSegLib.engine.models.preprocessing import AIR_HU, Preprocessing
from SpineSegLib.engine.models.unet import PRESETS, build_unet
from SpineSegLib.engine.training import trainer
from SpineSegLib.engine.training.augmentation import Augmentation
from SpineSegLib.engine.training.trainer import Trainer, TrainingSettings, dice_and_crossentropy
from SpineSegLib.engine.training.training_data import PatchSampler, PreparedCase

from Testing.Benchmarks.rounds import FIT, NAMES, TRAINER, alternate, run_program
from Testing.Benchmarks.table import Quantity, Table

WARM = 2  # steps that aren't counted: they compile
BONE_HU = 250.0
QUANTITIES = (
    Quantity("seconds_per_slice", "s a slice", 4),
    Quantity("waiting", "of which waiting for patches, %", 1, compared=False),
    Quantity("peak_memory_mb", "peak memory, MB", 0),
)


def measure_training(
    ct: Path, rounds: int, budget: float, tell: Callable[[str], None], batch: int = 8, patch: int = 160, steps: int = 3
) -> Table:
    """Train the network of the preset default on patches of `ct`, `steps` batches a round.

    `budget`: see `alternate`.
    """
    arguments = [str(ct), str(batch), str(patch), str(steps)]
    measures = {
        way: lambda way=way: run_program("Testing.Benchmarks.training_speed", [way, *arguments])
        for way in (TRAINER, FIT)
    }
    conditions = (
        f"{steps} batches of {batch} slices of {patch} x {patch} pixels, after {WARM} that aren't counted, preset "
        "default, each round in a process of its own. SpineSeg draws patches anew and changes them (mirrored, turned, "
        "scaled, noisier, blurred) and computes in bfloat16 where the hardware does. Keras' fit, in float32 as Keras "
        "comes, gets one and the same batch that lies ready in memory: no input pipeline could be faster."
    )
    candidates = alternate(measures, [quantity.key for quantity in QUANTITIES], rounds, tell, budget)
    return Table("Training", conditions, QUANTITIES, candidates, NAMES[FIT])


def _sampler(ct: Path, preprocessing: Preprocessing, patch: int) -> PatchSampler:
    """Patches of a CT in which all dense bone is labelled."""
    plain = replace(preprocessing, context=(0.0,), window=(AIR_HU, 3000.0), bits=None)
    slices = AxialSlices(read_volume(ct), plain)
    along = slices.region[0]
    hu = (slices.batch(along.start, along.stop)[:, 0] * (3000.0 - AIR_HU) + AIR_HU).astype(np.int16)
    labels = (hu > BONE_HU).astype(np.uint8)
    every = np.arange(len(hu))
    case = PreparedCase("CT", "CT", hu, labels, slices.grid.spacing[0], every, every[labels.any(axis=(1, 2))])
    return PatchSampler([case], preprocessing, patch, Augmentation(), seed=0)


def _spineseg(sampler: PatchSampler, settings: TrainingSettings, folder: Path) -> tuple[list[float], float]:
    """Times at which batches were done, and the seconds that were spent waiting for patches after the first ones."""
    waited: list[float] = []
    prefetch = trainer._prefetch

    def watched(*arguments: object) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        batches = prefetch(*arguments)
        for _ in range(settings.steps):
            start = time.perf_counter()
            batch = next(batches)
            waited.append(time.perf_counter() - start)
            yield batch

    trainer._prefetch = watched
    done: list[float] = []
    work = Trainer(PRESETS["default"], None, settings, folder)
    for _ in work.epochs(sampler, lambda _: {"validation_dice": 0.0}, lambda _: done.append(time.perf_counter())):
        pass
    return done, sum(waited[WARM:])


def _fit(sampler: PatchSampler, settings: TrainingSettings, folder: Path) -> tuple[list[float], float]:
    """As `_spineseg`."""
    import keras

    done: list[float] = []

    class Watch(keras.callbacks.Callback):
        """Notes when a batch is done."""

        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            done.append(time.perf_counter())

    architecture = PRESETS["default"].architecture
    model = build_unet(architecture, logits=True)
    model.compile(optimizer=keras.optimizers.Adam(), loss=dice_and_crossentropy(architecture.outputs))
    images, labels = sampler.batch(0, settings.batch)
    again = [np.concatenate([array] * settings.steps) for array in (images, labels)]
    model.fit(*again, batch_size=settings.batch, shuffle=False, verbose=0, callbacks=[Watch()])
    return done, 0.0


def _work(way: str, ct: Path, batch: int, patch: int, steps: int) -> dict[str, Any]:
    settings = TrainingSettings(epochs=1, steps=WARM + steps, batch=batch, patch=patch)
    with quiet_libraries(debug=False), tempfile.TemporaryDirectory() as folder:
        activate(choose_backend("auto", "train", "tensorflow"))
        sampler = _sampler(ct, PRESETS["default"].preprocessing, patch)
        done, waited = {TRAINER: _spineseg, FIT: _fit}[way](sampler, settings, Path(folder))
    seconds = done[-1] - done[WARM - 1]
    return {
        "seconds_per_slice": seconds / (steps * batch),
        "waiting": 100 * waited / seconds,
        "peak_memory_mb": peak_memory_mb(),
        "device": choose_backend("auto", "train", "tensorflow").device,
    }


if __name__ == "__main__":
    print(json.dumps(_work(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))))
