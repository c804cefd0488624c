"""Live segments in a slice view with Slicer's own displayable manager: drawn when written, without being asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

# In a process of its own, as the kind of OpenGL is chosen once. Prints the number of coloured pixels at each step.
PROGRAM = """
import json, os, sys
os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = "vtkOSOpenGLRenderWindow"
sys.path.insert(0, {folder!r})
from scene_samples import *
from SpineSegLib.engine.segments import SACRUM, VERTEBRAE
from SpineSegLib.scene.live_segments import LiveSegments
from SpineSegLib.scene.segmentations import new_segmentation
from vtk.util.numpy_support import vtk_to_numpy

scene = slicer.vtkMRMLScene()
application = slicer.vtkMRMLApplicationLogic()
application.SetMRMLScene(scene)
factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
factory.SetMRMLApplicationLogic(application)
factory.RegisterDisplayableManager("vtkMRMLSegmentationsDisplayableManager2D")
slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
view = slicer.vtkMRMLSliceNode()
view.SetLayoutName("Red")
scene.AddNode(view)

window, renderer, overlay = vtk.vtkRenderWindow(), vtk.vtkRenderer(), vtk.vtkRenderer()
window.SetOffScreenRendering(True)
window.SetMultiSamples(0)
window.SetSize(120, 120)
window.SetNumberOfLayers(2)
window.AddRenderer(renderer)
overlay.SetLayer(1)
window.AddRenderer(overlay)
interactor = vtk.vtkRenderWindowInteractor()
interactor.SetRenderWindow(window)
interactor.Initialize()
managers = slicer.vtkMRMLDisplayableManagerGroup()
managers.Initialize(factory, renderer)
managers.SetMRMLDisplayableNode(view)
asked = []
managers.AddObserver(vtk.vtkCommand.UpdateEvent, lambda *_: asked.append(1))


def coloured() -> int:
    window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    grabber.Update()
    return int((vtk_to_numpy(grabber.GetOutput().GetPointData().GetScalars()).sum(axis=1) > 0).sum())


renderer.SetBackground(1, 1, 1)
if coloured() == 0:
    print(json.dumps(None))
    sys.exit()
renderer.SetBackground(0, 0, 0)

image = ct_image(size=(40, 40, 20), spacing=(1, 1, 1))
volume = add_volume(scene, image)
view.SetDimensions(120, 120, 1)
view.SetFieldOfView(60, 60, 1)
x, y, z = image.TransformContinuousIndexToPhysicalPoint((20, 20, 10))
place = np.diag([-1.0, 1.0, 1.0, 1.0])
place[:3, 3] = -x, -y, z
view.GetSliceToRAS().DeepCopy(vtk_matrix(place))
view.UpdateMatrices()

found, requests = [], []


def look() -> None:
    requests.append(len(asked))
    asked.clear()
    found.append(coloured())


node = new_segmentation(volume)
live = LiveSegments(node, volume, (VERTEBRAE, SACRUM))
look()
mask = np.full((20, 40, 40), 255, np.uint8)
mask[8:12, 10:20, 10:20] = 1
live.write(mask, (8, 12, 10, 20, 10, 20))
look()
mask[8:12, 20:30, 10:20] = 2
live.write(mask, (8, 12, 20, 30, 10, 20))
look()
mask[0:3] = 1  # far from the slice that is shown
live.write(mask, (0, 3, 0, 40, 0, 40))
look()
mask[:], mask[8:12, 20:30, 10:20] = 0, 2
live.write(mask, (0, 20, 0, 40, 0, 40))
live.finish()
look()
live = LiveSegments(node, volume, (VERTEBRAE, SACRUM))
look()
live.revert()
look()
print(json.dumps([found, requests]))
"""


def test_the_view_shows_what_is_written(run_python):
    pytest.importorskip("slicer")
    printed = run_python(PROGRAM.replace("{folder!r}", repr(str(Path(__file__).parent))))
    result = json.loads(printed.strip().splitlines()[-1])
    if result is None:
        pytest.skip("there is no OpenGL without a screen; install libosmesa6")
    (empty, first, both, same, finished, again, reverted), requests = result
    assert empty == again == 0
    assert first > 200
    assert both == same == pytest.approx(2 * first, rel=0.2)
    assert reverted == finished == pytest.approx(first, rel=0.2)
    assert all(requests)
