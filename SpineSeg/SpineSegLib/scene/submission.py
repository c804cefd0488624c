"""A corrected segmentation of the scene on its way into a training set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer

from SpineSegLib.engine.datasets.labels import notes_on_names, structure_of, training_label
from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.engine.exchange import write_volume_steps
from SpineSegLib.engine.files.writing import as_output_error
from SpineSegLib.engine.training.training_set import slice_indices
from SpineSegLib.engine.volume import Grid
from SpineSegLib.jobs.submit import CORRECTED
from SpineSegLib.scene.review import model_of, moved
from SpineSegLib.scene.segmentations import BINARY, labelmap_matrix, matrix_of
from SpineSegLib.scene.volumes import CtGeometry, ct_geometry, ct_problem, voxels

if TYPE_CHECKING:
    from SpineSegLib.worker_client import WorkerProcess

SEGMENTS = ("vertebrae", "sacrum")  # what new training sets hold


class SubmitRun:
    """Stores a case by the worker's job "submit": call `step` while `running`, then look at `state` and `result`.

    `notes`: plain sentences on segments that were left out, most likely by mistake.
    """

    def __init__(
        self,
        worker: WorkerProcess,
        volume_node: slicer.vtkMRMLScalarVolumeNode | None,
        segmentation_node: slicer.vtkMRMLSegmentationNode | None,
        training_set: Path,
        checked: Sequence[float] | None = None,
        project: str | None = None,
    ) -> None:
        """`training_set`: its file, made where there is none. `checked`: positions of the slices that count (see
        `review`), None for all. `project`: identity the training set must have, None for any.

        Raises InputError where there is nothing to store, OutputError where nothing can be written.
        """
        if segmentation_node is None:
            raise InputError("Choose the corrected segmentation to submit.")
        if problem := ct_problem(volume_node):
            raise InputError(problem)
        if checked is not None and not checked:
            raise InputError("No slice is marked as checked; mark some, or submit the whole volume.")
        if checked is not None and moved(segmentation_node, volume_node):
            raise InputError(
                "The CT was moved after its slices were checked; move it back, or submit the whole volume."
            )
        ct = ct_geometry(volume_node)
        mask = training_mask(segmentation_node, volume_node)
        indices = None if checked is None else list(slice_indices(_grid(ct), checked))
        try:
            training_set.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise as_output_error(training_set, error) from None
        self._worker = worker
        self._folder = worker.new_folder()
        try:
            np.save(self._folder / CORRECTED, mask)
        except OSError as error:
            worker.remove_folder(self._folder)
            raise as_output_error(self._folder / CORRECTED, error) from None
        patient, scan = dicom_identity(volume_node)
        self._parameters = {
            "file": str(training_set),
            "folder": str(self._folder),
            "project": project,
            "segments": list(SEGMENTS),
            "patient": patient,
            "scan": scan,
            "checked": indices,
            "model": model_of(segmentation_node),
            "create": training_set.name.split(".")[0],
        }
        self._copying = write_volume_steps(self._folder, ct.array, ct.spacing, ct.origin, ct.direction)
        self._job = None
        self.notes = notes_on_names(_names_of_others(segmentation_node))
        self.state = "running"
        self.message = ""
        self.result: dict = {}

    @property
    def running(self) -> bool:
        """Whether `step` is still to be called."""
        return self.state == "running"

    def step(self) -> None:
        """Copy a piece, or take what the worker has reported. Raises OutputError where the disk is full."""
        if self._job is None:
            try:
                copied = next(self._copying, None)
            except OutputError:
                self.cancel()  # which gives back the space that there is
                raise
            if copied is None and not self._worker.busy:
                self._job = self._worker.start_job("submit", **self._parameters)
            return
        self._job.poll()
        if self._job.state != "running":
            self.state, self.message, self.result = self._job.state, self._job.message, self._job.result
            self._worker.remove_folder(self._folder)

    def cancel(self) -> None:
        """Stop; go on calling `step`. What is stored already stays stored."""
        if self._job is not None:
            self._job.cancel()
        elif self.running:
            self.state, self.message = "cancelled", "The case was not submitted."
            self._worker.remove_folder(self._folder)


def training_mask(
    segmentation_node: slicer.vtkMRMLSegmentationNode, volume_node: slicer.vtkMRMLScalarVolumeNode
) -> np.ndarray:
    """What the segments mark on the CT's grid: uint8 (k, j, i), 1 for vertebrae and 2 for the sacrum.

    Segments whose names mean neither are left out. Raises InputError where none is left or nothing is marked.
    """
    segmentation = segmentation_node.GetSegmentation()
    mask = np.zeros(volume_node.GetImageData().GetDimensions()[::-1], dtype=np.uint8)
    grid = labelmap_matrix(volume_node, segmentation_node)
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        key = structure_of(segment.GetName())
        if key is None:
            continue
        image = segment.GetRepresentation(BINARY)
        if image is not None and grid is not None and np.allclose(matrix_of(image), grid, atol=1e-5):
            place, marked = _on_grid(image, segment.GetLabelValue(), volume_node)
            mask[place][marked] = training_label(key)
        else:  # takes the whole grid, for each segment
            marked = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, segment_id, volume_node)
            if marked is not None:
                mask[marked > 0] = training_label(key)
    if not mask.any():
        raise InputError(
            f"{segmentation_node.GetName()} has no segment named Vertebrae, Sacrum or by a vertebra (L1 ...) that "
            "marks anything in this CT; name the corrected segments so."
        )
    return mask


def _names_of_others(segmentation_node: slicer.vtkMRMLSegmentationNode) -> Iterator[str]:
    """Names of the segments that mark something and mean no spine."""
    segmentation = segmentation_node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        if structure_of(segment.GetName()) is not None:
            continue
        image = segment.GetRepresentation(BINARY)
        if image is not None and image.GetNumberOfPoints() and (voxels(image) == segment.GetLabelValue()).any():
            yield segment.GetName()


def _on_grid(
    image: slicer.vtkOrientedImageData, label: int, volume_node: slicer.vtkMRMLScalarVolumeNode
) -> tuple[tuple[slice, ...], np.ndarray]:
    """The part of the CT's array (k, j, i) that an image on its grid covers, and where the image has the label."""
    size = np.array(volume_node.GetImageData().GetDimensions()[::-1])
    if image.GetNumberOfPoints() == 0:
        return (slice(0, 0),) * 3, np.zeros((0, 0, 0), dtype=bool)
    array = voxels(image)
    start = np.array(image.GetExtent()[::2][::-1]) - volume_node.GetImageData().GetExtent()[::2][::-1]
    low = np.clip(start, 0, size)
    high = np.clip(start + array.shape, low, size)
    marked = array[tuple(map(slice, low - start, high - start))] == label
    return tuple(map(slice, low, high)), marked


def dicom_identity(volume_node: slicer.vtkMRMLScalarVolumeNode) -> tuple[str | None, str | None]:
    """PatientID and SeriesInstanceUID where Slicer's DICOM database knows them. The training set stores only salted
    hashes of these."""
    database = getattr(slicer, "dicomDatabase", None)
    instances = (volume_node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is None or not instances:
        return None, None
    values = [database.instanceValue(instances[0], tag) for tag in ("0010,0020", "0020,000e")]
    return values[0] or None, values[1] or None


def _grid(ct: CtGeometry) -> Grid:
    return Grid(ct.array.shape, ct.spacing[::-1], ct.origin, ct.direction)
