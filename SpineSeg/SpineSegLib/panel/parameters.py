"""What the user chose in the panel. It lies in the scene's parameter node and is saved with the scene."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

from slicer import vtkMRMLDisplayableNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Default, FloatRange, RangeBounds, WithinRange, parameterNodeWrapper

FARTHEST = 10_000.0  # mm; no slice of a CT lies farther from the origin


class Part(Enum):
    """How much of the CT to segment."""

    WHOLE = "whole"
    CURRENT = "current"
    RANGE = "range"

    def label(self) -> str:
        """What the panel calls it."""
        return {"whole": "Whole volume", "current": "Current slice", "range": "Slices from ... to ..."}[self.value]


class Device(Enum):
    """Where the network runs."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"

    def label(self) -> str:
        """What the panel calls it."""
        return {"auto": "What is fastest", "cpu": "CPU", "gpu": "GPU"}[self.value]


@parameterNodeWrapper
class SpineSegParameterNode:
    """Parameters of the module.

    `model` is a name that `model_catalogue.resolve_model` knows, empty for the current one. `sliceRange` counts from
    the feet, in mm of S (RAS); `reference` is a segmentation or label map; `tolerance` that of the surface Dice (mm);
    `project` is the identity of the training set that cases of this scene went to.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    model: str = ""
    device: Device = Device.AUTO
    part: Part = Part.WHOLE
    sliceRange: Annotated[FloatRange, RangeBounds(-FARTHEST, FARTHEST), Default(FloatRange(-FARTHEST, FARTHEST))]
    show3D: bool = False
    postprocess: bool = True
    wholeField: bool = False
    comparedSegmentation: vtkMRMLSegmentationNode
    reference: vtkMRMLDisplayableNode
    tolerance: Annotated[float, WithinRange(0.1, 10)] = 1.0
    trainingSet: Path
    project: str = ""
    epochs: Annotated[int, WithinRange(1, 200)] = 12
