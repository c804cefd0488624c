"""The same budget for networks of any size."""

import numpy as np
import pytest
import SimpleITK as sitk
from SpineSegLib.engine.models.preprocessing import Preprocessing
from SpineSegLib.engine.models.unet import Architecture, Preset
from SpineSegLib.engine.training.trainer import TrainingSettings
from SpineSegLib.engine.training.training_data import find_cases

from Testing.Benchmarks.presets import EPOCHS, SHARE, batches_within

pytest.importorskip("tensorflow", reason="training needs TensorFlow")

TINY = Preset(Architecture(inputs=1, outputs=1, width=4, depth=2), Preprocessing(context=(0.0,)), ("spine",))


def test_what_batches_cost_decides_how_many_there_are(tmp_path):
    (tmp_path / "p0").mkdir()
    bone = np.zeros((4, 40, 40), dtype=np.uint8)
    bone[:, 15:25, 15:25] = 1
    for name, array in (("ct.nii.gz", bone.astype(np.int16) * 1300 - 1000), ("mask.nii.gz", bone)):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "p0" / name))
    settings = TrainingSettings(batch=2, patch=32)
    count, each = batches_within(60, TINY, find_cases(tmp_path), settings)
    assert each > 0
    assert count == int(SHARE * 60 / each) > EPOCHS
    assert batches_within(0, TINY, find_cases(tmp_path), settings)[0] == EPOCHS
