"""The one Slicer of this process: started once, emptied between tests, ended at exit."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from .application import use_platform

use_platform()

import slicer  # noqa: E402
import vtk  # noqa: E402
from PySide6 import QtCore, QtWidgets  # noqa: E402

from . import (  # noqa: E402
    ctk_module,
    i18n_module,
    node_widgets,
    packaging_module,
    plot_view,
    python_qt,
    scripted_modules,
    table_views,
    views,
)
from .application import qSlicerApplication, qSlicerCoreCommandOptions, qSlicerMainWindow  # noqa: E402
from .core_modules import (  # noqa: E402
    Modules,
    add_core_modules,
    qSlicerCoreModule,
    qSlicerModuleFactoryManager,
    qSlicerModuleManager,
)
from .dialogs import DIALOGS, adopt_dialogs  # noqa: E402
from .io_manager import qSlicerCoreIOManager  # noqa: E402
from .layout_manager import qSlicerLayoutManager  # noqa: E402
from .subject_hierarchy import SubjectHierarchyPlugins  # noqa: E402
from .ui_loader import UiLoader  # noqa: E402

UI_CLASSES = (*ctk_module.WIDGETS, *node_widgets.WIDGETS, *table_views.WIDGETS, *plot_view.WIDGETS)
GUI_CLASSES = (
    *node_widgets.WIDGETS,
    *table_views.WIDGETS,
    *plot_view.WIDGETS,
    *views.WIDGETS,
    qSlicerLayoutManager,
    qSlicerApplication,
    qSlicerCoreCommandOptions,
    qSlicerCoreIOManager,
    qSlicerCoreModule,
    qSlicerMainWindow,
    qSlicerModuleFactoryManager,
    qSlicerModuleManager,
    scripted_modules.qSlicerScriptedLoadableModule,
    scripted_modules.qSlicerScriptedLoadableModuleWidget,
)


class Session:
    """What `SlicerShell.start()` gives."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.dialogs = DIALOGS
        self.pip = packaging_module.PIP
        self.errors = python_qt.UncaughtErrors()
        self.scripted: dict[str, scripted_modules.qSlicerScriptedLoadableModule] = {}
        self.kept: list[Any] = []

    def begin(self) -> None:
        """Make `slicer`, `qt` and `ctk` what they are inside Slicer."""
        python_qt.adopt_habits()
        adopt_dialogs()
        self.errors.install()
        for name in vars(slicer.util):
            # slicer-core spills its functions into `slicer`, where Slicer has none of them.
            if name in vars(slicer) and not name.startswith("__") and not isinstance(vars(slicer)[name], ModuleType):
                delattr(slicer, name)
        qt = python_qt.make_module()
        qt.QUiLoader = UiLoader
        sys.modules["qt"] = qt
        sys.modules["ctk"] = ctk_module.make_module()
        UiLoader.widget_classes.update({each.__name__: each for each in UI_CLASSES})
        for each in GUI_CLASSES:
            setattr(slicer, each.__name__, each)
        slicer.qSlicerCoreApplication = qSlicerApplication
        slicer.app = qSlicerApplication(self.version)
        slicer.modules = Modules()
        self._make_scene()
        self._add_modules()
        slicer.app._layout = qSlicerLayoutManager(slicer.mrmlScene, slicer.app.applicationLogic())
        self.window = qSlicerMainWindow()

    def _make_scene(self) -> None:
        scene = slicer.vtkMRMLScene()
        logic = slicer.vtkSlicerApplicationLogic()
        slicer.mrmlScene = scene
        scene.SetUndoOff()
        scene.SetCacheManager(slicer.vtkCacheManager())
        scene.GetCacheManager().SetRemoteCacheDirectory(slicer.app.temporaryPath)
        scene.GetCacheManager().SetMRMLScene(scene)
        data = slicer.vtkDataIOManager()
        data.SetCacheManager(scene.GetCacheManager())
        scene.SetDataIOManager(data)
        data_logic = slicer.vtkDataIOManagerLogic()
        data_logic.SetMRMLScene(scene)
        data_logic.SetMRMLApplicationLogic(logic)
        data_logic.SetAndObserveDataIOManager(data)
        logic.SetTemporaryPath(slicer.app.temporaryPath)
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        scene.AddNode(crosshair)
        logic.SetMRMLScene(scene)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        self.kept += [data, data_logic]
        slicer.app._set_scene(scene, logic)
        self.kept.append(SubjectHierarchyPlugins(scene))

    def _add_modules(self) -> None:
        add_core_modules(slicer.app.moduleManager(), slicer.app.applicationLogic(), slicer.mrmlScene)
        base = ModuleType("slicer.ScriptedLoadableModule", scripted_modules.__doc__)
        for each in scripted_modules.PUBLIC:
            setattr(base, each.__name__, each)
        base.__all__ = [each.__name__ for each in scripted_modules.PUBLIC]
        self._give("ScriptedLoadableModule", base)
        self._give("i18n", i18n_module.make_module())
        from . import parameter_nodes

        self._give("parameterNodeWrapper", parameter_nodes)
        packaging = packaging_module.adopt(self.version)
        if packaging is not None:
            self._give("packaging", packaging)

    @staticmethod
    def _give(name: str, module: ModuleType) -> None:
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)

    def load_module(self, path: str | Path) -> scripted_modules.qSlicerScriptedLoadableModule:
        """Load a scripted module by its file, as at Slicer's start; gives what `slicer.modules.<name>` is."""
        module = scripted_modules.load_scripted_module(Path(path).resolve())
        self.scripted[module.name] = module
        slicer.app.startupCompleted.emit()
        return module

    def unload_module(self, name: str) -> None:
        """As at Slicer's end: leave the panel, call its `cleanup`, take it away."""
        module = self.scripted.pop(name)
        if slicer.util.selectedModule() == name:
            self.window._show_module("")
        slicer.app.moduleManager()._remove(name)
        if module._widget is not None:
            module._widget.deleteLater()
        self.process_events()

    def exit(self) -> None:
        """What happens when Slicer ends, up to the end of the process."""
        for name in list(self.scripted):
            self.unload_module(name)
        slicer.app.aboutToQuit.emit()

    def process_events(self, seconds: float = 0.0) -> None:
        """Let Qt work: what is waiting or, with `seconds`, all that comes in this time."""
        end = time.monotonic() + seconds
        while True:
            slicer.app.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
            slicer.app.processEvents()
            if time.monotonic() >= end:
                return
            time.sleep(0.005)

    def wait_until(self, condition: Any, seconds: float = 10.0) -> None:
        """Let Qt work until `condition()` is true. Raises TimeoutError when it isn't in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"nothing came in {seconds} s")
            self.process_events()
            time.sleep(0.005)

    def take_errors(self) -> list[BaseException]:
        """The exceptions that left a slot, an observer or a timer since the last call."""
        found, self.errors.found = self.errors.found, []
        return found

    def screenshot(self, widget: QtWidgets.QWidget, path: str | Path) -> Path:
        """A picture of a widget, shown or not, as a PNG file."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.process_events()
        if not widget.grab().save(str(path)):
            raise OSError(f"{path} can't be written")
        return path
