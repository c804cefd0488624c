"""Networks made ready for int8: what is measured, and that none is whose segmentations would get worse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from small_models import random_weights, unet_by_hand
from SpineSegLib.engine.models.openvino_graph import largest_in_int8
from SpineSegLib.engine.models.unet import Architecture
from SpineSegLib.engine.training import int8
from SpineSegLib.engine.training.int8 import JUDGED, MEASURED, MOST_LOST, int8_peaks

pytest.importorskip("openvino")

ARCHITECTURE = Architecture(1, 1, 6, 1)
WEIGHTS = random_weights(ARCHITECTURE)
THRESHOLD = 0.5


@dataclass(frozen=True)
class Patches:
    """Noise, which batch `outlier` has one pixel of `value` in; the labels are what the network itself says of it."""

    outlier: int = -1
    value: float = 0.0

    def batch(self, number, count):
        images = np.random.default_rng(number).random((count, 16, 16, 1), dtype=np.float32)
        if number == self.outlier:
            images[0, 4, 4] = self.value
        spine = np.stack([unet_by_hand(ARCHITECTURE, WEIGHTS, image)[..., 0] >= THRESHOLD for image in images])
        assert 0.1 < spine.mean() < 0.9
        return images, spine.astype(np.int32)


@pytest.fixture(autouse=True)
def fast():
    if not largest_in_int8():
        pytest.skip("this CPU is not fast with int8")


def first_peak(patches):
    """The first convolution's largest result after its ReLU over the measured batches, in plain numpy."""
    kernel, bias = WEIGHTS["encoder1_conv1"]
    peak = 0.0
    for number in range(MEASURED):
        padded = np.pad(patches.batch(number, 3)[0][..., 0], ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        peak = max(peak, float((np.einsum("nyxab,abo->nyxo", windows, kernel[:, :, 0]) + bias).max()))
    return peak


@pytest.mark.parametrize("patches", [Patches(), Patches(MEASURED - 1, 3.0), Patches(MEASURED, 3.0)])
def test_peaks_are_the_largest_of_all_measured_patches(patches, monkeypatch):
    monkeypatch.setattr(int8, "MOST_LOST", 1.0)  # an untrained network is never sure, and so loses more than others
    peaks, cost = int8_peaks(ARCHITECTURE, WEIGHTS, THRESHOLD, patches, Patches(), 3)
    assert tuple(peaks) == ARCHITECTURE.inner
    assert peaks["encoder1_conv1"] == pytest.approx(first_peak(patches), rel=0.02)  # of bfloat16
    assert abs(cost["int8_dice_lost"]) < 0.1


def test_a_network_that_int8_makes_worse_gets_no_peaks():
    """One pixel far beyond all others leaves too few levels for these."""
    peaks, cost = int8_peaks(ARCHITECTURE, WEIGHTS, THRESHOLD, Patches(0, 300.0), Patches(), 3)
    assert peaks is None
    assert MOST_LOST < cost["int8_dice_lost"] <= 1


def test_every_judged_batch_counts():
    costs = [
        int8_peaks(ARCHITECTURE, WEIGHTS, THRESHOLD, Patches(), judge, 3)[1]
        for judge in (Patches(), Patches(JUDGED - 1, 20.0), Patches(JUDGED, 20.0))
    ]
    assert costs[0] == costs[2] != costs[1]
