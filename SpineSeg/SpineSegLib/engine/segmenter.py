"""Segmenting a CT slice by slice."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import SimpleITK as sitk

from SpineSegLib.engine.axial import AxialSlices, Grid
from SpineSegLib.engine.errors import ModelError
from SpineSegLib.engine.postprocessing import tidy
from SpineSegLib.engine.segments import segments_for
from SpineSegLib.engine.stored_labels import labels_on_stored_grid
from SpineSegLib.engine.volume import Volume

if TYPE_CHECKING:
    from SpineSegLib.engine.model_file import ModelInfo


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

    `probabilities` are float32 (labels, y, x) on the working grid.
    """

    index: int
    count: int
    position: float
    probabilities: np.ndarray


class Segmentation:
    """The segmentation of one CT in the making.

    Iterate over it to compute it: finished slices come in order from the feet to the head. Leaving the loop early, or
    closing the iterator, cancels and leaves nothing running. Then ask for `labelmap`.
    """

    def __init__(self, volume: Volume, network: Predictor, whole: bool = False) -> None:
        """`whole`: look at the whole field of view and not only at the region around the body.

        Raises ModelError if the model segments what this version doesn't know.
        """
        try:
            self.segments = segments_for(network.info.labels)
        except KeyError as unknown:
            raise ModelError(
                f"The model segments {unknown}, which this SpineSeg doesn't know; update SpineSeg to use it."
            ) from None
        self.volume = volume
        self.network = network
        self._slices = AxialSlices(volume.image, network.info.preprocessing, whole)
        self._done = 0
        # what is never written stays unused memory: the background of a large field of view costs nothing
        self._probabilities = np.zeros((len(network.info.labels), *self._slices.grid.shape), dtype=np.uint8)

    @property
    def grid(self) -> Grid:
        """The working grid."""
        return self._slices.grid

    def __len__(self) -> int:
        return self._slices.grid.shape[0]

    def __iter__(self) -> Iterator[FinishedSlice]:
        self._done = 0
        along, rows, columns = self._slices.region
        size = self.network.batch_size(rows.stop - rows.start, columns.stop - columns.start)
        bounds = [(first, min(first + size, along.stop)) for first in range(along.start, along.stop, size)]
        yield from self._empty(0, along.start)
        # the next batch is prepared while the network works on this one
        with ThreadPoolExecutor(max_workers=1) as preparing:
            coming = preparing.submit(self._slices.batch, *bounds[0])
            for n, (first, last) in enumerate(bounds):
                batch = coming.result()
                if n + 1 < len(bounds):
                    coming = preparing.submit(self._slices.batch, *bounds[n + 1])
                predicted = self.network.predict(batch)
                quantised = np.round(predicted * 255).astype(np.uint8)
                self._probabilities[:, first:last, rows, columns] = quantised.swapaxes(0, 1)
                for index in range(first, last):
                    plane = np.zeros((len(self._probabilities), *self.grid.shape[1:]), dtype=np.float32)
                    plane[:, rows, columns] = predicted[index - first]
                    yield self._finished(index, plane)
        yield from self._empty(along.stop, len(self))

    def labelmap(self, postprocess: bool = True) -> sitk.Image:
        """The segmentation on the CT's own grid (uint8, label values as in `segments`), once all slices are done.

        `postprocess`: tidy up first, see `postprocessing`. Raises RuntimeError where slices are missing.
        """
        if self._done < len(self):
            raise RuntimeError("not all slices are segmented yet")
        threshold = self.network.info.preprocessing.threshold
        probabilities = self._probabilities
        if postprocess:
            region = (slice(None), *self._slices.region)
            probabilities = np.zeros(self._probabilities.shape, dtype=np.uint8)
            probabilities[region] = self._probabilities[region]
            tidy(probabilities, self.grid.spacing, threshold)
        values = [segment.label for segment in self.segments]
        return labels_on_stored_grid(probabilities, self.grid, self.volume.image, threshold, values)

    def _empty(self, first: int, last: int) -> Iterator[FinishedSlice]:
        """Slices without a body in them need no network."""
        for index in range(first, last):
            yield self._finished(index, np.zeros((len(self._probabilities), *self.grid.shape[1:]), dtype=np.float32))

    def _finished(self, index: int, plane: np.ndarray) -> FinishedSlice:
        self._done = index + 1
        return FinishedSlice(index, len(self), self._slices.position(index), plane)
