"""A small patient whose shapes are known, and the label map it comes from."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from SpineSegLib.engine.synthetic.anatomy import Anatomy
from SpineSegLib.engine.synthetic.tissues import Tissue

RIB = 30
STRUCTURES = {n: f"L{n - 19} vertebra" for n in range(20, 24)} | {26: "Sacrum", RIB: "left rib 9"}


def small_anatomy() -> Anatomy:
    """Four vertebrae with a canal and processes, a sacrum below and a rib beside them, in a muscle box."""
    tissue = np.full((150, 90, 100), Tissue.MUSCLE, dtype=np.uint8)
    tissue[:, :, :4] = tissue[:, :, -4:] = Tissue.AIR
    vertebrae = np.zeros_like(tissue)
    z, y, x = np.mgrid[:150, :90, :100]
    for n in range(4):
        at = 50 + 25 * n
        body = (np.abs(z - at) < 9) & (np.hypot(x - 40, (y - 30) * 1.2) < 17)
        spinous = (np.abs(z - at) < 5) & (np.abs(x - 40) < 3) & (y > 52) & (y < 75)
        vertebrae[body | spinous] = 23 - n
    vertebrae[(z < 36) & (z > 5) & (np.hypot(x - 40, y - 35) < 5 + z / 2.2)] = 26
    tissue[vertebrae > 0] = Tissue.VERTEBRA
    tissue[vertebrae == 26] = Tissue.SACRUM
    tissue[(np.hypot(z - 100, y - 30) < 5) & (x > 64) & (x < 90)] = Tissue.RIB
    return Anatomy.from_tissue("small", tissue, vertebrae, 1.0)


def write_trunk(path: Path) -> None:
    """The small anatomy as a .seg.nrrd with names, stored the other way round, 1.5 mm slices."""
    small = small_anatomy()
    labels = np.where(small.vertebrae > 0, small.vertebrae, np.where(small.tissue == Tissue.RIB, RIB, 0))
    image = sitk.GetImageFromArray(labels.astype(np.uint8)[::3, ::2, ::2])
    image.SetSpacing((2.0, 2.0, 3.0))
    image = sitk.DICOMOrient(image, "RAS")
    for n, (value, name) in enumerate(STRUCTURES.items()):
        image.SetMetaData(f"Segment{n}_LabelValue", str(value))
        image.SetMetaData(f"Segment{n}_Name", name)
    sitk.WriteImage(image, str(path))
