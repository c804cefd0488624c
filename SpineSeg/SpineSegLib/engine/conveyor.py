"""The network at work in one thread, what it needs next being made ready in another, what it has said used in a third.

So nothing waits for anything but its own input, and as each thread does things in the order they were asked for, the
result is the same as without threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from SpineSegLib.engine.axial import AxialSlices

if TYPE_CHECKING:
    from SpineSegLib.engine.segmenter import Predictor

Item = TypeVar("Item")


class Conveyor:
    """Both threads; they end with the block, and of what is still asked for only what has begun is done."""

    def __init__(self, network: Predictor) -> None:
        self._network = network
        self._preparing = ThreadPoolExecutor(max_workers=1)
        self._predicting = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> Conveyor:
        return self

    def __exit__(self, *_: object) -> None:
        self._predicting.shutdown(wait=False, cancel_futures=True)
        self._preparing.shutdown(cancel_futures=True)  # the network may wait for it
        self._predicting.shutdown()

    def prepared(self, slices: AxialSlices, first: int, last: int) -> Future[np.ndarray]:
        """Slices first to last - 1 as the network wants them: float32 (n, channels, y, x) of `slices.region`."""
        return self._preparing.submit(slices.batch, first, last)

    def predicted(self, batch: Future[np.ndarray]) -> Future[np.ndarray]:
        """What the network says of a batch that is, or is being, prepared: float32 (n, labels, y, x)."""
        return self._predicting.submit(lambda: self._network.predict(batch.result()))


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The items, each taken from where it comes from when the one before it is given."""
    source = iter(items)
    taken = deque(islice(source, 1))
    for item in source:
        taken.append(item)
        yield taken.popleft()
    yield from taken
