"""New patients from a few: the vertebrae of one exchanged for those of others, each fitted into the place it takes.

A handful of label maps shows each level a handful of times, always with the same neighbours and ribs. Exchanged one by
one, also between neighbouring levels, the same shapes stand beside ever other ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from SpineSegLib.engine.synthetic.random_fields import smooth_noise
from SpineSegLib.engine.synthetic.tissues import signed_depth
from SpineSegLib.engine.synthetic.vertebra import SACRUM

_MARGIN = 8  # voxels around a vertebra, for it to move and grow in
_DEEPEST = 8.0  # mm: what lies farther from the surface says nothing about the shape
_NEAR = 3.0  # mm from the surface
_SHRINK = 2  # for fitting
_ALIKE = 0.55  # Dice of two fitted vertebrae from which on one may stand for the other
_LEVELS_APART = 1
_EXCHANGED = 0.75  # share of the vertebrae


@dataclass(frozen=True)
class VertebraShape:
    """One whole vertebra: its `patient`, its VerSe `number` and its depth in mm (float32, z, y, x; positive inside)."""

    patient: str
    number: int
    depth: np.ndarray


def find_shapes(patient: str, vertebrae: np.ndarray, spacing: float) -> list[VertebraShape]:
    """The whole vertebrae of a label map (VerSe numbers, z, y, x), of which none is cut off; the sacrum is not one."""
    shapes = []
    for number, box in enumerate(ndimage.find_objects(vertebrae), start=1):
        if box is not None and number < SACRUM and _is_whole(vertebrae[box] == number):
            inside = np.pad(vertebrae[box] == number, _MARGIN)
            shapes.append(VertebraShape(patient, number, signed_depth(inside, spacing)))
    return shapes


def _is_whole(inside: np.ndarray) -> bool:
    """Whether a vertebra tapers at both ends, where the edge of a scan would have cut it straight."""
    areas = inside.sum(axis=(1, 2))
    return len(areas) > 10 and max(areas[0], areas[-1]) < 0.3 * areas.max()


def exchange_vertebrae(
    patient: str, vertebrae: np.ndarray, shapes: Sequence[VertebraShape], spacing: float, rng: np.random.Generator
) -> np.ndarray:
    """A label map (uint8, VerSe numbers, z, y, x) of `patient` in which most vertebrae are those of others.

    A whole vertebra gets one of `shapes` of another patient, of its own or a neighbouring level, turned and stretched
    until it lies as the old one did; all are then moved and bent by a little. What does not fit is not exchanged. Where
    two meet, the border lies midway. The sacrum and vertebrae that are cut off stay as they are.
    """
    deepest = np.zeros(vertebrae.shape, dtype=np.float32)
    result = np.zeros_like(vertebrae)
    for number, box in enumerate(ndimage.find_objects(vertebrae), start=1):
        if box is None:
            continue
        wide = tuple(slice(max(0, s.start - _MARGIN), s.stop + _MARGIN) for s in box)
        inside = vertebrae[wide] == number
        depth = signed_depth(inside, spacing)
        if number < SACRUM and _is_whole(vertebrae[box] == number):
            candidates = [s for s in shapes if s.patient != patient and abs(s.number - number) <= _LEVELS_APART]
            if candidates and rng.random() < _EXCHANGED:
                depth = _fitted(candidates[int(rng.integers(len(candidates)))], depth, rng)
            depth = _moved(depth, spacing, rng)
        here = depth > deepest[wide]
        result[wide][here] = number
        deepest[wide][here] = depth[here]
    return result


def _image(depth: np.ndarray) -> sitk.Image:
    return sitk.GetImageFromArray(np.clip(depth, -_DEEPEST, _DEEPEST))


def _fitted(shape: VertebraShape, place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Depth of `shape` in the `place` (a depth as well, z, y, x) of another vertebra, whose own it is mixed with."""
    fixed, moving = _image(place), _image(shape.depth)
    centres = [np.array(ndimage.center_of_mass(d > 0))[::-1] for d in (place, shape.depth)]
    transform = sitk.AffineTransform(3)
    transform.SetCenter(centres[0].tolist())
    transform.SetTranslation((centres[1] - centres[0]).tolist())
    registration = sitk.ImageRegistrationMethod()
    registration.SetNumberOfThreads(1)  # several add up in another order on each machine, and so end at another fit
    registration.SetMetricAsMeanSquares()
    registration.SetInterpolator(sitk.sitkLinear)
    registration.SetOptimizerAsRegularStepGradientDescent(1.0, 0.01, 100)
    registration.SetOptimizerScalesFromPhysicalShift()
    registration.SetShrinkFactorsPerLevel([_SHRINK])
    registration.SetSmoothingSigmasPerLevel([0.0])
    registration.SetInitialTransform(transform, inPlace=True)
    registration.Execute(fixed, moving)
    found = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, -_DEEPEST))
    both, sizes = ((found > 0) & (place > 0)).sum(), (found > 0).sum() + (place > 0).sum()
    if 2 * both < _ALIKE * sizes:
        return place
    own = rng.uniform(0.0, 0.4)
    # Only where a surface is near do both have a say, so that thin parts and the canal of the new one stay.
    return (1 - own) * np.clip(found, -_NEAR, _NEAR) + own * np.clip(place, -_NEAR, _NEAR)


def _moved(depth: np.ndarray, spacing: float, rng: np.random.Generator) -> np.ndarray:
    """The same vertebra turned by some degrees about its middle, stretched, and bent by a millimetre or so."""
    middle = np.array(ndimage.center_of_mass(depth > 0))
    angles = np.radians(rng.normal(0, 2.5, 3))
    turn = np.eye(3) + np.array([[0, -angles[0], angles[1]], [angles[0], 0, -angles[2]], [-angles[1], angles[2], 0]])
    matrix = turn @ np.diag(np.exp(rng.normal(0, 0.04, 3)))
    places = np.indices(depth.shape, dtype=np.float32) - middle[:, None, None, None]
    places = np.tensordot(matrix.astype(np.float32), places, 1) + middle[:, None, None, None]
    for along in places:
        along += np.float32(0.8 / spacing) * smooth_noise(depth.shape, 10.0 / spacing, rng)
    return ndimage.map_coordinates(depth, places, order=1, mode="nearest")
