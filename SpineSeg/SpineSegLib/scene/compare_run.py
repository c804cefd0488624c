"""A comparison of two nodes of the scene, done by the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import SimpleITK as sitk
import slicer

from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.scene.label_maps import label_map_of

if TYPE_CHECKING:
    from pathlib import Path

    from SpineSegLib.worker_client import WorkerProcess


class CompareRun:
    """One comparison: call `step` until it is no longer `running`, then look at `state` and `result`.

    `result`: what the job "compare" returns. `difference`: label map of what differs, None where both are empty.
    """

    def __init__(
        self,
        worker: WorkerProcess,
        prediction_node: slicer.vtkMRMLSegmentationNode | None,
        reference_node: slicer.vtkMRMLNode | None,
        *,
        prediction_segment: str = "",
        reference_segment: str = "",
        tolerance_mm: float = 1.0,
    ) -> None:
        """`*_segment`: the ID of one segment, all of them where empty. Raises InputError where a node marks nothing,
        OutputError where there is no space for temporary files."""
        if prediction_node is None or reference_node is None:
            raise InputError("Choose a segmentation and the reference to compare it with.")
        (prediction, found), (reference, drawn) = (
            label_map_of(prediction_node, prediction_segment),
            label_map_of(reference_node, reference_segment),
        )
        self._worker = worker
        self._folder: Path = worker.new_folder()
        try:
            sitk.WriteImage(prediction, str(self._folder / "prediction.nrrd"))
            sitk.WriteImage(reference, str(self._folder / "reference.nrrd"))
        except RuntimeError:
            worker.remove_folder(self._folder)
            raise OutputError("The masks can't be handed over; free some space for temporary files.") from None
        self._job = worker.start_job(
            "compare",
            folder=str(self._folder),
            prediction_structures=None if found is None else list(found.items()),
            reference_structures=None if drawn is None else list(drawn.items()),
            tolerance_mm=tolerance_mm,
        )
        self.done, self.of = 0, 100
        self.result: dict[str, Any] | None = None
        self.difference: sitk.Image | None = None
        self.message = ""

    @property
    def running(self) -> bool:
        """Whether `step` is still to be called."""
        return self._job is not None

    @property
    def state(self) -> str:
        """ "running", "finished", "cancelled" or "failed"."""
        return self._state if self._job is None else "running"

    def step(self) -> None:
        """Take what the worker has reported; never blocks."""
        if self._job is None:
            return
        for event in self._job.poll():
            if event["event"] == "progress":
                self.done, self.of = event["done"], event["of"]
        if self._job.state != "running":
            self._state, self.message, self.result = self._job.state, self._job.message, self._job.result
            path = self._folder / "difference.nrrd"
            if self._state == "finished" and path.exists():
                self.difference = sitk.ReadImage(str(path))
            self._worker.remove_folder(self._folder)
            self._job = None

    def cancel(self) -> None:
        """Ask the worker to stop; go on calling `step`."""
        if self._job is not None:
            self._job.cancel()
