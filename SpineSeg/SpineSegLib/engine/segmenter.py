"""Segmenting a CT slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.axial import AxialSlices
from SpineSegLib.engine.errors import ModelError
from SpineSegLib.engine.padding import find_padding
from SpineSegLib.engine.postprocessing import Tidying, tidy
from SpineSegLib.engine.probabilities import Box, Probabilities, sparse_zeros
from SpineSegLib.engine.search import Search, Window
from SpineSegLib.engine.segments import segments_for
from SpineSegLib.engine.stored_labels import NOT_COMPUTED, Decision, way_back
from SpineSegLib.engine.volume import Grid, Volume

if TYPE_CHECKING:
    from SpineSegLib.engine.models.model_file import ModelInfo

CONTINUED = 15.0  # mm that a region's end slices are thought to go on beyond it, see `Segmentation.write_labels`
# Of what is cut off by a region's ends nobody knows how much there is, so only what is clearly no spine goes.
IN_REGION = Tidying(far_island=3_000.0, far_share=0.0)


class Predictor(Protocol):
    """What the segmenter needs of a network."""

    info: ModelInfo

    def batch_size(self, height: int, width: int) -> int:
        """How many slices of this size to give at once."""

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Normalised float32 (n, channels, y, x) to the probability of each label (n, labels, y, x)."""


@dataclass(frozen=True)
class FinishedSlice:
    """One axial slice, done: the `index`-th of `count` from the feet, at `position` mm (LPS z).

    `shape`: labels, y, x of the working grid; `parts`: as in `Seen`.
    """

    index: int
    count: int
    position: float
    shape: tuple[int, int, int]
    parts: list[tuple[Window, np.ndarray]]

    @property
    def probabilities(self) -> np.ndarray:
        """Of each label, float32 (labels, y, x) on the working grid."""
        plane = np.zeros(self.shape, dtype=np.float32)
        for window, probabilities in self.parts:
            plane[:, *window] = probabilities
        return plane


