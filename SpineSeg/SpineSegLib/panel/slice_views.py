"""What the slice views show."""

from __future__ import annotations

import slicer

from SpineSegLib.scene.volumes import axial_position


def shown_position(volume_node: slicer.vtkMRMLScalarVolumeNode) -> float:
    """Position (mm towards the head, see `axial_position`) in a CT of the slice that the red view shows."""
    to_ras = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetSliceToRAS()
    return axial_position(volume_node, [to_ras.GetElement(row, 3) for row in range(3)])
