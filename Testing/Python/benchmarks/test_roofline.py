"""What counts as an operation, and what is taken for the limit. Nothing here measures time."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from small_models import random_weights, unet_by_hand, write_model
from SpineSegLib.engine.models.unet import Architecture

from Testing.Benchmarks.roofline import FULL, HALF, measured, operations

TINY = {"inputs": 3, "outputs": 2, "width": 4, "depth": 1, "normalization": "batch"}
# Of an image of 8 x 6 pixels, level by level; a kernel of 3 x 3 has 9 places.
FIRST, BOTTOM = 48 * 9 * (3 * 4 + 4 * 4), 12 * 9 * (4 * 8 + 8 * 8)
UP, SECOND, LAST = 12 * 4 * 8 * 4, 48 * 9 * (8 * 4 + 4 * 4), 48 * 4 * 2


@pytest.mark.parametrize(
    ("change", "products"),
    [
        ({}, FIRST + BOTTOM + UP + SECOND + LAST),
        # the 2 x 2 convolution sees the enlarged image
        ({"up": "upsample"}, FIRST + BOTTOM + 4 * UP + SECOND + LAST),
        ({"head": 5}, FIRST + BOTTOM + UP + SECOND + 48 * (9 * 4 * 5 + 5 * 2)),
    ],
)
def test_operations_of_a_tiny_network(change, products):
    assert operations(Architecture(**TINY | change), 8, 6) == 2 * products


TORCH = """
import sys
from pathlib import Path
sys.path.append({repository!r})
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from Testing.Benchmarks.engines import torch_unet

for folder in sorted(Path({folder!r}).iterdir()):
    network = torch_unet(folder / "a.weights.h5")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        np.save(folder / "y.npy", network(torch.from_numpy(np.load(folder / "x.npy"))).numpy())
    print(counter.get_total_flops())
"""


def test_the_network_written_in_torch_is_the_same_and_torch_counts_the_same(tmp_path, run_python):
    pytest.importorskip("torch")
    kinds = {"batch": {}, "none": {"inputs": 1, "outputs": 1, "normalization": "none"}}
    infos, images = {}, {}
    for name, kind in kinds.items():
        (tmp_path / name).mkdir()
        infos[name] = write_model(tmp_path / name / "a.weights.h5", **kind)
        images[name] = np.random.default_rng(5).random((1, infos[name].architecture.inputs, 20, 24), dtype=np.float32)
        np.save(tmp_path / name / "x.npy", images[name])
    repository = Path(__file__).resolve().parents[3]
    counted = run_python(TORCH.format(repository=str(repository), folder=str(tmp_path))).split()
    for count, name in zip(counted, sorted(kinds), strict=True):
        architecture = infos[name].architecture
        assert int(count) == operations(architecture, 20, 24)
        expected = unet_by_hand(architecture, random_weights(architecture), np.moveaxis(images[name][0], 0, -1))
        found = np.moveaxis(np.load(tmp_path / name / "y.npy")[0], 0, -1)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_limit_is_the_best_of_the_same_precision_and_round():
    works = {
        "matrix product, half": (HALF, 8e9, lambda: None),
        "3x3 convolutions, half": (HALF, 8e9, lambda: None),
        "SpineSeg, half": (HALF, 6e9, lambda: None),
        "matrix product, full": (FULL, 8e9, lambda: None),
        "SpineSeg, full": (FULL, 6e9, lambda: None),
    }
    seconds = [2, 1, 1, 4, 4, 20, 40, 20, 40, 80]  # the second round was slow for all
    twice = [took for shortest in seconds for took in (3 * shortest, shortest)]  # the faster one counts
    ticks = iter([time for end, took in zip(accumulate(twice), twice, strict=True) for time in (end - took, end)])
    found = measured(works, 2, repeats=2, clock=lambda: next(ticks))
    assert [each["rate"] for each in found["matrix product, half"]] == pytest.approx([4, 0.4])
    assert [each["share"] for each in found["SpineSeg, half"]] == pytest.approx([75, 75])  # of 8, then of 0.4
    assert [each["share"] for each in found["SpineSeg, full"]] == pytest.approx([75, 37.5])  # of 2, then of 0.2
    assert found["SpineSeg, full"][1]["milliseconds"] == pytest.approx(80_000)