class Segmentation:
    """The segmentation of one CT in the making.

    Iterate over it to compute it: finished slices come in order from the feet to the head. Leaving the loop early, or
    closing the iterator, cancels and leaves nothing running. In between ask `write_decided` for the labels so far, at
    the end `labelmap` or `write_labels` for all.
    """

    def __init__(
        self, volume: Volume, network: Predictor, whole: bool = False, region: tuple[float, float] | None = None
    ) -> None:
        """`whole`: look at the whole field of view in each slice and not only where there can be spine, see `search`.

        `region`: lowest and highest position in mm (LPS z) to segment, None for all; both the same for the one axial
        slice that is nearest. Only the slices that the voxels in it come from are computed.

        Raises ModelError if the model segments what this version doesn't know, InputError where the CT has no voxel in
        the region.
        """
        try:
            self.segments = segments_for(network.info.labels)
        except KeyError as unknown:
            raise ModelError(
                f"The model segments {unknown}, which this SpineSeg doesn't know; update SpineSeg to use it."
            ) from None
        self.volume = volume
        self.network = network
        self._partial = region is not None
        self._threshold = network.info.preprocessing.threshold
        self._whole = whole
        padding = find_padding(volume.array, volume.grid.spacing)
        self._slices = AxialSlices(volume, network.info.preprocessing, whole, padding)
        decision = Decision(self._threshold, tuple(segment.label for segment in self.segments))
        self._back = way_back(self.grid, volume.grid, decision, region, padding)
        self._needed = self._back.needed
        along, rows, columns = self._slices.region
        first = min(max(along.start, self._needed.start), self._needed.stop)
        last = max(first, min(along.stop, self._needed.stop))
        self._slices = self._slices.part(slice(first, last), rows, columns)
        self._done = self._needed.start
        self._written = self._back.start
        # what is never written stays unused memory: the background of a large field of view costs nothing
        self._probabilities = Probabilities(sparse_zeros((len(network.info.labels), *self.grid.shape)), self._threshold)

    @property
    def grid(self) -> Grid:
        """The working grid."""
        return self._slices.grid

    @property
    def left_to_compute(self) -> int:
        """Number of slices that the network still has to work on; slices without a body need none."""
        along = self._slices.region[0]
        return max(0, along.stop - max(along.start, self._done))

    def __len__(self) -> int:
        return self._needed.stop - self._needed.start

    def __iter__(self) -> Iterator[FinishedSlice]:
        self._done, self._written = self._needed.start, self._back.start
        along = self._slices.region[0]
        yield from self._empty(self._needed.start, along.start)
        search = Search(self._slices, self.network)
        for seen in search.everywhere() if self._whole else search.spine():
            parts = [(window, self._scanned(seen.index, window, each)) for window, each in seen.parts]
            for window, probabilities in parts:
                self._probabilities.values[:, seen.index, *window] = np.round(probabilities * 255)
                self._probabilities.look(seen.index, *window)
            yield self._finished(seen.index, parts)
        yield from self._empty(along.stop, self._needed.stop)

    def write_decided(self, labels: np.ndarray) -> Box | None:
        """Write what the slices finished so far say and was not yet written, not tidied.

        `labels`: uint8 (k, j, i) on the CT's own grid. Only voxels in and around the foreground are written; gives the
        box that holds them, None where there are none. Voxels of an oblique CT are written for several slices at once.
        """
        limit = self._back.limit(self._done)
        if not self._back.ripe(self._written, limit):
            return None
        first, self._written = self._written, limit
        return self._back.fill(labels, self._probabilities, first, limit)

    def write_labels(
        self, labels: np.ndarray, postprocess: bool = True, check: Callable[[], None] = lambda: None
    ) -> Box | None:
        """Write the segmentation, once all slices are done, into all voxels of the region and none outside it.

        `labels`: uint8 (k, j, i) on the CT's own grid, gets label values as in `segments`. Gives the box that holds the
        labels, None where there are none. Raises RuntimeError where slices are missing.

        `postprocess`: tidy up first, see `postprocessing`. What a region cuts off can't be judged by its size there, so
        its end slices are thought to go on unchanged for `CONTINUED` mm: of a single slice, spots of less than about
        10 mm² go, and those of less than about 100 mm² that are far from the rest; the spinal canal is no hole.
        `check` is called now and then while tidying, and may raise: nothing is written then.
        """
        if self._done < self._needed.stop:
            raise RuntimeError("not all slices are segmented yet")
        probabilities = self._tidied(check) if postprocess else self._probabilities
        self._back.clear(labels)
        return self._fill(labels, probabilities)

    def labelmap(self, postprocess: bool = True) -> sitk.Image:
        """What `write_labels` gives as an image (uint8), `NOT_COMPUTED` outside the region.

        Raises RuntimeError where slices are missing.
        """
        if self._done < self._needed.stop:
            raise RuntimeError("not all slices are segmented yet")
        probabilities = self._tidied() if postprocess else self._probabilities
        # as with the probabilities, background that is never written stays unused memory
        labels = sparse_zeros(self.volume.grid.shape)
        if self._partial:
            labels += NOT_COMPUTED
            self._back.clear(labels)
        self._fill(labels, probabilities)
        return self.volume.grid.image(labels)

    def _fill(self, labels: np.ndarray, probabilities: Probabilities) -> Box | None:
        """Write all labels of the region into `labels` (k, j, i), which holds background there."""
        return self._back.fill(labels, probabilities, self._back.start, self._back.limit(self._needed.stop))

    def _tidied(self, check: Callable[[], None] = lambda: None) -> Probabilities:
        """A tidy copy of the probabilities in and around the foreground."""
        reach = self._back.reach
        box = self._probabilities.box(self._needed, 2 * reach + 1)  # voxels beside the foreground reach as far again
        if box is None:
            return self._probabilities
        along, (rows, columns) = self._needed, box[1:]
        shape = (*self._probabilities.values.shape[:2], rows.stop - rows.start, columns.stop - columns.start)
        result = Probabilities(np.zeros(shape, dtype=np.uint8), self._threshold, (rows.start, columns.start))
        inner = result.values[:, along]
        inner[...] = self._probabilities.part(along, rows, columns)
        more = round(CONTINUED / self.grid.spacing[0])
        below = more if self._needed.start > 0 else 0
        above = more if self._needed.stop < self.grid.shape[0] else 0
        if below or above:
            continued = np.pad(inner, ((0, 0), (below, above), (0, 0), (0, 0)), mode="edge")
            tidy(continued, self.grid.spacing, self._threshold, IN_REGION, check, reach)
            inner[...] = continued[:, below : below + len(self)]
        else:
            tidy(inner, self.grid.spacing, self._threshold, check=check, margin=reach)
        for z in range(along.start, along.stop):
            result.look(z, rows, columns)
        return result

    def _scanned(self, index: int, window: Window, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities (labels, y, x) without those where the CT tells nothing: they would count as spine in tidying,
        and as doubt."""
        scanned = self._slices.scanned(index, *window)
        return probabilities if scanned is None else probabilities * scanned

    def _empty(self, first: int, last: int) -> Iterator[FinishedSlice]:
        """Slices without a body in them need no network."""
        for index in range(first, last):
            yield self._finished(index, [])

    def _finished(self, index: int, parts: list[tuple[Window, np.ndarray]]) -> FinishedSlice:
        self._done = index + 1
        shape = (len(self._probabilities.values), *self.grid.shape[1:])
        return FinishedSlice(index - self._needed.start, len(self), self._slices.position(index), shape, parts)
