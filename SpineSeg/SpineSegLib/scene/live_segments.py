"""Segments that fill while they are computed, beside whatever else is in their segmentation, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import slicer
import vtk

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.segments import Segment
from SpineSegLib.engine.stored_labels import NOT_COMPUTED
from SpineSegLib.scene.segmentations import (
    BINARY,
    GEOMETRY,
    KEY_TAG,
    REFERENCE_ROLE,
    SURFACE,
    Logic,
    is_made_by_us,
    labelmap_image,
    labelmap_matrix,
    matrix_of,
    segment_tag,
    segmentation_problem,
    take_place_of,
)
from SpineSegLib.scene.volumes import voxels


class LiveSegments:
    """The segments of one result in a segmentation node, filled box by box while they are computed.

    They have a layer of their own on the exact grid of the CT, so that no other segment is ever touched. Earlier
    results of the same structures are replaced, missing ones are added. `revert` puts everything back as it was.
    """

    def __init__(
        self,
        segmentation_node: slicer.vtkMRMLSegmentationNode,
        volume_node: slicer.vtkMRMLVolumeNode,
        segments: Sequence[Segment],
        keep: bool = False,
    ) -> None:
        """`keep`: start from the voxels of the earlier results instead of from nothing.

        Raises InputError where the result can't go into the node; nothing is changed then.
        """
        problem = segmentation_problem(segmentation_node, volume_node)
        if problem:
            raise InputError(problem)
        self.node = segmentation_node
        self.segments = tuple(segments)
        self.ids: dict[str, str] = {}
        self._undo: list[Callable[[], None]] = []
        if self._segmentation.GetNumberOfSegments() == 0:
            self._place(volume_node)
        self._matrix = labelmap_matrix(volume_node, segmentation_node)
        self._extent = volume_node.GetImageData().GetExtent()
        self._new_layer()
        # What the layer holds where nobody else edits it.
        self._written = np.zeros(self._layer.shape, np.uint8)
        earlier = self._earlier_results()
        for wanted in self.segments:
            if wanted.key in earlier:
                self._replace(wanted, earlier[wanted.key], [*earlier.values()], keep)
            else:
                self._add(wanted)
        self._announce()

    def problem(self) -> str | None:
        """One sentence if a person removed or locked what is being filled, else None."""
        if self.node.GetScene() is None:
            return "The segmentation was removed from the scene while it was being filled; the run was cancelled."
        if not self.node.GetSelectable():
            return "The segmentation was locked while it was being filled; the run was cancelled."
        for key, id_ in self.ids.items():
            segment = self._segmentation.GetSegment(id_)
            name = next(wanted.name for wanted in self.segments if wanted.key == key)
            if segment is None:
                return f"The segment {name} was removed while it was being filled; the run was cancelled."
            if Logic.GetSegmentStatus(segment) == Logic.Completed:
                return f"The segment {name} was marked as completed while it was filled; the run was cancelled."
        return None

    def write(self, mask: np.ndarray, box: Sequence[int]) -> None:
        """Bring the voxels of `box` into the scene: first and last + 1 of k, j and i.

        `mask` (k, j, i) is the whole mask on the CT's grid: NOT_COMPUTED, or the label value as in `segments`. Voxels
        that a person edited meanwhile change only where the mask says something new.
        """
        self._hold_layer()
        part = tuple(slice(first, last) for first, last in zip(box[::2], box[1::2], strict=True))
        new, written = mask[part], self._written[part]
        changed = (new != written) & (new != NOT_COMPUTED)
        if changed.any():
            np.copyto(self._layer[part], new, where=changed)
            np.copyto(written, new, where=changed)
            self._announce()

    def finish(self) -> None:
        """Keep what was written: the layer shrinks to what is in it, surfaces that were there are made anew."""
        self._hold_layer()
        first, last = _occupied(self._layer)
        part = tuple(slice(*ends) for ends in zip(first, last, strict=True))
        extent = [value for axis in (2, 1, 0) for value in (first[axis], last[axis] - 1)]
        image = labelmap_image(self._layer[part], self._offset(extent), self._matrix)
        surfaces = self._segmentation.ContainsRepresentation(SURFACE)
        for segment in self._own():
            segment.AddRepresentation(BINARY, image)
            segment.RemoveRepresentation(SURFACE)
        if surfaces:
            self._segmentation.CreateRepresentation(SURFACE)
        self._undo.clear()
        self._image = image
        self._announce()

    def revert(self) -> None:
        """Put the node back as it was, to the voxel; where a person removed something it stays removed."""
        self._hold_layer()
        while self._undo:
            self._undo.pop()()
        display = self.node.GetDisplayNode()
        if display is not None:
            display.Modified()

    # --- the node ---------------------------------------------------------------------------------------------------

    @property
    def _segmentation(self) -> slicer.vtkSegmentation:
        return self.node.GetSegmentation()

    def _others(self, excluded: Sequence[str]) -> dict[str, slicer.vtkSegment]:
        """All segments but those with these IDs."""
        segmentation = self._segmentation
        ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
        return {id_: segmentation.GetSegment(id_) for id_ in ids if id_ not in excluded}

    def _own(self) -> list[slicer.vtkSegment]:
        found = [self._segmentation.GetSegment(id_) for id_ in self.ids.values()]
        return [segment for segment in found if segment is not None]

    def _earlier_results(self) -> dict[str, str]:
        """Segment IDs of the earlier results by key; the last one where there are several."""
        return {
            wanted.key: id_
            for id_, segment in self._others(()).items()
            for wanted in self.segments
            if is_made_by_us(segment, wanted)
        }

    def _place(self, volume_node: slicer.vtkMRMLVolumeNode) -> None:
        """An empty node has no place of its own yet: it takes the CT's."""
        node, segmentation = self.node, self._segmentation
        transform, reference = node.GetTransformNodeID(), node.GetNodeReferenceID(REFERENCE_ROLE)
        geometry, source = segmentation.GetConversionParameter(GEOMETRY), segmentation.GetSourceRepresentationName()

        def undo() -> None:
            node.SetAndObserveTransformNodeID(transform)
            node.SetNodeReferenceID(REFERENCE_ROLE, reference)
            segmentation.SetConversionParameter(GEOMETRY, geometry)
            segmentation.SetSourceRepresentationName(source)

        self._undo.append(undo)
        segmentation.SetSourceRepresentationName(BINARY)
        take_place_of(node, volume_node)
        if node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()

    def _add(self, wanted: Segment) -> None:
        segment = slicer.vtkSegment()
        segment.SetName(wanted.name)
        segment.SetNameAutoGenerated(False)
        segment.SetColor(*wanted.colour)
        segment.SetColorAutoGenerated(False)
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), wanted.terminology_entry)
        segment.SetTag(KEY_TAG, wanted.key)
        Logic.SetSegmentStatus(segment, Logic.InProgress)
        segment.SetLabelValue(wanted.label)
        segment.AddRepresentation(BINARY, self._image)
        if self._segmentation.ContainsRepresentation(SURFACE):
            # Else one is made at once, and again whenever the views are updated.
            segment.AddRepresentation(SURFACE, vtk.vtkPolyData())
        id_ = self._segmentation.GenerateUniqueSegmentID(wanted.key)
        self._segmentation.AddSegment(segment, id_)
        self.ids[wanted.key] = id_

        def undo() -> None:
            if self._segmentation.GetSegment(id_) is segment:
                segment.RemoveAllRepresentations()  # which makes removing quick
                self._segmentation.RemoveSegment(id_)

        self._undo.append(undo)

    def _replace(self, wanted: Segment, id_: str, replaced: Sequence[str], keep: bool) -> None:
        segment = self._segmentation.GetSegment(id_)
        label, status = segment.GetLabelValue(), segment_tag(segment, Logic.GetStatusTagName())
        names: list[str] = []
        segment.GetContainedRepresentationNames(names)
        representations = {name: segment.GetRepresentation(name) for name in names}
        image = representations[BINARY]
        extent, shared = image.GetExtent(), self._shares(image, replaced)
        inside = _inside(image, label) if keep or shared else None
        if keep:
            self._paint(self._layer, image, inside, wanted.label)
            self._paint(self._written, image, inside, wanted.label)
        if shared:
            # Others paint in this layer meanwhile: a value without its segment would become that of a new one.
            np.copyto(voxels(image), 0, where=inside)

        def undo() -> None:
            if self._segmentation.GetSegment(id_) is not segment:
                return
            back, value = image, label
            if shared:
                others = self._labels_in(image, (id_,))
                if (
                    others
                    and label not in others
                    and image.GetExtent() == extent
                    and not voxels(image).any(where=inside)
                ):
                    np.copyto(voxels(image), label, where=inside)
                else:  # others changed the layer meanwhile
                    back, value = labelmap_image(inside.astype(np.uint8), extent[::2], matrix_of(image)), 1
            segment.RemoveAllRepresentations()
            segment.SetLabelValue(value)
            for name, representation in (representations | {BINARY: back}).items():
                segment.AddRepresentation(name, representation)
            if status:
                segment.SetTag(Logic.GetStatusTagName(), status)
            else:
                segment.RemoveTag(Logic.GetStatusTagName())

        self._undo.append(undo)
        segment.SetLabelValue(wanted.label)
        segment.AddRepresentation(BINARY, self._image)
        for name in names:
            if name == SURFACE:
                segment.AddRepresentation(SURFACE, vtk.vtkPolyData())
            elif name != BINARY:
                segment.RemoveRepresentation(name)
        Logic.SetSegmentStatus(segment, Logic.InProgress)
        self.ids[wanted.key] = id_

    # --- the layer --------------------------------------------------------------------------------------------------

    def _new_layer(self) -> None:
        """`_layer` (k, j, i) and the image that shows it; memory is used only where something is written."""
        i0, i1, j0, j1, k0, k1 = self._extent
        self._layer = np.zeros((k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1), np.uint8)
        self._image = labelmap_image(self._layer, self._extent[::2], self._matrix, deep=False)
        self._scalars = self._image.GetPointData().GetScalars()

    def _hold_layer(self) -> None:
        """Make sure that the own segments, and only they, have the layer.

        Slicer's editor shrinks a layer to what is in it, puts new segments into layers that exist, and saving merges
        layers.
        """
        for id_, segment in self._others([*self.ids.values()]).items():
            if segment.GetRepresentation(BINARY) is self._image:
                self._segmentation.SeparateSegmentLabelmap(id_)
        own = {key: self._segmentation.GetSegment(id_) for key, id_ in self.ids.items()}
        labels = {wanted.key: wanted.label for wanted in self.segments}
        if (
            self._image.GetExtent() == self._extent
            and self._image.GetPointData().GetScalars() is self._scalars
            and all(
                segment.GetRepresentation(BINARY) is self._image and segment.GetLabelValue() == labels[key]
                for key, segment in own.items()
                if segment is not None
            )
        ):
            return
        self._new_layer()
        for key, segment in own.items():
            if segment is None:
                continue
            image = segment.GetRepresentation(BINARY)
            if image is not None:
                inside = _inside(image, segment.GetLabelValue())
                self._paint(self._layer, image, inside, labels[key])
                if self._shares(image, [*self.ids.values()]):
                    np.copyto(voxels(image), 0, where=inside)
            segment.SetLabelValue(labels[key])
            segment.AddRepresentation(BINARY, self._image)

    def _paint(self, layer: np.ndarray, image: slicer.vtkOrientedImageData, inside: np.ndarray, label: int) -> None:
        """Put voxels of another image, `inside` (k, j, i) of it, into an array on the layer's grid."""
        if not inside.any():
            return
        matrix = matrix_of(image)
        if not np.allclose(matrix, self._matrix, atol=1e-5):
            binary = labelmap_image(inside.astype(np.uint8), image.GetExtent()[::2], matrix)
            image = slicer.vtkOrientedImageData()
            slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
                binary, self._image, image, False
            )
            inside = voxels(image) != 0
        start = np.array(image.GetExtent()[::2][::-1]) - self._extent[::2][::-1]
        low = np.maximum(start, 0)
        high = np.minimum(start + inside.shape, layer.shape)
        target = layer[tuple(map(slice, low, np.maximum(high, low)))]
        part = inside[tuple(map(slice, low - start, np.maximum(high, low) - start))]
        target[...] = np.where(part, np.uint8(label), target)  # several times as fast as np.copyto(where=)

    def _shares(self, image: vtk.vtkDataObject, excluded: Sequence[str]) -> bool:
        """Whether a segment other than those with these IDs has its voxels in `image`."""
        return any(segment.GetRepresentation(BINARY) is image for segment in self._others(excluded).values())

    def _labels_in(self, image: vtk.vtkDataObject, excluded: Sequence[str]) -> set[int]:
        others = self._others(excluded).values()
        return {segment.GetLabelValue() for segment in others if segment.GetRepresentation(BINARY) is image}

    def _offset(self, extent: Sequence[int]) -> list[int]:
        return [first + start for first, start in zip(extent[::2], self._extent[::2], strict=True)]

    def _announce(self) -> None:
        """Have the views drawn anew.

        The image's own ModifiedEvent would throw away the surfaces of all segments.
        """
        self._image.GetPointData().GetScalars().Modified()
        display = self.node.GetDisplayNode()
        if display is not None:
            display.Modified()


def _inside(image: slicer.vtkOrientedImageData, label: int) -> np.ndarray:
    """Where an image (k, j, i) has this label."""
    if image.GetNumberOfPoints() == 0:
        return np.zeros(np.maximum(image.GetDimensions()[::-1], 0), bool)
    return voxels(image) == label


def _occupied(array: np.ndarray) -> tuple[list[int], list[int]]:
    """First and last + 1 of each axis of the box that holds all that isn't zero; zeros where there is nothing."""
    slices = np.flatnonzero([plane.max() for plane in array])
    if not len(slices):
        return [0, 0, 0], [0, 0, 0]
    plane = np.maximum.reduce(array[slices[0] : slices[-1] + 1], axis=0)
    found = [slices, np.flatnonzero(plane.max(axis=1)), np.flatnonzero(plane.max(axis=0))]
    return [int(each[0]) for each in found], [int(each[-1]) + 1 for each in found]
