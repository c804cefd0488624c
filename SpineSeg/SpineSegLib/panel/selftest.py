"""The panel tried out by its real buttons on a synthetic CT: Slicer's "Reload and Test", and our own tests."""

from __future__ import annotations

import time
import unittest
from collections.abc import Callable
from functools import cache

import numpy as np
import slicer

from SpineSegLib.engine.synthetic.phantom import Phantom, make_phantom
from SpineSegLib.engine.volume import Grid
from SpineSegLib.scene import volume_nodes
from SpineSegLib.scene.submission import training_mask

LONGEST = 120  # seconds that anything here may take on a slow computer


def wait_until(condition: Callable[[], bool], seconds: float = LONGEST) -> None:
    """Let Slicer work until the condition holds; raises AssertionError if it takes longer."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"nothing happened for {seconds} s")
        slicer.app.processEvents()
        time.sleep(0.01)


@cache
def phantom() -> Phantom:
    """A small lumbar spine with known truth."""
    return make_phantom(11, region="lumbar", view="spine")


def add_ct(case: Phantom) -> slicer.vtkMRMLScalarVolumeNode:
    """The phantom's CT as a volume of the scene."""
    import SimpleITK as sitk

    return volume_nodes.add_ct(slicer.mrmlScene, sitk.GetArrayViewFromImage(case.image), Grid.of(case.image), "CT")


class PanelTest(unittest.TestCase):
    """Segment, Cancel, current slice, a worker that dies and a scene that closes."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        slicer.util.selectModule("SpineSeg")
        self.panel = slicer.modules.spineseg.widgetRepresentation().self()
        self.ct = add_ct(phantom())
        self.panel.enter()
        self.parameters = self.panel.logic.getParameterNode()

    def tearDown(self) -> None:
        slicer.mrmlScene.Clear()

    def press_segment(self) -> None:
        self.assertTrue(self.panel.ui.segmentButton.enabled, self.panel.ui.segmentButton.toolTip)
        self.panel.ui.segmentButton.click()

    def wait_for_end(self) -> None:
        wait_until(lambda: not self.panel.segmentSection.run.running)

    def wait_for_slices(self) -> None:
        wait_until(lambda: self.panel.segmentSection.run.done > 0 or not self.panel.segmentSection.run.running)

    def dice(self) -> float:
        import SimpleITK as sitk

        found = training_mask(self.parameters.segmentation, self.ct) > 0
        truth = sitk.GetArrayFromImage(phantom().mask) > 0
        return 2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth))

    def test_segment(self) -> None:
        self.press_segment()
        self.assertEqual(self.panel.ui.segmentButton.text, "Cancel")
        self.wait_for_end()
        self.assertEqual(self.panel.segmentSection.run.state, "finished", self.panel.segmentSection.run.message)
        self.assertEqual(self.panel.ui.segmentButton.text, "Segment")
        names = {
            self.parameters.segmentation.GetSegmentation().GetNthSegment(n).GetName()
            for n in range(self.parameters.segmentation.GetSegmentation().GetNumberOfSegments())
        }
        self.assertLessEqual({"Vertebrae"}, names)
        self.assertGreater(self.dice(), 0.85)

    def test_second_run_uses_the_same_process(self) -> None:
        self.press_segment()
        self.wait_for_end()
        before = self.panel.logic.worker.pid
        first = self.dice()
        self.press_segment()
        self.wait_for_end()
        self.assertEqual(self.panel.logic.worker.pid, before)
        self.assertEqual(self.dice(), first)

    def test_cancel_takes_everything_back(self) -> None:
        nodes = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
        self.press_segment()
        self.wait_for_slices()
        self.panel.ui.segmentButton.click()
        self.assertEqual(self.panel.segmentSection.run.state, "cancelled")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), nodes)
        self.assertEqual(self.panel.ui.segmentButton.text, "Segment")
        self.wait_for_end()

    def test_worker_that_dies_is_reported_and_replaced(self) -> None:
        self.press_segment()
        self.wait_for_slices()
        self.panel.logic.worker._process.kill()
        self.wait_for_end()
        self.assertEqual(self.panel.segmentSection.run.state, "failed")
        self.assertIn("stopped unexpectedly", self.panel.segmentSection.run.message)
        self.press_segment()
        self.wait_for_end()
        self.assertEqual(self.panel.segmentSection.run.state, "finished")

    def test_closing_the_scene_ends_the_run(self) -> None:
        self.press_segment()
        self.wait_for_slices()
        run = self.panel.segmentSection.run
        slicer.mrmlScene.Clear()
        self.assertNotEqual(run.state, "segmenting")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), 0)
        self.assertFalse(self.panel.ui.segmentButton.enabled)
