"""`slicer.app`: the Qt application with what Slicer's has beyond Qt's."""
# ruff: noqa: N801, N802, N815 (names are Slicer's)

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Signal

from .core_modules import qSlicerModuleManager
from .io_manager import qSlicerCoreIOManager
from .python_qt import CppProperty, cpp_class


@cpp_class
class qSlicerCoreCommandOptions(QtCore.QObject):
    """How Slicer was started."""

    noMainWindow = CppProperty(bool, lambda self: False)
    testingEnabled = CppProperty(bool, lambda self: slicer.app.testingEnabled())
    disableSettings = CppProperty(bool, lambda self: False)
    runPythonAndExit = CppProperty(bool, lambda self: False, lambda self, value: None)


@cpp_class
class qSlicerApplication(QtWidgets.QApplication):
    """The application. Settings and temporary files lie in a temporary folder of this process."""

    startupCompleted = Signal()
    mrmlSceneChanged = Signal(object)
    _cpp_signals = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged(PyObject)"}  # noqa: RUF012
    AA_EnableTesting = 2

    def __init__(self, version: str) -> None:
        super().__init__(["Slicer"])
        self._version = version
        self._folder = tempfile.TemporaryDirectory(prefix="Slicer-")
        self._temporary = Path(self._folder.name) / "temporary"
        self._temporary.mkdir()
        self._settings = Path(self._folder.name) / "settings"
        self._testing = False
        self._exit_code: int | None = None
        self._renders_paused = 0
        self._options = qSlicerCoreCommandOptions()
        self._io = qSlicerCoreIOManager()
        self._modules = qSlicerModuleManager()
        self._layout: Any = None
        self._logic: Any = None
        self._scene: Any = None
        self.setApplicationName("Slicer")
        self.setOrganizationName("slicer.org")
        self.setApplicationVersion(version)
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(self._settings))

    mainApplicationName = CppProperty(str, lambda self: "Slicer")
    majorVersion = CppProperty(int, lambda self: int(self._version.split(".")[0]))
    minorVersion = CppProperty(int, lambda self: int(self._version.split(".")[1]))
    revision = CppProperty(str, lambda self: "34045")
    repositoryRevision = CppProperty(str, lambda self: "34045")
    releaseType = CppProperty(str, lambda self: "Stable")
    platform = CppProperty(str, lambda self: "linux-amd64")
    os = CppProperty(str, lambda self: "linux")
    arch = CppProperty(str, lambda self: "amd64")
    slicerHome = CppProperty(str, lambda self: self._folder.name)
    slicerSharePath = CppProperty(str, lambda self: f"share/Slicer-{self.majorVersion}.{self.minorVersion}")
    temporaryPath = CppProperty(str, lambda self: str(self._temporary))
    cachePath = CppProperty(str, lambda self: str(self._temporary))
    defaultScenePath = CppProperty(str, lambda self: str(self._temporary))
    extensionsInstallPath = CppProperty(str, lambda self: str(Path(self._folder.name) / "Extensions"))
    slicerUserSettingsFilePath = CppProperty(str, lambda self: self.userSettings().fileName())
    slicerDefaultSettingsFilePath = CppProperty(str, lambda self: self.userSettings().fileName())
    launcherExecutableFilePath = CppProperty(str, lambda self: str(Path(self._folder.name) / "Slicer"))
    documentationBaseUrl = CppProperty(
        str, lambda self: f"https://slicer.readthedocs.io/en/{self.majorVersion}.{self.minorVersion}/"
    )
    intDir = CppProperty(str, lambda self: "")

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def mrmlScene(self) -> Any:
        return self._scene

    def _set_scene(self, scene: Any, logic: Any) -> None:
        self._scene, self._logic = scene, logic
        self.mrmlSceneChanged.emit(scene)

    def applicationLogic(self) -> Any:
        return self._logic

    def moduleManager(self) -> qSlicerModuleManager:
        return self._modules

    def coreIOManager(self) -> qSlicerCoreIOManager:
        return self._io

    def ioManager(self) -> qSlicerCoreIOManager:
        return self._io

    def layoutManager(self) -> Any:
        return self._layout

    def commandOptions(self) -> qSlicerCoreCommandOptions:
        return self._options

    def coreCommandOptions(self) -> qSlicerCoreCommandOptions:
        return self._options

    def userSettings(self) -> QtCore.QSettings:
        return QtCore.QSettings(str(self._settings / "Slicer.ini"), QtCore.QSettings.IniFormat)

    def settings(self) -> QtCore.QSettings:
        return self.userSettings()

    def revisionUserSettings(self) -> QtCore.QSettings:
        return QtCore.QSettings(str(self._settings / "Slicer-34045.ini"), QtCore.QSettings.IniFormat)

    def testingEnabled(self) -> bool:
        return self._testing

    def testAttribute(self, attribute: int) -> bool:
        if attribute == self.AA_EnableTesting:
            return self._testing
        return QtWidgets.QApplication.testAttribute(attribute)

    def isInstalled(self) -> bool:
        return True

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def pauseRender(self) -> int:
        self._renders_paused += 1
        return self._renders_paused

    def resumeRender(self) -> int:
        self._renders_paused -= 1
        return self._renders_paused

    def exit(self, code: int = 0) -> None:
        """Noted, since the tests go on."""
        self._exit_code = code

    def restart(self) -> None:
        self._exit_code = 0

    def pythonConsole(self) -> None:
        return None


