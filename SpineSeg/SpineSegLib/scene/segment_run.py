"""One segmentation of a CT of the scene, from pressing Segment to the finished segments, in steps that never block."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import slicer

from SpineSegLib.engine.errors import ComputeError, InputError, ModelError, SpineSegError
from SpineSegLib.engine.exchange import open_mask, write_volume_steps
from SpineSegLib.engine.models.model_file import read_info
from SpineSegLib.engine.segments import Segment, segments_for
from SpineSegLib.scene.live_segments import LiveSegments
from SpineSegLib.scene.segmentations import new_segmentation, remove_segmentation, segmentation_problem, show_3d
from SpineSegLib.scene.volumes import ct_geometry, ct_problem, ijk_to_ras

if TYPE_CHECKING:
    from SpineSegLib.worker_client import Job, WorkerProcess

BUDGET = 0.02  # seconds a step works before it lets others
SLAB = 2**22  # voxels of the mask looked at at once when finishing
_BUSY = "Another job is still running; wait for it or cancel it first."
_WAIT = True  # what a flow yields where there is nothing to do but wait


@dataclass
class _Handed:
    """What a worker was given last: the CT that lies in the folder, and a cancelled job that may still be ending."""

    ct: tuple | None = None
    folder: Path | None = None
    ending: Job | None = None

    @property
    def is_ending(self) -> bool:
        return self.ending is not None and self.ending.state == "running"


_handed: WeakKeyDictionary[WorkerProcess, _Handed] = WeakKeyDictionary()


def forget_volume(worker: WorkerProcess) -> None:
    """Remove the copy of the CT that a worker was given last and keeps for the next run. None may be under way."""
    handed = _handed.pop(worker, None)
    if handed is not None and handed.folder is not None:
        worker.remove_folder(handed.folder)


class SegmentRun:
    """A run that goes on while `step` is called, by a timer every 50 ms or so, until `running` is False.

    `state`: "copying", "starting", "segmenting", "finishing", then "finished", "cancelled" or "failed". `message`: one
    sentence on why it was cancelled by itself or failed. `done` of `of` slices are segmented, `seconds_left` is None
    while that isn't known. `started`: what the worker said about model, backend and device. `shows_3d`: whether
    surfaces are made at the end. `segmentation_node` and `segment_ids` (by key) are there from "segmenting" on.
    """

    def __init__(
        self,
        worker: WorkerProcess,
        volume_node: slicer.vtkMRMLScalarVolumeNode,
        segmentation_node: slicer.vtkMRMLSegmentationNode | None,
        model: str | Path,
        *,
        device: str = "auto",
        region: tuple[float, float] | None = None,
        postprocess: bool = True,
        whole: bool = False,
        show_3d: bool = False,
        before_change: Callable[[slicer.vtkMRMLSegmentationNode], None] | None = None,
    ) -> None:
        """The result goes into `segmentation_node`, None for a new one.

        `region`: lowest and highest position in mm to segment (see `volumes.axial_position`), None for all; earlier
        results stay outside it. `postprocess`: tidy up. `whole`: look at the whole field of view. `show_3d`: make
        surfaces at the end. `before_change` is called right before a node that was there is changed.

        Raises InputError, ModelError or ComputeError where the run can't begin; nothing is changed then.
        """
        problem = ct_problem(volume_node) or segmentation_problem(segmentation_node, volume_node)
        if problem:
            raise InputError(problem)
        self._segments = _segments_of(model)
        self._handed = _handed.setdefault(worker, _Handed())
        if worker.busy and not self._handed.is_ending:
            raise ComputeError(_BUSY)
        self.worker = worker
        self.volume_node = volume_node
        self.segmentation_node = segmentation_node
        self.state = "copying"
        self.message = ""
        self.done = self.of = 0
        self.seconds_left: float | None = None
        self.started: dict[str, Any] = {}
        self._parameters = {
            "model": str(model),
            "device": device,
            "region": None if region is None else [float(min(region)), float(max(region))],
            "postprocess": postprocess,
            "whole": whole,
        }
        self.shows_3d = show_3d
        self._before_change = before_change
        self._new_node = False
        self._unchanged = _state(volume_node)
        self._ids: dict[str, str] = {}
        self._job: Job | None = None
        self._live: LiveSegments | None = None
        self._mask: np.memmap | None = None
        self._flow: Iterator[bool] | None = self._whole_run()

    @property
    def running(self) -> bool:
        """Whether `step` must still be called: until the worker has ended the job, also after cancelling."""
        return self._flow is not None

    @property
    def segment_ids(self) -> dict[str, str]:
        """IDs of the segments that are filled, by their keys."""
        return dict(self._ids)

    @property
    def status(self) -> str:
        """What the run is doing, or how it ended, for people."""
        tidying = "Removing specks and filling holes..."
        if self.state == "segmenting" and 0 < self.done == self.of:
            return tidying
        if self.state == "segmenting" and self.of:
            left = "" if self.seconds_left is None else f", {duration(self.seconds_left)} left"
            return f"{self.done} of {self.of} slices{left}"
        return {
            "copying": "Handing over the CT...",
            "starting": "Loading the model...",
            "segmenting": "Segmenting...",
            "finishing": tidying,
            "finished": f"{self.of} slices segmented.",
        }.get(self.state, self.message)

    @property
    def uncertainties(self) -> list[tuple[float, float]]:
        """Position (mm towards the head) and uncertainty of the slices of a finished run."""
        return [tuple(pair) for pair in self._job.result["uncertainties"]] if self.state == "finished" else []

    def step(self) -> None:
        """Do what is to be done now, for at most some 50 ms."""
        if self._flow is None:
            return
        until = time.monotonic() + BUDGET
        try:
            if self.state not in ("finished", "cancelled", "failed") and (problem := self._scene_problem()):
                self._end("cancelled", problem)
            while next(self._flow) is not _WAIT and time.monotonic() < until:
                pass
        except StopIteration:
            self._flow = None
        except SpineSegError as error:
            self._end("failed", str(error))
        except OSError:
            self._end("failed", "The temporary files of the run can't be read any more; start it again.")
        except MemoryError:
            self._end("failed", "There is not enough memory for the result; close other programs and start it again.")
        except BaseException:
            self._end("failed", "The run stopped because of an error in SpineSeg; start it again.")
            raise

    def cancel(self) -> None:
        """Stop. The scene is as it was before when this returns; the worker stops within a second of further steps."""
        if self.state not in ("finished", "cancelled", "failed"):
            self._end("cancelled", "The segmentation was cancelled.")

    # --- the flow: generators that yield after each small piece of work ---------------------------------------------

    def _whole_run(self) -> Iterator[bool]:
        while self._handed.is_ending:
            self._handed.ending.poll()
            yield _WAIT
        yield from self._hand_over()
        if self.worker.busy:
            raise ComputeError(_BUSY)
        self.state = "starting"
        self._job = self.worker.start_job("segment", folder=str(self._handed.folder), **self._parameters)
        while self._job.state == "running":
            for event in self._job.poll():
                self._take(event)
                yield not _WAIT
            yield _WAIT
        if self._job.state != "finished":
            raise ComputeError(self._job.message or "The computation was ended; start the segmentation again.")
        yield from self._finish()

    def _hand_over(self) -> Iterator[bool]:
        """Write the CT where the worker finds it, unless it lies there from the run before."""
        handed = self._handed
        ct = ct_geometry(self.volume_node)
        key = (self._unchanged, ct.spacing, ct.origin, ct.direction)
        if handed.ct == key and handed.folder.is_dir():
            return
        if handed.folder is not None:
            self.worker.remove_folder(handed.folder)
        handed.ct, handed.folder = None, self.worker.new_folder()
        for _ in write_volume_steps(handed.folder, ct.array, ct.spacing, ct.origin, ct.direction):
            yield not _WAIT
        handed.ct = key

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == "started":
            self.started = event
            self.of = event["slices"]
            self._open_scene()
        elif event["event"] == "progress":
            self.done, self.of, self.seconds_left = event["done"], event["of"], event["seconds_left"]
            if event["box"] is not None:
                self._live.write(self._mask, event["box"])

    def _open_scene(self) -> None:
        self._mask = open_mask(self._handed.folder)
        if self.segmentation_node is None:
            self.segmentation_node = new_segmentation(self.volume_node)
            self._new_node = True
        elif self._before_change is not None:
            self._before_change(self.segmentation_node)
        keep = self._parameters["region"] is not None
        self._live = LiveSegments(self.segmentation_node, self.volume_node, self._segments, keep=keep)
        self._ids = dict(self._live.ids)
        self.state = "segmenting"

    def _finish(self) -> Iterator[bool]:
        self.state = "finishing"
        shape = self._mask.shape
        planes = max(1, SLAB // (shape[1] * shape[2]))
        for first in range(0, shape[0], planes):
            self._live.write(self._mask, (first, min(first + planes, shape[0]), 0, shape[1], 0, shape[2]))
            yield not _WAIT
        self._live.finish()
        if self.shows_3d:
            yield not _WAIT
            show_3d(self.segmentation_node, True)
        self.state = "finished"
        self._let_go()

    def _end(self, state: str, message: str) -> None:
        """Leave the scene as it was and let the worker stop."""
        self.state, self.message, self.seconds_left = state, message, None
        self._flow = self._wind_down()
        if self._handed.ct is None and self._handed.folder is not None:  # half a CT, of no use to any run
            self.worker.remove_folder(self._handed.folder)
            self._handed.folder = None
        if self._job is not None:
            self._job.cancel()
            self._handed.ending = self._job
        if self._live is not None:
            self._live.revert()
        if self._new_node and self.segmentation_node.GetSegmentation().GetNumberOfSegments() == 0:
            remove_segmentation(self.segmentation_node)
            self.segmentation_node = None
        self._let_go()

    def _let_go(self) -> None:
        """Whoever shows how the run ended must not keep the CT and the mask in memory by that."""
        self.volume_node = self._live = self._mask = None

    def _wind_down(self) -> Iterator[bool]:
        while self._job is not None and self._job.state == "running":
            self._job.poll()
            yield _WAIT

    def _scene_problem(self) -> str | None:
        if self.volume_node.GetScene() is None:
            return "The CT was removed from the scene while it was being segmented; the run was cancelled."
        if _state(self.volume_node) != self._unchanged:
            return "The CT was changed while it was being segmented; the run was cancelled."
        return self._live.problem() if self._live is not None else None


def duration(seconds: float) -> str:
    """Seconds for people."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _segments_of(model: str | Path) -> tuple[Segment, ...]:
    try:
        return segments_for(read_info(Path(model)).labels)
    except KeyError as unknown:
        raise ModelError(
            f"The model segments {unknown}, which this SpineSeg doesn't know; update SpineSeg to use it."
        ) from None


def _state(volume_node: slicer.vtkMRMLScalarVolumeNode) -> tuple:
    """What is the same as long as the voxels and the grid of a CT are."""
    image = volume_node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None:
        return ()
    return scalars.GetMTime(), image.GetExtent(), volume_node.GetTransformNodeID(), ijk_to_ras(volume_node).tobytes()
