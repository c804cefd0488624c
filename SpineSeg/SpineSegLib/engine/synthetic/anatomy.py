"""A patient as tissues and bone surfaces on an isotropic grid, and how to bend one into another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from SpineSegLib.engine.synthetic.random_fields import smooth_noise
from SpineSegLib.engine.synthetic.tissues import BONES, SPINE, Tissue, signed_depth


@dataclass(frozen=True)
class Anatomy:
    """One patient, arrays z (head), y (posterior), x (left), isotropic `spacing` in mm.

    `tissue`: uint8 Tissue codes. `vertebrae`: uint8, VerSe numbers (C1-7 1-7, T1-12 8-19, L1-6 20-25), 26 sacrum.
    `spine_depth`, `bone_depth`: float16, depth in mm below the surface of the voxel's own vertebra or sacrum, and of
    any other bone; positive inside.
    """

    name: str
    tissue: np.ndarray
    vertebrae: np.ndarray
    spine_depth: np.ndarray
    bone_depth: np.ndarray
    spacing: float

    @classmethod
    def from_tissue(cls, name: str, tissue: np.ndarray, vertebrae: np.ndarray, spacing: float) -> Anatomy:
        """Measure the bones' depths of a tissue map; vertebrae that touch keep their own surfaces."""
        spine = np.isin(tissue, SPINE)
        other = np.isin(tissue, BONES) & ~spine
        return cls(
            name,
            tissue,
            np.where(spine, vertebrae, 0).astype(np.uint8),
            own_depth(vertebrae, spacing),
            signed_depth(other, spacing).astype(np.float16)
            if other.any()
            else np.full(tissue.shape, -100, dtype=np.float16),
            spacing,
        )


def own_depth(labels: np.ndarray, spacing: float, margin: float = 6.0) -> np.ndarray:
    """Depth in mm (float16) below the surface of the label a voxel is nearest to, -margin far outside."""
    depth = np.full(labels.shape, -margin, dtype=np.float32)
    pad = int(np.ceil(margin / spacing))
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        wide = tuple(slice(max(0, s.start - pad), s.stop + pad) for s in box)
        np.maximum(depth[wide], signed_depth(labels[wide] == value, spacing), out=depth[wide])
    return depth.astype(np.float16)


@dataclass(frozen=True)
class Deformation:
    """Random but smooth change of shape about the centre of the produced volume.

    `matrix`: 3x3 from produced to source millimetres (z, y, x). `waves`: list of (amplitude mm, grain mm) of elastic
    displacement. `curve`: lateral amplitude (mm), length (mm) and phase of a scoliotic bend. `mirror` swaps the sides.
    `squeeze`: height above the centre (mm), extent (mm), factor at the front and at the back: the layer there is
    flattened as by a compression fracture or a worn disc.
    """

    matrix: np.ndarray
    waves: tuple[tuple[float, float], ...]
    curve: tuple[float, float, float]
    mirror: bool
    squeeze: tuple[float, float, float, float]

    @classmethod
    def random(cls, rng: np.random.Generator) -> Deformation:
        # Strong on purpose: a few patients are to stand for many.
        angles = np.radians(rng.normal(0, 8.0, 3))  # about z, y, x
        size = rng.uniform(0.8, 1.2)
        scale = np.diag(1.0 / (size * np.exp(rng.normal(0, 0.09, 3))))
        shear = np.eye(3) + rng.normal(0, 0.045, (3, 3)) * (1 - np.eye(3))
        curve_height = 0.0 if rng.random() < 0.6 else rng.uniform(5, 25)
        front, back = (rng.uniform(1.0, 1.7), rng.uniform(1.0, 1.15)) if rng.random() < 0.3 else (1.0, 1.0)
        return cls(
            scale @ shear @ _rotation(*angles),
            ((rng.uniform(0, 9), 55.0), (rng.uniform(0, 5), 28.0), (rng.uniform(0, 2.0), 13.0)),
            (curve_height, rng.uniform(120, 320), rng.uniform(0, 2 * np.pi)),
            bool(rng.random() < 0.5),
            (rng.uniform(-60, 60), rng.uniform(15, 30), front, back),
        )

    def source_points(
        self, shape: tuple[int, int, int], spacing: float, centre: np.ndarray, rng: np.random.Generator
    ) -> list[np.ndarray]:
        """Where each produced voxel comes from: three float32 arrays, millimetres z, y, x in the source."""
        axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * np.float32(spacing) for n in shape]
        z, y, x = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
        height, length, phase = self.curve
        bend = height * np.sin(2 * np.pi * z / length + phase)
        x = (-x if self.mirror else x) + bend.astype(np.float32)
        middle, extent, front, back = self.squeeze
        factor = back + (front - back) / (1 + np.exp((y + 5) / 8))
        z = z + (factor - 1) * np.clip(z - middle, -extent / 2, extent / 2)
        m = self.matrix.astype(np.float32)
        points = [centre[i] + m[i, 0] * z + m[i, 1] * y + m[i, 2] * x for i in range(3)]
        for amplitude, grain in self.waves:
            if amplitude > 0:
                for p in points:
                    p += np.float32(amplitude / 2) * smooth_noise(shape, grain / spacing, rng)
        return points


