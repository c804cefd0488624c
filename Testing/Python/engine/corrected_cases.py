"""Small corrected cases and training sets of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from SpineSegLib.engine.training.training_set import Submission, TrainingSet

SEGMENTS = ("vertebrae", "sacrum")


def ball_case(seed: int, size: int = 40, slices: int = 6) -> tuple[sitk.Image, sitk.Image]:
    """A bright ball in noisy soft tissue, its lower slices label 2; 1 x 1 x 2 mm."""
    rng = np.random.default_rng(seed)
    _, y, x = np.mgrid[:slices, :size, :size]
    centre = rng.uniform(0.4 * size, 0.6 * size, 2)
    ball = np.hypot(y - centre[0], x - centre[1]) < size / 5
    hu = np.where(ball, 400, 40) + rng.normal(0, 30, ball.shape)
    mask = ball.astype(np.uint8)
    mask[: slices // 3] *= 2
    images = []
    for array in (hu.astype(np.int16), mask):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1.0, 1.0, 2.0))
        image.SetOrigin((-20.0, 10.0, -300.0 + seed))
        images.append(image)
    return images[0], images[1]


def ball_submission(seed: int, size: int = 40, slices: int = 6, **values) -> Submission:
    ct, mask = ball_case(seed, size, slices)
    return Submission(ct, mask, SEGMENTS, **{"patient": f"patient {seed}", "scan": f"1.2.{seed}"} | values)


def ball_set(path: Path, patients: int) -> TrainingSet:
    """A training set of so many patients; the second one validates."""
    target = TrainingSet.create(path, "balls", SEGMENTS)
    for seed in range(patients):
        target.add(ball_submission(seed))
    return target
