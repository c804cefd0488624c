"""CT volumes with known content in any orientation, and a network that needs no training."""

from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk
from SpineSegLib.engine.models.preprocessing import Preprocessing


def smooth_ct(size=(50, 44, 36), spacing=(1.5, 1.5, 2.0), origin=(-40.0, -30.0, -700.0)) -> sitk.Image:
    """Int16 HU: a body of soft tissue with two bony ellipsoids of different size, nothing symmetrical; LPS identity."""
    image = sitk.Image(size, sitk.sitkInt16)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    x, y, z = (o + s * np.arange(n) for o, s, n in zip(origin, spacing, size, strict=True))
    middle = [o + s * (n - 1) / 2 for o, s, n in zip(origin, spacing, size, strict=True)]
    z, y, x = np.meshgrid(z - middle[2], y - middle[1], x - middle[0], indexing="ij")
    hu = np.full(x.shape, -1000.0)
    hu[(x / 34) ** 2 + (y / 29) ** 2 < 1] = 40
    for centre, radii, value in (((4, 9, -8), (12, 8, 14), 700), ((-9, -3, 15), (6, 9, 8), 900)):
        distance = sum(((a - c) / r) ** 2 for a, c, r in zip((x, y, z), centre, radii, strict=True))
        hu += value * np.clip(2.0 - 2.0 * distance, 0, 1)
    result = sitk.GetImageFromArray(np.round(hu).astype(np.int16))
    result.CopyInformation(image)
    return result


def rotated(image: sitk.Image, degrees: tuple[float, float, float], spacing=None) -> sitk.Image:
    """The same scene on a grid turned about its centre, linearly interpolated, with air outside."""
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*np.radians(degrees).tolist())
    direction = np.array(turn.GetMatrix()).reshape(3, 3)
    spacing = np.array(spacing or image.GetSpacing())
    length = np.linalg.norm(np.array(image.GetSize()) * image.GetSpacing())
    size = np.ceil(length / spacing).astype(int)
    centre = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
    origin = np.array(centre) - direction @ ((size - 1) / 2 * spacing)
    return sitk.Resample(
        image, size.tolist(), sitk.Transform(), sitk.sitkLinear, origin.tolist(), spacing.tolist(),
        direction.ravel().tolist(), -1024.0, sitk.sitkInt16,
    )  # fmt: skip


@dataclass
class Info:
    """The part of a ModelInfo that the segmenter looks at."""

    preprocessing: Preprocessing = field(
        default_factory=lambda: Preprocessing(spacing=1.5, context=(0.0,), window=(-200.0, 1000.0))
    )
    labels: tuple[str, ...] = ("spine",)


@dataclass
class SoftThreshold:
    """Stands in for a network: the centre channel's HU decide, softly, around 300."""

    info: Info = field(default_factory=Info)
    batches: list = field(default_factory=list)

    def batch_size(self, height, width):
        return 3

    def predict(self, batch):
        self.batches.append(batch.shape)
        low, high = self.info.preprocessing.window
        hu = batch[:, [self.info.preprocessing.context.index(0.0)]] * (high - low) + low
        return np.clip((hu - 300) / 200 + 0.5, 0, 1).astype(np.float32)
