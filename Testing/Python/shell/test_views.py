"""Slice, 3D and plot views show what is in the scene, offscreen."""

import numpy as np
import pytest


@pytest.fixture
def views(shell):
    from SlicerShell.views import rendering_problem

    problem = rendering_problem()
    if problem:
        pytest.skip(problem)
    import slicer

    manager = slicer.app.layoutManager()
    yield manager
    for view in (
        *(manager.sliceWidget(each).sliceView() for each in manager.sliceViewNames()),
        manager.threeDWidget(0),
    ):
        view.setMinimumSize(80, 80)
        view.setMaximumSize(10000, 10000)
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    slicer.util.mainWindow().hide()


@pytest.fixture
def ball(views):
    """A CT with a gradient and a red ball of 12 mm radius at its middle, which is the origin."""
    import slicer

    k, j, i = np.mgrid[-20:20, -20:20, -20:20]
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    volume = slicer.util.addVolumeFromArray((i * 20).astype(np.int16), to_ras, "CT")
    volume.SetOrigin(20, 20, -20)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Ball")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    identifier = node.GetSegmentation().AddEmptySegment("ball", "ball", [1, 0, 0])
    mask = (k * k + j * j + i * i < 144).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, identifier, volume)
    return volume, node


def make_size(view, width, height):
    """Give a view a size, though its window isn't shown."""
    view.setFixedSize(width, height)
    view.grab()


def picture_of(widget, shell, path):
    """Red, green, blue of every pixel, rows from the top."""
    import qt

    image = qt.QImage(str(shell.screenshot(widget, path))).convertToFormat(qt.QImage.Format_RGB888)
    rows = np.frombuffer(bytes(image.constBits()), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)


def reddish(pixels):
    return (pixels[..., 0] > pixels[..., 1] + 60) & (pixels[..., 0] > pixels[..., 2] + 60)


@pytest.mark.parametrize(("name", "orientation"), [("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal")])
def test_a_slice_with_a_segment(ball, views, shell, tmp_path, name, orientation):
    import slicer

    volume, node = ball
    widget = views.sliceWidget(name)
    assert widget.mrmlSliceNode().GetOrientation() == orientation
    view = widget.sliceView()
    make_size(view, 200, 200)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    widget.sliceLogic().SetSliceOffset(0)
    shown = picture_of(view, shell, tmp_path / "slice.png")
    red = reddish(shown)
    # A disc of 12 of 20 mm: pi / 4 * 0.6 ** 2 of the picture, around its middle.
    assert red.mean() == pytest.approx(np.pi / 4 * 0.36, rel=0.1)
    assert np.argwhere(red).mean(axis=0) == pytest.approx([100, 100], abs=3)
    node.GetDisplayNode().SetVisibility(False)
    assert not reddish(picture_of(view, shell, tmp_path / "hidden.png")).any()
    node.GetDisplayNode().SetVisibility(True)
    widget.sliceLogic().SetSliceOffset(15)
    assert not reddish(picture_of(view, shell, tmp_path / "beside.png")).any()


def test_left_is_right_as_radiologists_look(ball, views, shell, tmp_path):
    import slicer

    volume, node = ball
    slicer.mrmlScene.RemoveNode(node)
    view = views.sliceWidget("Red").sliceView()
    make_size(view, 200, 200)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    shown = picture_of(view, shell, tmp_path / "slice.png").sum(axis=2)
    # Values grow with i, which runs to the patient's left, and so to the right of the picture.
    assert shown[100, 180] > shown[100, 100] > shown[100, 20]


def test_3d(ball, views, shell, tmp_path):
    import slicer

    view = views.threeDWidget(0).threeDView()
    make_size(view, 200, 200)
    assert not reddish(picture_of(view, shell, tmp_path / "empty.png")).any()
    ball[1].CreateClosedSurfaceRepresentation()
    slicer.util.resetThreeDViews()
    view.rotateToViewAxis(3)
    red = reddish(picture_of(view, shell, tmp_path / "3d.png"))
    assert red.mean() > 0.1
    assert np.argwhere(red).mean(axis=0) == pytest.approx([100, 100], abs=10)


def test_the_window(ball, views, shell, tmp_path):
    import slicer

    slicer.util.setSliceViewerLayers(background=ball[0], fit=True)
    window = slicer.util.mainWindow()
    window.show()
    shown = picture_of(window, shell, tmp_path / "window.png")
    assert reddish(shown[:, 500:]).any()
    views.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    shell.process_events()
    assert views.sliceWidget("Red").visible
    assert not views.sliceWidget("Green").visible


def test_views_live_through_closing_and_loading(ball, views, shell, tmp_path):
    import slicer

    slicer.util.mainWindow().show()
    shell.process_events()
    slicer.util.saveScene(str(tmp_path / "s.mrb"))
    slicer.mrmlScene.Clear()
    assert not reddish(picture_of(views.sliceWidget("Red").sliceView(), shell, tmp_path / "closed.png")).any()
    slicer.util.loadScene(str(tmp_path / "s.mrb"))
    slicer.util.setSliceViewerLayers(background=slicer.util.getNode("CT"), fit=True)
    assert reddish(picture_of(views.sliceWidget("Red").sliceView(), shell, tmp_path / "loaded.png")).any()


def test_a_plot(views, shell, tmp_path):
    import slicer

    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    slicer.util.updateTableFromArray(table, [np.arange(9.0), np.arange(9.0) ** 2], ["x", "y"])
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "squares")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("x")
    series.SetYColumnName("y")
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetColor(1, 0, 0)
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    node.SetPlotChartNodeID(chart.GetID())
    view = slicer.qMRMLPlotView()
    view.setMRMLScene(slicer.mrmlScene)
    view.setMRMLPlotViewNode(node)
    view.resize(300, 200)
    assert not reddish(picture_of(view, shell, tmp_path / "empty.png")).any()
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    assert reddish(picture_of(view, shell, tmp_path / "plot.png")).any()


def test_a_plot_in_the_layout(views, shell):
    import slicer
    import vtk

    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    slicer.util.updateTableFromArray(table, [np.arange(9.0)], ["y"])
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "y")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetYColumnName("y")
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    assert views.plotWidget(0) is None
    views.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView)
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    assert views.plotViewCount == 1
    view = views.plotWidget(0).plotView()
    assert view.mrmlPlotViewNode().GetPlotChartNode() is chart
    chosen = []
    view.connect(
        "dataSelected(vtkStringArray*,vtkCollection*)",
        lambda ids, points: chosen.append((ids.GetValue(0), points.GetItemAsObject(0).GetValue(0))),
    )
    selected = vtk.vtkIdTypeArray()
    selected.InsertNextValue(7)
    view.chart().GetPlot(0).SetSelection(selected)
    view.chart().InvokeEvent("SelectionChangedEvent")
    assert chosen == [(series.GetID(), 7)]


def test_without_opengl_a_view_says_so(shell, tmp_path, monkeypatch):
    import slicer
    from SlicerShell import views

    monkeypatch.setattr(views, "rendering_problem", lambda: "There is no OpenGL.")
    view = views.qMRMLSliceView(slicer.app.layoutManager().sliceWidget("Red").sliceLogic())
    view.resize(300, 100)
    assert picture_of(view, shell, tmp_path / "view.png").max() > 200
    with pytest.raises(views.NoOpenGL):
        view.forceRender()
