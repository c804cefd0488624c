"""Slice and 3D views: MRML's real logics and displayable managers, rendered offscreen and painted into Qt widgets.

A view makes its render window when it is first drawn, so that sessions that look at nothing need no OpenGL.
"""
# ruff: noqa: N801, N802, N815 (names are Slicer's)

from __future__ import annotations

import ctypes.util
import os
import sys
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtk.util.numpy_support import vtk_to_numpy

from .node_widgets import HoldsScene, qMRMLWidget
from .python_qt import CppProperty, cpp_class
from .scene_observer import Observations

SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager3D",
    "vtkMRMLVolumeRenderingDisplayableManager",
)
# Render windows of VTK that need no screen, by the library that each is made of.
OFFSCREEN = (("OSMesa", "vtkOSOpenGLRenderWindow"), ("EGL", "vtkEGLRenderWindow"))


class NoOpenGL(RuntimeError):  # noqa: N818 (what it is called by tests)
    """There is nothing to render with."""


def rendering_problem() -> str | None:
    """Why views can't be rendered here, in one sentence, or None. Chooses VTK's render window where nobody did."""
    if "tensorflow" in sys.modules:  # each brings its own LLVM
        return "TensorFlow is loaded in this process, and with it Mesa crashes; draw in a process of its own."
    if os.environ.get("VTK_DEFAULT_OPENGL_WINDOW"):
        return None
    for library, window in OFFSCREEN:
        if ctypes.util.find_library(library):
            os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = window
            return None
    return "There is no OpenGL without a screen; install libosmesa6 (or libegl1 and libgl1-mesa-dri)."


class RenderedView(HoldsScene, QtWidgets.QWidget):
    """A widget that shows what a render window with displayable managers draws."""

    managers: tuple[str, ...] = ()

    def __init__(self, factory: Any) -> None:
        QtWidgets.QWidget.__init__(self)
        self._factory = factory
        self._node: Any = None
        self._window: Any = None
        self._picture = QtGui.QImage()
        self._stale = True
        self._observations = Observations(self)
        self.setMinimumSize(80, 80)
        self.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Expanding)

    def _begin(self) -> None:
        """Make the render window and its displayable managers. Raises NoOpenGL."""
        if self._window is not None:
            return
        problem = rendering_problem()
        if problem:
            raise NoOpenGL(problem)
        self._renderer = vtk.vtkRenderer()
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(True)
        self._window.ShowWindowOff()
        self._window.SetMultiSamples(0)
        self._window.AddRenderer(self._renderer)
        self._prepare()
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.Initialize()
        self._resize()
        for each in self.managers:
            if not self._factory.IsDisplayableManagerRegistered(each):
                self._factory.RegisterDisplayableManager(each)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.Initialize(self._factory, self._renderer)
        self._group.SetMRMLDisplayableNode(self._node)
        self._observations.observe(self._group, vtk.vtkCommand.UpdateEvent, lambda self, _: self.scheduleRender())

    def _prepare(self) -> None:
        """What a kind of view adds before the displayable managers come."""

    def _resize(self) -> None:
        if self._window is not None:
            self._window.SetSize(max(self.width, 1), max(self.height, 1))

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        self._resize()
        self._stale = True

    def scheduleRender(self) -> None:
        self._stale = True
        self.update()

    def forceRender(self) -> None:
        """Render now. Raises NoOpenGL."""
        self._begin()
        self._before_render()
        self._window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self._window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1].copy()
        self._picture = QtGui.QImage(pixels.data, width, height, 3 * width, QtGui.QImage.Format_RGB888).copy()
        self._stale = False

    def _before_render(self) -> None:
        """What must be up to date when the window draws."""

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        try:
            if self._stale and not slicer.app._renders_paused:
                self.forceRender()
            painter.drawImage(0, 0, self._picture)
        except NoOpenGL as problem:
            painter.fillRect(self.rect, QtGui.QColor(0, 0, 0))
            painter.setPen(QtGui.QColor(255, 255, 255))
            painter.drawText(self.rect, QtCore.Qt.AlignCenter | QtCore.Qt.TextWordWrap, str(problem))
        finally:
            painter.end()

    def renderWindow(self) -> Any:
        self._begin()
        return self._window

    def interactor(self) -> Any:
        self._begin()
        return self._interactor

    def renderer(self) -> Any:
        self._begin()
        return self._renderer

    def displayableManagerByClassName(self, name: str) -> Any:
        self._begin()
        return self._group.GetDisplayableManagerByClassName(name)


