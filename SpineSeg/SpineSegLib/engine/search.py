"""Where in a CT the network looks: at the whole body in some slices, between them only around what is found there.

Looks are so near to each other that no part of a spine hides between them: a network that is always right would lose
nothing with looks every 25 mm either (16 masks of phantoms and patients). Where spine comes near the edge of what was
looked at, the network looks at more of that slice.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from SpineSegLib.engine.axial import AxialSlices
from SpineSegLib.engine.conveyor import Conveyor, ahead

if TYPE_CHECKING:
    from concurrent.futures import Future

    from SpineSegLib.engine.segmenter import Predictor

LOOK_EVERY = 20.0  # mm between two looks at the whole body
LIKELY = 0.2  # from this probability on a pixel may be spine
NEAR = 20.0  # mm between pixels of one spine in a slice: the tip of a process and the rest
SPECK = 40.0  # mm²; what is smaller and not near more of it isn't followed to the next slices
MARGIN = 16.0  # mm around what is found; 20 mm are 1.2 times as many pixels of a chest CT
EDGE = 8.0  # mm from where the network couldn't see on: spine this near means that it must look again
SIDES = (96.0, 128.0, 160.0, 192.0, 224.0)  # mm of the squares it looks at: few, as it is prepared anew for each
MULTIPLE = 32  # of pixels that these have
WHOLE = 0.7  # share of the body's pixels from which on it is not worth to look at less

Window = tuple[slice, slice]  # rows and columns of the working grid


@dataclass(frozen=True)
class Seen:
    """What the network says of a slice: windows and their float32 (labels, y, x). All else is no spine.

    Where windows overlap, any of them holds.
    """

    index: int
    parts: list[tuple[Window, np.ndarray]]


class Search:
    """Runs the network over the region of `slices`, in ascending order."""

    def __init__(self, slices: AxialSlices, network: Predictor) -> None:
        self._slices = slices
        self._network = network
        self._threshold = network.info.preprocessing.threshold
        self._pixel = slices.grid.spacing[1]
        self._body: Window = slices.region[1:]
        self._sides = [-(-round(side / self._pixel) // MULTIPLE) * MULTIPLE for side in SIDES]

    def everywhere(self) -> Iterator[Seen]:
        """Look at all there is."""
        along = self._slices.region[0]
        if along.start == along.stop:
            return
        with Conveyor(self._network) as conveyor:
            yield from self._looks([self._slices], along.start, along.stop, conveyor)

    def spine(self) -> Iterator[Seen]:
        """Look where there can be spine."""
        along = self._slices.region[0]
        step = max(1, round(LOOK_EVERY / self._slices.grid.spacing[0]))
        looks = sorted({*range(along.start, along.stop, step), *range(along.start, along.stop)[-1:]})
        before: list[Window] = []
        with Conveyor(self._network) as conveyor:
            inputs = ahead(self._input(index, self._body, conveyor) for index in looks)
            predictions = ahead(conveyor.predicted(each) for each in inputs)
            for n, (index, prediction) in enumerate(zip(looks, predictions, strict=True)):
                predicted = prediction.result()[0]
                found = self._found(predicted)
                if n > 0:
                    yield from self._between(looks[n - 1] + 1, index, before + found, conveyor)
                yield self._around_found(index, predicted, found)
                before = found

    def _between(self, first: int, last: int, found: Sequence[Window], conveyor: Conveyor) -> Iterator[Seen]:
        """Slices first to last - 1, where spine was found in `found` in the slices before and after them.

        Where it wasn't, one more look in the middle tells whether there is a small part of it in between.
        """
        if first == last:
            return
        if not found:
            middle = (first + last) // 2
            predicted = conveyor.predicted(self._input(middle, self._body, conveyor)).result()[0]
            found = self._found(predicted)
            if not found:
                yield from (Seen(index, []) for index in range(first, last))
                return
            yield from self._between(first, middle, found, conveyor)
            yield self._around_found(middle, predicted, found)
            yield from self._between(middle + 1, last, found, conveyor)
            return
        windows = self._windows(found)
        parts = [self._slices.part(slice(first, last), *window) for window in windows]
        for seen in self._looks(parts, first, last, conveyor):
            yield Seen(seen.index, [self._completed(seen.index, *part, found, conveyor) for part in seen.parts])

    def _completed(
        self, index: int, window: Window, probabilities: np.ndarray, found: Sequence[Window], conveyor: Conveyor
    ) -> tuple[Window, np.ndarray]:
        """Look at wider windows as long as spine is cut off."""
        while self._cut(window, probabilities, found):
            window = self._square(self._grown(window))  # each step waits for the network, so let it be a long one
            probabilities = conveyor.predicted(self._input(index, window, conveyor)).result()[0]
        return window, probabilities

    def _looks(self, parts: Sequence[AxialSlices], first: int, last: int, conveyor: Conveyor) -> Iterator[Seen]:
        """Slices first to last - 1 within the rows and columns of some parts of them.

        While the network works on one batch, the next is ready for it, and the one after that is prepared. All are of
        about the same size, as few as possible.
        """
        windows = [part.region[1:] for part in parts]
        most = min(self._network.batch_size(*_shape(window)) for window in windows)
        bounds = np.linspace(first, last, -(-(last - first) // most) + 1).round().astype(int).tolist()
        batches = list(itertools.pairwise(bounds))
        inputs = ahead([conveyor.prepared(part, *batch) for part in parts] for batch in batches)
        predictions = ahead([conveyor.predicted(each) for each in some] for some in inputs)
        for (start, stop), some in zip(batches, predictions, strict=True):
            predicted = [each.result() for each in some]
            for index in range(start, stop):
                yield Seen(
                    index, [(window, each[index - start]) for window, each in zip(windows, predicted, strict=True)]
                )

    def _input(self, index: int, window: Window, conveyor: Conveyor) -> Future[np.ndarray]:
        """The network's input for a window of a slice (1, channels, y, x)."""
        return conveyor.prepared(self._slices.part(slice(index, index + 1), *window), index, index + 1)

    def _around_found(self, index: int, predicted: np.ndarray, found: Sequence[Window]) -> Seen:
        """Of a look at the whole body what a look around `found` would give, so that neighbours compare."""
        parts = []
        for window in map(self._grown, found):
            parts.append((window, predicted[:, *_within(self._body, window)]))
        return Seen(index, parts)

    def _found(self, predicted: np.ndarray) -> list[Window]:
        """Windows that hold all that may be spine, one around each group, without specks far from the rest.

        `predicted`: (labels, y, x) of the whole body.
        """
        likely = predicted.sum(axis=0) >= LIKELY
        groups, count = ndimage.label(ndimage.maximum_filter(likely, 2 * round(NEAR / 2 / self._pixel) + 1))
        if not count:
            return []
        groups *= likely
        area = np.bincount(groups.ravel())[1:] * self._pixel**2
        top, left = (along.start for along in self._body)
        return [
            (slice(y.start + top, y.stop + top), slice(x.start + left, x.stop + left))
            for (y, x), size in zip(ndimage.find_objects(groups), area, strict=True)
            if size >= min(SPECK, area.max())
        ]

    def _windows(self, found: Sequence[Window]) -> list[Window]:
        """Where to look for what was found in some windows: as few pixels as possible in squares of a few sizes."""
        for one, other in itertools.combinations(found, 2):
            both = _around(one, other)
            if self._pixels(both) <= self._pixels(one) + self._pixels(other):
                return self._windows([both, *(window for window in found if window not in (one, other))])
        if sum(map(self._pixels, found)) >= WHOLE * np.prod(_shape(self._body)):
            return [self._body]
        return [self._square(window) for window in found]

    def _pixels(self, found: Window) -> int:
        return int(np.prod(_shape(self._square(found))))

    def _square(self, found: Window) -> Window:
        """The smallest square that holds a window and the margin around it, as far as the body goes; else all of it."""
        longest = max(_shape(self._grown(found)))
        side = next((side for side in self._sides if side >= longest), None)
        if side is None:
            return self._body
        window = []
        for along, body in zip(found, self._body, strict=True):
            length = min(side, body.stop - body.start)
            start = min(max((along.start + along.stop - length) // 2, body.start), body.stop - length)
            window.append(slice(start, start + length))
        return tuple(window)

    def _grown(self, found: Window) -> Window:
        """With the margin around it, as far as the body goes."""
        margin = round(MARGIN / self._pixel)
        return tuple(
            slice(max(body.start, along.start - margin), min(body.stop, along.stop + margin))
            for along, body in zip(found, self._body, strict=True)
        )

    def _cut(self, window: Window, probabilities: np.ndarray, found: Sequence[Window]) -> bool:
        """Whether spine (labels, y, x) that goes on from what was found comes near an edge of the window beyond which
        the body goes on."""
        edge = round(EDGE / self._pixel)
        near = np.zeros(_shape(window), dtype=bool)
        (top, bottom), (left, right) = (
            (edge if along.start > body.start else 0, edge if along.stop < body.stop else 0)
            for along, body in zip(window, self._body, strict=True)
        )
        near[:top] = near[near.shape[0] - bottom :] = True
        near[:, :left] = near[:, near.shape[1] - right :] = True
        inside = probabilities.sum(axis=0) >= self._threshold
        if not (inside & near).any():
            return False
        groups, _ = ndimage.label(inside)
        return any(np.isin(groups[_within(window, each)], groups[inside & near]).any() for each in found)


def _within(outer: Window, inner: Window) -> Window:
    """The part of a window in an array of another window's pixels."""
    return tuple(slice(max(0, i.start - o.start), max(0, i.stop - o.start)) for o, i in zip(outer, inner, strict=True))


def _shape(window: Window) -> tuple[int, int]:
    return tuple(along.stop - along.start for along in window)


def _around(one: Window, other: Window) -> Window:
    """The window that holds both."""
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
