"""The other ways from a CT to a segmentation: what is skipped where their networks run on a part of it. No times."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from Testing.Benchmarks.laps import LEAST, Laps, chosen
from Testing.Benchmarks.table import Candidate
from Testing.Benchmarks.whole_job import _by_stage, _said

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("parts", "share", "count"), [(96, 0.25, 24), (96, 0.01, LEAST), (2, 0.01, 2), (96, 1, 96)])
def test_what_is_chosen_is_spread_over_all_parts(parts, share, count):
    found = chosen(parts, share)
    assert len(found) == count
    edges = np.array([-1, *found, parts])
    assert (np.diff(edges) > 0).all()
    assert np.diff(edges).max() <= -(-parts // count)  # no gap is longer than the parts that one stands for


def test_a_part_of_a_stage_stands_for_all_of_it():
    ticks = iter([0.0, 1.0, 3.0, 4.0, 6.0, 7.0])
    laps = Laps(clock=lambda: next(ticks))
    laps.end("read")
    laps.skip()
    laps.end("network", times=3)
    laps.end("rest")
    laps.end("network", times=3)
    assert laps.seconds == {"read": 1.0, "network": 6.0, "rest": 2.0}
    assert 7.0 + laps.skipped == sum(laps.seconds.values())


def test_the_share_is_that_of_the_network():
    stages = {"read": 1.0, "prepare": 1.0, "network": 20.0, "postprocess": 2.0, "write": 1.0}
    result = {"process_seconds": 10.0, "skipped": 18.0, "stages": stages, "peak_memory_mb": 9.0, "device": "cpu"}
    numbers = _by_stage(result | {"measured": 2, "parts": 8})
    assert numbers["seconds"] == 28.0
    assert numbers["start"] == 3.0
    assert numbers["rest_share"] == 25.0


def test_a_row_says_what_was_measured():
    row = _said(Candidate("3D patches", "cpu", ({"measured": 12, "parts": 96},)), "patches")
    assert row.name == "3D patches: network from 12 of 96 patches measured"
    missing = Candidate("3D patches", problem="not installed")
    assert _said(missing, "patches") == missing


def write_ct(path: Path, array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array.astype(np.int16))
    image.SetSpacing((1.5, 1.5, 1.5))
    sitk.WriteImage(image, str(path))


PATCHES = """
import json, sys
from pathlib import Path
sys.path.append({repository!r})
from torch import nn
import torch
from Testing.Benchmarks import volumetric

class Sign(nn.Module):
    '''Vertebrae where it is denser than the mean, sacrum elsewhere.'''
    looks = 0
    def forward(self, x):
        Sign.looks += 1
        return torch.cat([torch.zeros_like(x), x, -x], dim=1)

folder, found = Path({folder!r}), {{}}
for name in ("periodic", "noise"):
    for share in (1.0, 0.03):
        Sign.looks = 0
        result = volumetric.run(folder / f"{{name}}.nrrd", folder / f"{{name}} {{share}}.nrrd", share, Sign, patch=8)
        found[f"{{name}} {{share}}"] = [result["measured"], result["parts"], Sign.looks, sorted(result["stages"])]
print(json.dumps(found))
"""
STAGES = ["network", "postprocess", "prepare", "read", "start", "write"]


def test_patches_looked_at_in_part_are_as_if_all_were(tmp_path, run_python):
    """Every patch of the periodic CT shows the same, so one may stand for another; in noise each is its own."""
    pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    write_ct(tmp_path / "periodic.nrrd", np.tile(rng.integers(-300, 300, (4, 4, 4)), (6, 4, 5)))
    write_ct(tmp_path / "noise.nrrd", rng.integers(-300, 300, (24, 16, 20)))
    found = json.loads(run_python(PATCHES.format(repository=str(REPOSITORY), folder=str(tmp_path))))
    parts = 5 * 3 * 4  # of 8 voxels, which begin every 4
    for name in ("periodic", "noise"):
        assert found[f"{name} 1.0"] == [parts, parts, parts + 1, STAGES]
        assert found[f"{name} 0.03"] == [LEAST, parts, LEAST + 1, STAGES]

    def labels(name: str) -> np.ndarray:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{name}.nrrd")))

    for name in ("periodic", "noise"):
        ct = labels(name)
        expected = np.where(ct > ct.mean(), 1, 2)
        np.testing.assert_array_equal(labels(f"{name} 1.0"), expected)
        assert (labels(f"{name} 0.03") == expected).all() == (name == "periodic")


SLICES = """
import json, sys
from dataclasses import replace
from pathlib import Path
sys.path.append({repository!r})
from SpineSegLib.engine.models.backends import activate, choose_backend
from SpineSegLib.engine.models.unet import PRESETS, Architecture
activate(choose_backend("cpu", backend="tensorflow"))
import keras
from Testing.Benchmarks import paper_way

small = Architecture(inputs=1, outputs=1, width=2, depth=1, normalization="none")
preset = replace(PRESETS["kim2020"], architecture=small)
folder, found = Path({folder!r}), {{}}
for name in ("same", "noise"):
    for share in (1.0, 0.03):
        keras.utils.set_random_seed(1)
        result = paper_way.run(folder / f"{{name}}.nrrd", folder / f"{{name}} {{share}}.nrrd", share, preset)
        found[f"{{name}} {{share}}"] = [result["measured"], result["parts"], sorted(result["stages"])]
print(json.dumps(found))
"""


def test_slices_looked_at_in_part_are_as_if_all_were(tmp_path, run_python):
    pytest.importorskip("tensorflow")
    rng = np.random.default_rng(4)
    write_ct(tmp_path / "same.nrrd", np.tile(rng.integers(-300, 300, (1, 11, 14)), (41, 1, 1)))
    write_ct(tmp_path / "noise.nrrd", rng.integers(-300, 300, (41, 11, 14)))
    found = json.loads(run_python(SLICES.format(repository=str(REPOSITORY), folder=str(tmp_path))))

    def labels(name: str) -> np.ndarray:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{name}.nrrd")))

    for name in ("same", "noise"):
        assert found[f"{name} 1.0"] == [41, 41, STAGES]
        assert found[f"{name} 0.03"] == [2 * LEAST, 41, STAGES]  # two at once
        complete = labels(f"{name} 1.0")
        assert 0 < complete.mean() < 1
        assert (labels(f"{name} 0.03") == complete).all() == (name == "same")
    same = labels("same 1.0")
    assert (same == same[0]).all()
