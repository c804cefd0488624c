"""Make the README's pictures of the panel: the real module at work in SlicerShell on synthetic CT.

python Testing/screenshots.py [FOLDER]

First a CT like those the default model knows is segmented, compared and submitted. Then comes the whole loop on scans
of a kind it does not know: three are segmented, corrected by script as the Segment Editor would, and submitted; the
model is re-trained with the usual settings and stopped after some epochs; the version that is left segments a fourth
scan. SPINESEG_MODELS may name the model folder to use, which saves rendering the phantoms to rehearse once more.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [
    str(REPOSITORY),
    str(REPOSITORY / "Testing"),
    str(REPOSITORY / "SpineSeg"),
    str(REPOSITORY / "Testing/Python/panel"),
]
import SlicerShell  # noqa: E402

EPOCHS = 3  # after which the re-training is stopped
COLOURS = 256  # of the pictures, which must not fill the repository


def main(folder: Path) -> None:
    """Go through the workflow and keep a picture of each step in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    shell = SlicerShell.start()
    import slicer
    from panel_samples import add_volume, segment
    from PIL import Image
    from SpineSegLib.engine.synthetic.phantom import make_phantom

    from Testing.Benchmarks.loop import SEED, patient

    module = shell.load_module(REPOSITORY / "SpineSeg" / "SpineSeg.py")
    slicer.util.selectModule("SpineSeg")
    panel = module.widgetRepresentation().self()
    shell.window.resize(1500, 950)
    shell.window.show()

    def picture(name: str) -> None:
        shell.process_events(0.3)
        path = folder / f"{name}.png"
        shell.screenshot(shell.window, path)
        with Image.open(path) as full:
            # Of Pillow's methods the one that keeps every colour: at most 9 of 255 away, where others blotch the bone.
            few = full.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=3)
            few.save(path, optimize=True)
        print(path, flush=True)

    def opened(name: str) -> None:
        for each in ("input", "segment", "compare", "correct", "retrain"):
            getattr(panel.ui, f"{each}Section").collapsed = each != name

    def look_at(node) -> None:
        """Show the middle of a segmentation everywhere."""
        bounds = [0.0] * 6
        node.GetRASBounds(bounds)
        middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *middle)
        slicer.app.layoutManager().resetThreeDViews()

    def draw_truth(node, mask, volume) -> None:
        """The segments become as in the mask (k, j, i; 1 vertebrae, 2 sacrum)."""
        for value, name in ((1, "Vertebrae"), (2, "Sacrum")):
            segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
            segment_id = segment_id or node.GetSegmentation().AddEmptySegment("", name)
            slicer.util.updateSegmentBinaryLabelmapFromArray((mask == value).astype("uint8"), node, segment_id, volume)

    def manual(mask, volume):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Manual")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        draw_truth(node, mask, volume)
        node.GetDisplayNode().SetVisibility(False)
        return node

    def compare(node, reference) -> None:
        panel.ui.comparedSelector.setCurrentNode(node)
        panel.ui.referenceSelector.setCurrentNode(reference)
        panel.ui.compareButton.click()
        shell.wait_until(lambda: not panel.compareSection.running, seconds=300)

    def submit() -> None:
        panel.ui.submitButton.click()
        shell.wait_until(lambda: not panel.correctSection.running, seconds=300)

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
    parameters = panel.logic.getParameterNode()
    look_at(parameters.segmentation)
    picture("panel-segmented")

    import SimpleITK as sitk

    truth = manual(sitk.GetArrayFromImage(case.mask), volume)
    opened("compare")
    compare(parameters.segmentation, truth)
    panel.ui.tableSelector.setCurrentIndex(1)
    panel.ui.plotSelector.setCurrentIndex(1)
    panel.ui.plotsButton.click()
    panel.ui.nextWorstButton.click()
    panel.ui.differenceCheckBox.setChecked(True)
    picture("panel-compare")

    opened("correct")
    panel.ui.differenceCheckBox.setChecked(False)
    parameters.trainingSet = Path(tempfile.mkdtemp()) / "spine.cases.h5"
    submit()
    panel.ui.nextSliceButton.click()
    picture("panel-correct")

    parameters.segmentation.GetDisplayNode().SetVisibility(False)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    parameters.trainingSet = Path(tempfile.mkdtemp()) / "cone-beam.cases.h5"
    for number in range(3):
        scan = patient(SEED + number, new=True)
        volume = add_volume(scan.volume.image, f"Cone beam {number + 1}")
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        segment(panel, shell, volume)
        draw_truth(parameters.segmentation, scan.truth, volume)
        panel.ui.completedButton.click()
        submit()
        parameters.segmentation.GetDisplayNode().SetVisibility(number == 2)
    parameters.segmentation.CreateClosedSurfaceRepresentation()
    look_at(parameters.segmentation)
    picture("panel-submitted")

    opened("retrain")
    panel.ui.retrainButton.click()
    run = panel.retrainSection.run
    shell.wait_until(lambda: len(run.epochs) >= EPOCHS or not run.running, seconds=3600)
    picture("panel-retraining")
    panel.ui.retrainButton.click()
    shell.wait_until(lambda: not panel.retrainSection.running, seconds=300)
    shell.process_events(1.0)
    picture("panel-retrained")

    scan = patient(SEED + 100, new=True)
    volume = add_volume(scan.volume.image, "Cone beam 4")
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    parameters.segmentation.GetDisplayNode().SetVisibility(False)
    truth = manual(scan.truth, volume)
    opened("compare")
    new_version = parameters.model
    drawn = []
    for model in ("default", new_version):
        parameters.model = model
        if drawn:
            drawn[0].GetDisplayNode().SetVisibility(False)
        segment(panel, shell, volume)
        drawn.append(parameters.segmentation)
        compare(drawn[-1], truth)
        print(model, panel.ui.compareStatusLabel.text, flush=True)
    look_at(drawn[-1])
    panel.ui.plotSelector.setCurrentIndex(0)
    panel.ui.plotsButton.click()
    panel.ui.differenceCheckBox.setChecked(True)
    picture("panel-compared-again")
    shell.exit()


if __name__ == "__main__":
    os.environ.setdefault("SPINESEG_MODELS", tempfile.mkdtemp())
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "SpineSegExtension" / "Screenshots")