@cpp_class
class qMRMLSliceView(RenderedView):
    """The picture of a slice."""

    managers = SLICE_MANAGERS

    def __init__(self, logic: Any) -> None:
        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance())
        self._logic = logic
        self._node = logic.GetSliceNode()
        self._mapper = vtk.vtkImageMapper()
        # The logic gives colours already.
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self._observations.observe(logic, vtk.vtkCommand.ModifiedEvent, lambda self, _: self.scheduleRender())

    def _prepare(self) -> None:
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        overlay = vtk.vtkRenderer()
        overlay.GetActiveCamera().ParallelProjectionOn()
        overlay.SetLayer(1)
        self._window.SetNumberOfLayers(2)
        self._window.AddRenderer(overlay)
        self._window.SetAlphaBitPlanes(1)

    def _resize(self) -> None:
        super()._resize()
        self._logic.ResizeSliceNode(max(self.width, 1), max(self.height, 1))

    def _before_render(self) -> None:
        connection = self._logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        if connection is None:
            self._renderer.RemoveViewProp(self._actor)
        elif not self._renderer.HasViewProp(self._actor):
            self._renderer.AddViewProp(self._actor)

    def mrmlSliceNode(self) -> Any:
        return self._node


@cpp_class
class qMRMLThreeDView(RenderedView):
    """The picture of the 3D scene."""

    managers = THREE_D_MANAGERS

    def __init__(self, logic: Any) -> None:
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance())
        self._logic = logic
        self._node = logic.GetViewNode()

    def _prepare(self) -> None:
        self._renderer.SetUseDepthPeeling(True)
        self._renderer.SetSafeGetZ(False)

    def mrmlViewNode(self) -> Any:
        return self._node

    def cameraNode(self) -> Any:
        manager = self.displayableManagerByClassName("vtkMRMLCameraDisplayableManager")
        return manager.GetCameraNode()

    def resetCamera(self) -> None:
        """Look at all that is there, without the box around it."""
        self._begin()
        box, labels = self._node.GetBoxVisible(), self._node.GetAxisLabelsVisible()
        self._node.SetBoxVisible(False)
        self._node.SetAxisLabelsVisible(False)
        self._renderer.ResetCamera()
        self._node.SetBoxVisible(box)
        self._node.SetAxisLabelsVisible(labels)
        self.scheduleRender()

    def resetFocalPoint(self) -> None:
        self.resetCamera()
        self._node.InvokeEvent(slicer.vtkMRMLViewNode.ResetFocalPointRequestedEvent)

    def rotateToViewAxis(self, axis: int) -> None:
        """0 to 5: right, left, posterior, anterior, inferior, superior, as vtkMRMLCameraNode numbers directions."""
        node = slicer.vtkMRMLCameraNode
        directions = (node.Right, node.Left, node.Posterior, node.Anterior, node.Inferior, node.Superior)
        self.cameraNode().RotateTo(directions[axis])
        self.scheduleRender()


class ViewBar(QtWidgets.QFrame):
    """The coloured bar above a view, with its letter."""

    def __init__(self, letter: str, colour: tuple[float, float, float]) -> None:
        super().__init__()
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(4, 1, 4, 1)
        self._letter = QtWidgets.QLabel(f"<b>{letter}</b>")
        row.addWidget(self._letter)
        red, green, blue = (round(255 * each) for each in colour)
        self.setStyleSheet(f"background: rgb({red}, {green}, {blue});")
        self.setFixedHeight(24)
        self._row = row


