"""Make the README's pictures of the panel: the real module at work in SlicerShell on a synthetic CT.

python Testing/screenshots.py [FOLDER]
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "Testing"), str(REPOSITORY / "SpineSeg"), str(REPOSITORY / "Testing/Python/panel")]
import SlicerShell  # noqa: E402


def main(folder: Path) -> None:
    """Go through the workflow and keep a picture of each step in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    shell = SlicerShell.start()
    import slicer
    from panel_samples import add_volume
    from SpineSegLib.engine.synthetic.phantom import make_phantom

    module = shell.load_module(REPOSITORY / "SpineSeg" / "SpineSeg.py")
    slicer.util.selectModule("SpineSeg")
    panel = module.widgetRepresentation().self()
    shell.window.resize(1500, 950)
    shell.window.show()

    def picture(name: str) -> None:
        shell.process_events(0.3)
        shell.screenshot(shell.window, folder / f"{name}.png")
        print(folder / f"{name}.png", flush=True)

    case = make_phantom(7, region="thoracolumbar", view="trunk")
    volume = add_volume(case.image)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(900, 200)
    panel.enter()
    picture("panel-input")

    panel.ui.show3DCheckBox.setChecked(True)
    panel.ui.segmentButton.click()
    shell.wait_until(lambda: panel.segmentSection.run.done > panel.segmentSection.run.of * 0.5 > 0, seconds=120)
    picture("panel-segmenting")
    shell.wait_until(lambda: not panel.segmentSection.run.running, seconds=300)
    centre = [0.0] * 6
    panel.logic.getParameterNode().segmentation.GetRASBounds(centre)
    middle = [(low + high) / 2 for low, high in zip(centre[::2], centre[1::2], strict=True)]
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *middle)
    slicer.app.layoutManager().resetThreeDViews()
    picture("panel-segmented")

    truth = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Manual")
    truth.CreateDefaultDisplayNodes()
    truth.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    import SimpleITK as sitk

    mask = sitk.GetArrayFromImage(case.mask)
    for value, name in ((1, "Vertebrae"), (2, "Sacrum")):
        segment_id = truth.GetSegmentation().AddEmptySegment("", name)
        slicer.util.updateSegmentBinaryLabelmapFromArray((mask == value).astype("uint8"), truth, segment_id, volume)
    truth.GetDisplayNode().SetVisibility(False)
    for name in ("inputSection", "segmentSection"):
        getattr(panel.ui, name).collapsed = True
    panel.ui.compareSection.collapsed = False
    panel.ui.comparedSelector.setCurrentNode(panel.logic.getParameterNode().segmentation)
    panel.ui.referenceSelector.setCurrentNode(truth)
    panel.ui.compareButton.click()
    shell.wait_until(lambda: not panel.compareSection.running, seconds=120)
    panel.ui.tableSelector.setCurrentIndex(1)
    panel.ui.plotSelector.setCurrentIndex(1)
    panel.ui.plotsButton.click()
    panel.ui.nextWorstButton.click()
    panel.ui.differenceCheckBox.setChecked(True)
    picture("panel-compare")

    panel.ui.compareSection.collapsed = True
    panel.ui.correctSection.collapsed = False
    panel.logic.getParameterNode().trainingSet = Path(tempfile.mkdtemp()) / "spine.cases.h5"
    panel.ui.submitButton.click()
    shell.wait_until(lambda: not panel.correctSection.running, seconds=120)
    panel.ui.nextSliceButton.click()
    picture("panel-correct")
    shell.exit()


if __name__ == "__main__":
    os.environ["SPINESEG_MODELS"] = tempfile.mkdtemp()
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "SpineSegExtension" / "Screenshots")