def warp(
    anatomy: Anatomy,
    shape: tuple[int, int, int],
    centre: np.ndarray,
    deformation: Deformation,
    rng: np.random.Generator,
) -> Anatomy:
    """Cut a deformed volume of `shape` voxels (z, y, x) whose centre lies at `centre` (mm z, y, x in the source).

    Outside the source there is air.
    """
    points = deformation.source_points(shape, anatomy.spacing, centre, rng)
    index = [p / np.float32(anatomy.spacing) for p in points]
    nearest = [np.rint(i).astype(np.int32) for i in index]
    inside = np.ones(shape, dtype=bool)
    for n, size in zip(nearest, anatomy.tissue.shape, strict=True):
        inside &= (n >= 0) & (n < size)
        np.clip(n, 0, size - 1, out=n)
    flat = np.ravel_multi_index(tuple(nearest), anatomy.tissue.shape)
    tissue = np.where(inside, anatomy.tissue.ravel()[flat], np.uint8(Tissue.AIR))
    vertebrae = np.where(inside, anatomy.vertebrae.ravel()[flat], np.uint8(0))
    # Away from bone the depth is of no interest, so only the neighbourhood of bone is interpolated.
    depths = []
    for depth in (anatomy.spine_depth, anatomy.bone_depth):
        result = np.full(shape, -6.0, dtype=np.float32)
        near = inside & (depth.ravel()[flat] > -3.0)
        result[near] = _linear(depth, [i[near] for i in index])
        depths.append(result)
    return Anatomy(anatomy.name, tissue, vertebrae, depths[0], depths[1], anatomy.spacing)


def spine_kinds(anatomy: Anatomy) -> np.ndarray:
    """What each voxel of the spine belongs to (uint8, z, y, x): 1 vertebrae, 2 sacrum."""
    return np.where(anatomy.vertebrae == 26, 2, anatomy.vertebrae > 0).astype(np.uint8)


def roughen(anatomy: Anatomy, uneven: float, spurs: float, swelling: float, rng: np.random.Generator) -> Anatomy:
    """Give the spine's surface an unevenness of `uneven` mm and bony spurs of up to about `spurs` mm, and move that of
    the other bones outwards by `swelling` mm (inwards where it is less than 0), which changes the joints with them.

    Spurs grow in patches, so that some join neighbours across a disc or a joint; none grows into the canal.
    """
    shape, depth = anatomy.tissue.shape, anatomy.spine_depth
    near = depth > -3
    change = np.float32(uneven) * smooth_noise(shape, 4.0 / anatomy.spacing, rng)
    if spurs > 0:
        lumps = np.clip(smooth_noise(shape, 9.0 / anatomy.spacing, rng) - 0.8, 0, 1.2) / 1.2
        lumps[np.isin(anatomy.tissue, (Tissue.CANAL, Tissue.CORD))] = 0
        change += np.float32(spurs) * lumps
    return replace(
        anatomy,
        spine_depth=np.where(near, depth + change, depth),
        bone_depth=anatomy.bone_depth + np.float32(swelling),
    )


def _rotation(about_z: float, about_y: float, about_x: float) -> np.ndarray:
    """Rotation matrix in z, y, x order of axes."""
    result = np.eye(3)
    for (i, j), angle in zip(((1, 2), (0, 2), (0, 1)), (about_z, about_y, about_x), strict=True):
        turn = np.eye(3)
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        result = result @ turn
    return result


def _linear(volume: np.ndarray, index: list[np.ndarray]) -> np.ndarray:
    """Trilinear interpolation of `volume` at fractional indices (three 1-D arrays)."""
    low = [np.clip(np.floor(i).astype(np.int32), 0, n - 2) for i, n in zip(index, volume.shape, strict=True)]
    part = [np.clip(i - lo, 0, 1).astype(np.float32) for i, lo in zip(index, low, strict=True)]
    strides = (volume.shape[1] * volume.shape[2], volume.shape[2], 1)
    base = low[0] * strides[0] + low[1] * strides[1] + low[2]
    flat = volume.ravel()
    result = np.zeros(index[0].shape, dtype=np.float32)
    for corner in range(8):
        bits = [(corner >> k) & 1 for k in range(3)]
        weight = np.ones_like(result)
        offset = 0
        for k in range(3):
            weight *= part[k] if bits[k] else 1 - part[k]
            offset += bits[k] * strides[k]
        result += weight * flat[base + offset]
    return result
