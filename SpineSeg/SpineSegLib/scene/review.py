"""Which slices of a segmentation a person should look at next; its node remembers them and is saved with the scene."""

from __future__ import annotations

import json
from collections.abc import Iterable

import slicer

from SpineSegLib.engine.uncertainty import next_slice
from SpineSegLib.scene.volumes import at_position, axial_limits

MODEL = "SpineSeg.Model"  # attributes of the node
UNCERTAINTIES = "SpineSeg.Uncertainties"
CHECKED = "SpineSeg.CheckedSlices"
_NEAR = 1.0  # mm that a CT may be moved without being told


def remember_run(
    node: slicer.vtkMRMLSegmentationNode, model: str, uncertainties: Iterable[tuple[float, float]]
) -> None:
    """Keep which model drew a segmentation, and the uncertainty of the axial slices it did.

    `uncertainties`: pairs of position (mm towards the head, see `volumes.axial_position`) and uncertainty. What was
    known of other positions stays; the new slices are unchecked.
    """
    new = {round(position, 3): value for position, value in uncertainties}
    known = {position: value for position, value in _pairs(node) if position not in new}
    node.SetAttribute(MODEL, model)
    node.SetAttribute(UNCERTAINTIES, json.dumps(sorted((known | new).items())))
    _set_checked(node, [position for position in checked_positions(node) if position not in new])


def model_of(node: slicer.vtkMRMLSegmentationNode) -> str:
    """Name and version of the model that drew it last, empty where it was none of ours."""
    return node.GetAttribute(MODEL) or ""


def checked_positions(node: slicer.vtkMRMLSegmentationNode) -> list[float]:
    """Positions of the slices that were marked as checked, from the feet to the head."""
    return json.loads(node.GetAttribute(CHECKED) or "[]")


def moved(node: slicer.vtkMRMLSegmentationNode, volume_node: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether the CT was moved since its slices were looked at, as by a transform: some then lie beyond its ends."""
    low, high = axial_limits(volume_node)
    return any(not low - _NEAR < position < high + _NEAR for position, _ in _pairs(node))


def mark_checked(node: slicer.vtkMRMLSegmentationNode, position: float) -> float | None:
    """Mark the slice nearest to a position as checked; returns its own position, None where no slices are known."""
    positions = [known for known, _ in _pairs(node)]
    if not positions:
        return None
    nearest = min(positions, key=lambda known: abs(known - position))
    _set_checked(node, {*checked_positions(node), nearest})
    return nearest


def next_to_check(node: slicer.vtkMRMLSegmentationNode) -> tuple[float, float] | None:
    """Position and uncertainty of the slice most worth looking at, None where all are checked or none is known."""
    pairs = _pairs(node)
    checked = set(checked_positions(node))
    done = [n for n, (position, _) in enumerate(pairs) if position in checked]
    index = next_slice([value for _, value in pairs], done, [position for position, _ in pairs])
    return None if index is None else pairs[index]


def show_next_to_check(node: slicer.vtkMRMLSegmentationNode, volume_node: slicer.vtkMRMLScalarVolumeNode | None) -> str:
    """Let all slice views show the slice of `next_to_check`, which there must be; returns a sentence about it.

    `volume_node`: its CT; None takes positions as those of the world.
    """
    position, uncertainty = next_to_check(node)
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    point = [*middle[:2], position] if volume_node is None else at_position(volume_node, middle, position)
    slicer.vtkMRMLSliceNode.JumpAllSlices(node.GetScene(), *point)
    return f"S {position:.1f} mm: {uncertainty:.0f} mm² in doubt."


def slices_known(node: slicer.vtkMRMLSegmentationNode) -> int:
    """How many slices have an uncertainty."""
    return len(_pairs(node))


def _pairs(node: slicer.vtkMRMLSegmentationNode) -> list[tuple[float, float]]:
    return [tuple(pair) for pair in json.loads(node.GetAttribute(UNCERTAINTIES) or "[]")]


def _set_checked(node: slicer.vtkMRMLSegmentationNode, positions: Iterable[float]) -> None:
    node.SetAttribute(CHECKED, json.dumps(sorted(positions)))
