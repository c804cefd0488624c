"""The patient while it is being built: tissue codes, vertebra numbers and depths below bone surfaces on one grid."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from SpineSegLib.engine.synthetic.anatomy import Anatomy
from SpineSegLib.engine.synthetic.implicit import WORLD, Frame, Grid, Patch, Shape, Slices
from SpineSegLib.engine.synthetic.tissues import BONES, SPINE, Tissue

OUTSIDE = -6.0  # depth in mm stored where no bone is near
_IS_BONE = np.isin(np.arange(256), BONES)


class Canvas:
    """Arrays (z, y, x) on `grid`: `tissue` and `vertebrae` uint8, `spine_depth` and `bone_depth` float16 mm.

    Soft tissue never overwrites bone, and bone never overwrites other bone.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.tissue = np.full(grid.shape, np.uint8(Tissue.AIR))
        self.vertebrae = np.zeros(grid.shape, np.uint8)
        self.spine_depth = np.full(grid.shape, OUTSIDE, np.float16)
        self.bone_depth = np.full(grid.shape, OUTSIDE, np.float16)

    @classmethod
    def on(cls, anatomy: Anatomy) -> Canvas:
        """A canvas that goes on from a copy of a finished patient; its grid begins at the origin."""
        canvas = cls.__new__(cls)
        canvas.grid = Grid(anatomy.tissue.shape, anatomy.spacing, (0.0, 0.0, 0.0))
        canvas.tissue, canvas.bone_depth = anatomy.tissue.copy(), anatomy.bone_depth.copy()
        canvas.vertebrae, canvas.spine_depth = anatomy.vertebrae, anatomy.spine_depth
        return canvas

    def bone(self, patch: Patch, tissue: Tissue, number: int = 0) -> None:
        """Draw a bone from its signed distance; `number` is its VerSe number where it belongs to the spine."""
        if patch.empty:
            return
        target = self.tissue[patch.where]
        free = ~_IS_BONE[target]
        inside = (patch.distance < 0) & free
        target[inside] = tissue
        spine = tissue in SPINE
        depth = (self.spine_depth if spine else self.bone_depth)[patch.where]
        near = (patch.distance < -OUTSIDE) & (free | (patch.distance > 0))
        depth[near] = np.maximum(depth[near], -patch.distance[near].astype(np.float16))
        if spine:
            self.vertebrae[patch.where][inside] = number

    def soft(self, patch: Patch, tissue: Tissue, within: Iterable[Tissue] | None = None) -> None:
        """Draw soft tissue from its signed distance; `within` limits it to voxels that hold one of these tissues."""
        if not patch.empty:
            self.fill(patch.where, patch.distance < 0, tissue, within)

    def shapes(
        self,
        shapes: Iterable[Shape],
        tissue: Tissue,
        frame: Frame = WORLD,
        blend: float = 0.0,
        within: Iterable[Tissue] | None = None,
        bend: tuple[np.random.Generator, float] | None = None,
    ) -> None:
        """Draw the union of `shapes` as soft tissue; `bend` = (rng, mm) makes its outline irregular."""
        shapes = list(shapes)
        patch = union(self.grid, shapes, frame, blend, bend)
        self.soft(patch, tissue, within)

    def fill(self, where: Slices, mask: np.ndarray, tissue: Tissue, within: Iterable[Tissue] | None = None) -> None:
        """Draw soft tissue where `mask` (boolean, on the voxels `where`) is set."""
        target = self.tissue[where]
        codes = ~_IS_BONE if within is None else np.isin(np.arange(256), [int(t) for t in within])
        allowed = codes[target]
        target[mask & allowed] = tissue

    def implant(self, shapes: Iterable[Shape], tissue: Tissue, inside_spine: bool = False) -> None:
        """Draw metal or cement over everything, or only inside the spine; vertebra numbers and depths stay."""
        patch = union(self.grid, list(shapes), WORLD, 0.0, None)
        if patch.empty:
            return
        mask = patch.distance < 0
        if inside_spine:
            mask &= self.spine_depth[patch.where] > 0.8
        self.tissue[patch.where][mask] = tissue

    def anatomy(self, name: str) -> Anatomy:
        """The finished patient."""
        return Anatomy(name, self.tissue, self.vertebrae, self.spine_depth, self.bone_depth, self.grid.spacing)


def union(
    grid: Grid,
    shapes: list[Shape],
    frame: Frame = WORLD,
    blend: float = 0.0,
    bend: tuple[np.random.Generator, float] | None = None,
) -> Patch:
    """Patch that holds all `shapes`, joined with a fillet of `blend` mm."""
    boxes = [shape.bounds() for shape in shapes]
    low = np.min([b[0] for b in boxes], axis=0) - 4
    high = np.max([b[1] for b in boxes], axis=0) + 4
    patch = Patch(grid, frame, low, high)
    if bend is not None:
        patch.roughen(*bend, grain=40.0)
    for shape in shapes:
        patch.add(shape, blend)
    return patch
