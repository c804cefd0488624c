"""What the panel's tests share."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk


def add_volume(image: sitk.Image, name: str = "CT"):
    """An image (LPS) as a scalar volume of the scene (RAS)."""
    import slicer

    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    to_ras = slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix)
    return slicer.util.addVolumeFromArray(sitk.GetArrayFromImage(image), to_ras, name)


def segment(panel, shell, volume, segmentation=None) -> None:
    """Choose in the panel, press Segment and wait for the end."""
    panel.enter()
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.segmentationSelector.setCurrentNode(segmentation)
    assert panel.ui.segmentButton.enabled, panel.ui.segmentButton.toolTip
    panel.ui.segmentButton.click()
    shell.wait_until(lambda: not panel.segmentSection.run.running, seconds=120)
    assert panel.segmentSection.run.state == "finished", panel.segmentSection.run.message


def marked(panel, volume) -> np.ndarray:
    """Where any segment of the panel's segmentation lies, on the volume's grid (bool k, j, i)."""
    import slicer

    node = panel.logic.getParameterNode().segmentation
    ids = node.GetSegmentation().GetSegmentIDs()
    return np.any([slicer.util.arrayFromSegmentBinaryLabelmap(node, each, volume) > 0 for each in ids], axis=0)
