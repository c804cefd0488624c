"""What one session works on: the scene, the CT in it, its segmentation, the reference, and the worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import SimpleITK as sitk
import slicer
from trame_slicer.core import SlicerApp

from SpineSegLib.engine.exchange import read_exchanged_volume
from SpineSegLib.engine.volume import Grid
from SpineSegLib.scene.segmentations import new_segmentation
from SpineSegLib.scene.terminology import load_terminology
from SpineSegLib.scene.volume_nodes import add_ct, add_label_map
from SpineSegLib.web.intake import REFERENCE
from SpineSegLib.worker_client import WorkerProcess

REFERENCE_COLOUR = (0.25, 0.65, 1.0)


class UploadedDicom:
    """What the scene layer asks of Slicer's DICOM database, about the CT that is open."""

    def __init__(self, dicom: dict[str, Any]) -> None:
        self._files = dict(dicom["instances"])
        self._values = {"0010,0020": dicom["patient"], "0020,000e": dicom["series"], "0008,0060": "CT"}

    def fileForInstance(self, uid: str) -> str:  # noqa: N802
        """The file of an instance, empty where it isn't known."""
        return self._files.get(uid, "")

    def instanceValue(self, uid: str, tag: str) -> str:  # noqa: N802
        """A value of an instance's header, empty where it isn't known."""
        return self._values.get(tag, "") if uid in self._files else ""


class Workspace:
    """`changed` functions are called when there is another CT, segmentation or reference."""

    def __init__(self) -> None:
        self.app = SlicerApp()
        # The scene layer finds the scene and the modules' logics where they are inside Slicer.
        slicer.mrmlScene = self.app.scene
        slicer.modules = SimpleNamespace(
            terminologies=SimpleNamespace(logic=lambda: self.app.terminologies_logic),
            segmentations=SimpleNamespace(logic=lambda: self.app.segmentations_logic),
        )
        load_terminology()
        self.worker = WorkerProcess()
        self.ct: slicer.vtkMRMLScalarVolumeNode | None = None
        self.segmentation: slicer.vtkMRMLSegmentationNode | None = None
        self.reference: slicer.vtkMRMLSegmentationNode | None = None
        self.changed: list[Callable[[], None]] = []

    @property
    def scene(self) -> slicer.vtkMRMLScene:
        """The scene of this session."""
        return self.app.scene

    @property
    def segmented(self) -> bool:
        """Whether the segmentation has segments."""
        return self.segmentation is not None and self.segmentation.GetSegmentation().GetNumberOfSegments() > 0

    def show_ct(self, folder: Path, name: str, dicom: dict[str, Any] | None) -> None:
        """Take a CT from a folder of `intake`; what was open before is closed. `dicom`: see `intake.take_in`."""
        volume = read_exchanged_volume(folder)
        # A scene that was never cleared lacks what the editor's tools draw with.
        self.scene.Clear()
        self.reference = None
        self.ct = add_ct(self.scene, volume.array, volume.grid, name)
        self.segmentation = new_segmentation(self.ct)
        slicer.dicomDatabase = None if dicom is None else UploadedDicom(dicom)
        if dicom is not None:
            self.ct.SetAttribute("DICOM.instanceUIDs", " ".join(uid for uid, _ in dicom["instances"]))
        display = self.app.display_manager
        display.show_volume_in_slice_background(self.ct)
        display.reset_views()
        self.tell()

    def show_reference(self, folder: Path) -> None:
        """Take a reference from a folder of `intake`; it is shown as an outline over the CT."""
        image = sitk.ReadImage(str(folder / REFERENCE))
        node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Reference")
        node.CreateDefaultDisplayNodes()
        labels = add_label_map(self.scene, sitk.GetArrayViewFromImage(image), Grid.of(image), "Reference")
        self.app.segmentations_logic.ImportLabelmapToSegmentationNode(labels, node, "")
        self.scene.RemoveNode(labels)
        self._name_segments(node, image)
        display = node.GetDisplayNode()
        display.SetVisibility2DFill(False)
        display.SetVisibility3D(False)
        if self.reference is not None:
            self.scene.RemoveNode(self.reference)
        self.reference = node
        self.tell()

    def tell(self) -> None:
        """Call those who want to know that something else is open."""
        for function in self.changed:
            function()

    def close(self) -> None:
        """End the worker."""
        self.worker.close()

    @staticmethod
    def _name_segments(node: slicer.vtkMRMLSegmentationNode, image: sitk.Image) -> None:
        from SpineSegLib.engine.files.reading import segment_names

        names = segment_names(image)
        segmentation = node.GetSegmentation()
        for place in range(segmentation.GetNumberOfSegments()):
            segment = segmentation.GetNthSegment(place)
            segment.SetColor(*REFERENCE_COLOUR)
            segment.SetName(names.get(segment.GetLabelValue(), f"Label {segment.GetLabelValue()}"))
