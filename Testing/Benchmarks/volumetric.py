"""From a CT to a segmentation by a 3D U-Net in patches, as the programs do that users have.

A network of nnU-Net's size and plan (Isensee et al. 2021: six stages, instance normalisation, leaky ReLU; 31 million
parameters) looks at overlapping patches of the CT at 1.5 mm, whose results are added up with the weights of a Gaussian.
The result goes back to the CT's grid as labels.

`python -m Testing.Benchmarks.volumetric CT OUT SHARE` prints where the time went as JSON. Random weights. All is done
for all patches but the network: it is run on a `SHARE` of them, evenly spread (1: all), after a first time that doesn't
count, and its time multiplied; patches between them get the result of the one before.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from SpineSegLib.cli.measure import peak_memory_mb
from SpineSegLib.engine.files.reading import read_volume
from SpineSegLib.engine.files.writing import write_image
from SpineSegLib.engine.models.preprocessing import AIR_HU
from torch import nn

from Testing.Benchmarks.laps import Laps, chosen

FEATURES = (32, 64, 128, 256, 320, 320)
SPACING = 1.5  # mm
PATCH = 128  # voxels along each axis
OVERLAP = 0.5
OUTPUTS = 3  # background, vertebrae, sacrum


def _block(inputs: int, features: int, stride: int) -> nn.Sequential:
    layers = []
    for n in range(2):
        layers += [
            nn.Conv3d(inputs if n == 0 else features, features, 3, stride=stride if n == 0 else 1, padding=1),
            nn.InstanceNorm3d(features, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
        ]
    return nn.Sequential(*layers)


class UNet3d(nn.Module):
    """Float32 (n, 1, z, y, x) to logits (n, outputs, z, y, x)."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            _block(before, features, 1 if n == 0 else 2)
            for n, (before, features) in enumerate(zip((1, *FEATURES), FEATURES, strict=False))
        )
        steps = list(zip(FEATURES[:0:-1], FEATURES[-2::-1], strict=True))
        self.grow = nn.ModuleList(nn.ConvTranspose3d(below, features, 2, stride=2) for below, features in steps)
        self.up = nn.ModuleList(_block(2 * features, features, 1) for _, features in steps)
        self.head = nn.Conv3d(FEATURES[0], OUTPUTS, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        skips.pop()
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(torch.cat([grow(x), skips.pop()], dim=1))
        return self.head(x)


def run(
    ct: Path, out: Path, share: float, build: Callable[[], nn.Module] = UNet3d, patch: int = PATCH
) -> dict[str, object]:
    """The seconds of each stage, peak memory, and how many of all patches the network was run on.

    `build`: makes the network; `patch`: voxels along each axis.
    """
    laps = Laps()
    network = build().eval()
    laps.end("start")
    volume = read_volume(ct)
    laps.end("read")
    grid = volume.grid
    shape = [max(1, round(n * mm / SPACING)) for n, mm in zip(grid.shape, grid.spacing, strict=True)]
    small = _resampled(volume.image, shape, sitk.sitkLinear, AIR_HU)
    x = sitk.GetArrayFromImage(sitk.Cast(small, sitk.sitkFloat32))
    x = (x - x.mean()) / x.std()
    x = np.pad(x, [(0, max(0, patch - n)) for n in x.shape])
    places = [
        tuple(slice(first, first + patch) for first in corner)
        for corner in itertools.product(*(_corners(n, patch) for n in x.shape))
    ]
    measured = chosen(len(places), share)
    added = np.zeros((OUTPUTS, *x.shape), dtype=np.float32)
    weight = np.zeros(x.shape, dtype=np.float32)
    gaussian = _gaussian(patch)
    laps.end("prepare")

    def look(place: tuple[slice, ...]) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(x[place].copy())[None, None])[0].numpy()

    logits = look(places[0])
    laps.skip()
    for n, place in enumerate(places):
        if n in measured:
            laps.end("postprocess")
            logits = look(place)
            laps.end("network", times=len(places) / len(measured))
        added[:, *place] += logits * gaussian
        weight[place] += gaussian
    best = np.argmax(added / np.maximum(weight, 1e-6), axis=0)[tuple(slice(n) for n in shape)].astype(np.uint8)
    labels = sitk.GetImageFromArray(best)
    labels.CopyInformation(small)
    labels = sitk.Resample(labels, volume.image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    laps.end("postprocess")
    write_image(labels, out)
    laps.end("write")
    return {
        "stages": laps.seconds,
        "skipped": laps.skipped,
        "measured": len(measured),
        "parts": len(places),
        "peak_memory_mb": peak_memory_mb(),
        "device": "cpu",
    }


def _resampled(image: sitk.Image, shape: list[int], interpolator: int, outside: float) -> sitk.Image:
    """The image on a grid of `SPACING` mm and so many voxels (z, y, x)."""
    return sitk.Resample(
        image,
        shape[::-1],
        sitk.Transform(),
        interpolator,
        image.GetOrigin(),
        (SPACING,) * 3,
        image.GetDirection(),
        outside,
    )


def _corners(length: int, patch: int) -> list[int]:
    """First voxels of the patches along an axis: evenly spread, no further apart than the overlap asks."""
    count = int(np.ceil((length - patch) / (patch * (1 - OVERLAP)))) + 1
    return np.linspace(0, length - patch, count).round().astype(int).tolist()


def _gaussian(patch: int) -> np.ndarray:
    """The weights of a patch (z, y, x), with a standard deviation of an eighth of it."""
    line = np.exp(-0.5 * ((np.arange(patch) - (patch - 1) / 2) / (patch / 8)) ** 2)
    return np.maximum(np.einsum("z,y,x->zyx", line, line, line), 1e-6).astype(np.float32)


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))))