@cpp_class
class qMRMLSliceControllerWidget(ViewBar):
    """The bar of a slice view: its letter and its offset."""

    STEPS = 1000

    def __init__(self, logic: Any) -> None:
        node = logic.GetSliceNode()
        super().__init__(node.GetLayoutLabel(), node.GetLayoutColor())
        self._logic = logic
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._slider.setRange(0, self.STEPS)
        self._text = QtWidgets.QLabel()
        self._row.addWidget(self._slider, 1)
        self._row.addWidget(self._text)
        self._slider.valueChanged.connect(self._moved)
        self._observations = Observations(self)
        self._observations.observe(node, vtk.vtkCommand.ModifiedEvent, lambda self, _: self._show())
        self._show()

    def _bounds(self) -> tuple[float, float]:
        bounds, resolution = [0.0, 0.0], vtk.reference(1.0)
        known = self._logic.GetSliceOffsetRangeResolution(bounds, resolution)
        return tuple(bounds) if known and bounds[1] > bounds[0] else (-100.0, 100.0)

    def _show(self) -> None:
        low, high = self._bounds()
        offset = self._logic.GetSliceOffset()
        was_blocked = self._slider.blockSignals(True)
        self._slider.setValue(round((offset - low) / (high - low) * self.STEPS))
        self._slider.blockSignals(was_blocked)
        letters = {"Axial": ("S", "I"), "Sagittal": ("R", "L"), "Coronal": ("A", "P")}
        plus, minus = letters.get(self._logic.GetSliceNode().GetOrientation(), ("", ""))
        self._text.setText(f"{plus if offset >= 0 else minus}: {abs(offset):.3f}mm")

    def _moved(self, position: int) -> None:
        low, high = self._bounds()
        self._logic.SetSliceOffset(low + (high - low) * position / self.STEPS)

    def sliceOffsetSlider(self) -> QtWidgets.QSlider:
        return self._slider

    def mrmlSliceLogic(self) -> Any:
        return self._logic

    def setSliceOffsetValue(self, offset: float) -> None:
        self._logic.SetSliceOffset(offset)

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()


@cpp_class
class qMRMLSliceWidget(qMRMLWidget):
    """A slice view and its bar."""

    def __init__(self, logic: Any) -> None:
        super().__init__()
        self._logic = logic
        self._view = qMRMLSliceView(logic)
        self._bar = qMRMLSliceControllerWidget(logic)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._bar)
        column.addWidget(self._view, 1)
        self.setObjectName(f"qMRMLSliceWidget{logic.GetSliceNode().GetLayoutName()}")

    sliceOrientation = CppProperty(
        str,
        lambda self: self._logic.GetSliceNode().GetOrientation(),
        lambda self, name: self._logic.GetSliceNode().SetOrientation(name),
    )
    sliceViewName = CppProperty(str, lambda self: self._logic.GetSliceNode().GetLayoutName())

    def sliceView(self) -> qMRMLSliceView:
        return self._view

    def sliceController(self) -> qMRMLSliceControllerWidget:
        return self._bar

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def interactorStyle(self) -> Any:
        return self._view.interactor().GetInteractorStyle()

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()


@cpp_class
class qMRMLThreeDWidget(qMRMLWidget):
    """A 3D view and its bar."""

    def __init__(self, logic: Any) -> None:
        super().__init__()
        node = logic.GetViewNode()
        self._view = qMRMLThreeDView(logic)
        self._bar = ViewBar(node.GetLayoutLabel(), node.GetLayoutColor())
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._bar)
        column.addWidget(self._view, 1)

    def threeDView(self) -> qMRMLThreeDView:
        return self._view

    def threeDController(self) -> ViewBar:
        return self._bar

    def mrmlViewNode(self) -> Any:
        return self._view.mrmlViewNode()


WIDGETS = (
    qMRMLSliceView,
    qMRMLSliceControllerWidget,
    qMRMLSliceWidget,
    qMRMLThreeDView,
    qMRMLThreeDWidget,
)
