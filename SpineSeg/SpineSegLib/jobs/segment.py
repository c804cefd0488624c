"""Segments the CT in an exchange folder; finished slices appear in its mask while the rest is computed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from SpineSegLib.engine.exchange import read_exchanged_volume, reset_mask
from SpineSegLib.engine.probabilities import Box, around
from SpineSegLib.engine.search import LOOK_EVERY
from SpineSegLib.engine.segmenter import Segmentation
from SpineSegLib.engine.uncertainty import uncertain_area
from SpineSegLib.jobs import Check, Report
from SpineSegLib.jobs.networks import loaded_network


def run(parameters: dict[str, Any], report: Report, check: Check) -> dict[str, Any]:
    """`folder`: the exchange folder; `model` (path), `device`, `backend`: see Network; `region` ([low, high] in mm, LPS
    z, or None for all) and `whole` (False): see Segmentation; `postprocess` (True): see its `write_labels`.

    Events: "started" and for every slice "progress", whose `box` [k0, k1, j0, j1, i0, i1] holds the voxels that have
    just been written into the mask (255 in it: not yet written), or is None. At the end the mask is tidied; `box` of
    the result holds all labels in it and all that any event's box held.
    """
    start = time.monotonic()
    volume = read_exchanged_volume(parameters["folder"])
    network = loaded_network(parameters["model"], parameters["device"], parameters["backend"])
    check()
    region = parameters.get("region")
    whole = parameters.get("whole", False)
    segmentation = Segmentation(volume, network, whole, None if region is None else tuple(region))
    mask = reset_mask(parameters["folder"], volume.grid.shape)
    model = f"{network.info.name} {network.info.version}"
    machine = {"model": model, "backend": network.backend, "device": network.device, "reason": network.reason}
    report("started", slices=len(segmentation), **machine)
    boxes: list[Box] = []
    uncertainties = []
    pixel_area = segmentation.grid.spacing[1] * segmentation.grid.spacing[2]
    clock = _Clock(segmentation, whole)
    for n, finished in enumerate(segmentation, start=1):
        box = segmentation.write_decided(mask)
        boxes += [box] if box else []
        uncertainties.append((finished.position, round(uncertain_area(finished.probabilities, pixel_area), 2)))
        report("progress", done=n, of=len(segmentation), seconds_left=clock.seconds_left(), box=_numbers(box))
    box = segmentation.write_labels(mask, parameters.get("postprocess", True), check)
    boxes += [box] if box else []
    return {
        "box": _numbers(around(boxes)),
        "slices": len(segmentation),
        "seconds": round(time.monotonic() - start, 3),
        "uncertainties": uncertainties,
        "segments": [{"key": segment.key, "label": segment.label} for segment in segmentation.segments],
        **machine,
    }


class _Clock:
    """How long the network still needs: slices without a body pass at once and tell nothing.

    The first slices after a look at the whole body wait for that look, and with the very first the network is compiled.
    So the time is taken from the first slice on, and nothing is said before as many as lie between two looks are done.
    """

    def __init__(self, segmentation: Segmentation, whole: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._segmentation = segmentation
        self._all = segmentation.left_to_compute
        self._stretch = 1 if whole else max(1, round(LOOK_EVERY / segmentation.grid.spacing[0]))
        self._now = clock
        self._first: tuple[float, int] | None = None  # time and number left after the first slice

    def seconds_left(self) -> float | None:
        """None before anything can be said."""
        left, now = self._segmentation.left_to_compute, self._now()
        if left == 0:
            return 0.0
        if self._first is None and left < self._all:
            self._first = (now, left)
        if self._first is None or self._first[1] - left < self._stretch:
            return None
        return round((now - self._first[0]) / (self._first[1] - left) * left, 1)


def _numbers(box: Box | None) -> list[int] | None:
    return box and [int(end) for along in box for end in (along.start, along.stop)]
