"""At which HU a segmentation's edge lies: `python -m Testing.Benchmarks.edges CT MASK`.

Needs no reference: masks that experts draw have their edge near half intensity, at about 130 to 200 HU, so a model
whose edges on real CT lie lower takes too much, and one whose edges lie higher too little.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from SpineSegLib.engine.comparison.grids import on_grid_of
from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.engine.files.reading import read_labelmap, read_volume

WIDEST = 3.1  # mm between two voxels; further apart they tell little of what lies between them


def edge_hu(image: sitk.Image, mask: sitk.Image) -> np.ndarray:
    """HU in the middle between each voxel of a mask and its neighbours outside, along every axis that is fine enough.

    `image`: in HU; `mask`: on the same grid, any label counts. Gives float64 (pairs,).
    """
    hu, inside = sitk.GetArrayFromImage(image).astype(np.float64), sitk.GetArrayViewFromImage(mask) > 0
    found = [np.empty(0)]
    for axis, spacing in enumerate(reversed(image.GetSpacing())):
        if spacing <= WIDEST:
            values, side = np.moveaxis(hu, axis, 0), np.moveaxis(inside, axis, 0)
            found.append(((values[:-1] + values[1:]) / 2)[side[:-1] != side[1:]])
    return np.concatenate(found)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m Testing.Benchmarks.edges", description=__doc__)
    parser.add_argument("ct", metavar="CT", type=Path, help="CT, file or DICOM folder")
    parser.add_argument("mask", metavar="MASK", type=Path, help="a mask of its spine or a segmentation")
    options = parser.parse_args()
    try:
        image = read_volume(options.ct).image
        mask, _ = on_grid_of(image, read_labelmap(options.mask))
    except SpineSegError as error:
        print(f"edges: {error}", file=sys.stderr)
        return 1
    pairs = edge_hu(image, mask)
    if not len(pairs):
        print("edges: the mask has no edge in this CT; give one that marks a part of it.", file=sys.stderr)
        return 1
    quarter, half, rest = np.percentile(pairs, (25, 50, 75))
    print(f"median {half:.0f} HU, half of {len(pairs)} pairs from {quarter:.0f} to {rest:.0f} HU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