@cpp_class
class qSlicerModuleSelectorToolBar(QtWidgets.QToolBar):
    """Chooses which module's panel is shown."""

    moduleSelected = Signal(str)

    def __init__(self, window: qSlicerMainWindow) -> None:
        super().__init__(window)
        self._window = window

    selectedModule = CppProperty(str, lambda self: self._window._selected)

    def selectModule(self, name: str) -> None:
        self._window._show_module(name)
        self.moduleSelected.emit(name)


@cpp_class
class qSlicerMainWindow(QtWidgets.QMainWindow):
    """The window: the module panel at the left, the views in the middle, a status bar below."""

    PANEL_WIDTH = 460

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("3D Slicer")
        self.resize(1400, 900)
        self._selected = ""
        self._selector = qSlicerModuleSelectorToolBar(self)
        self._pages = QtWidgets.QScrollArea()
        self._pages.setWidgetResizable(True)
        self._pages.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
        dock = QtWidgets.QDockWidget("Modules", self)
        dock.setObjectName("PanelDockWidget")
        dock.setWidget(self._pages)
        dock.setFeatures(QtWidgets.QDockWidget.NoDockWidgetFeatures)
        dock.setMinimumWidth(self.PANEL_WIDTH)
        self.addDockWidget(QtCore.Qt.LeftDockWidgetArea, dock)
        self.statusBar()

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        # The views come when someone looks, since they cost time and need OpenGL.
        if self.centralWidget() is None:
            self.setCentralWidget(slicer.app.layoutManager().viewport())

    def moduleSelector(self) -> qSlicerModuleSelectorToolBar:
        return self._selector

    def pythonConsole(self) -> None:
        return None

    def _show_module(self, name: str) -> None:
        """Leave the panel that is shown and enter another one; "" shows none."""
        module = slicer.app.moduleManager().module(name) if name else None
        if name and module is None:
            raise RuntimeError(f"There is no module '{name}'")
        before = self._pages.takeWidget()
        if before is not None and hasattr(before, "exit"):
            before.exit()
        self._selected = name
        if module is None:
            return
        page = module.widgetRepresentation()
        self._pages.setWidget(page)
        page.show()
        if hasattr(page, "enter"):
            page.enter()


def use_platform() -> None:
    """No screen is needed, unless one is asked for."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
