"""Masks of simple shapes as label maps."""

import numpy as np
import SimpleITK as sitk


def labelmap(array, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=None) -> sitk.Image:
    """A uint8 image of an array (k, j, i); spacing, origin and direction as SimpleITK has them."""
    image = sitk.GetImageFromArray(np.asarray(array).astype(np.uint8))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(direction)
    return image


def ball(shape, spacing, centre, radius) -> np.ndarray:
    """Bool (k, j, i): voxels whose centre lies in a ball; `spacing` and `centre` in mm along k, j, i."""
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return sum((a * s - c) ** 2 for a, s, c in zip(axes, spacing, centre, strict=True)) < radius**2


def box(shape, *bounds) -> np.ndarray:
    """Bool (k, j, i): True between first and last + 1 along each axis."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*b) for b in bounds)] = True
    return mask
