"""`slicer.ScriptedLoadableModule`, and what Slicer makes of a scripted module's file: a module object and its panel."""
# ruff: noqa: N801, N802, N815 (names are Slicer's)

from __future__ import annotations

import importlib.util
import logging
import sys
import unittest
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .node_widgets import qMRMLWidget
from .python_qt import CppProperty, cpp_class, cpp_property


@cpp_class
class qSlicerScriptedLoadableModule(QtCore.QObject):
    """The module object: what a module's class gets as `parent`, and what `slicer.modules.<name>` is."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__()
        self.__dict__["_property_name"] = name
        self.__dict__["_property_path"] = str(path)
        self._widget: qSlicerScriptedLoadableModuleWidget | None = None
        self._logic: Any = None
        self._icon = QtGui.QIcon()

    name = cpp_property(str, "")
    path = cpp_property(str, "")
    title = cpp_property(str, "")
    category = cpp_property(str, "")
    categories = cpp_property("QStringList", ())
    dependencies = cpp_property("QStringList", ())
    contributors = cpp_property("QStringList", ())
    associatedNodeTypes = cpp_property("QStringList", ())
    helpText = cpp_property(str, "")
    acknowledgementText = cpp_property(str, "")
    hidden = cpp_property(bool, False)
    index = cpp_property(int, -1)
    widgetRepresentationCreationEnabled = cpp_property(bool, True)

    def _set_icon(self, icon: QtGui.QIcon) -> None:
        if not isinstance(icon, QtGui.QIcon):
            raise AttributeError(f"Property 'icon' of type 'QIcon' does not accept {icon!r}")
        self._icon = icon

    icon = CppProperty(QtGui.QIcon, lambda self: self._icon, _set_icon)

    def logic(self) -> Any:
        if self._logic is None:
            self._logic = slicer.vtkSlicerScriptedLoadableModuleLogic()
            self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
            self._logic.SetMRMLScene(slicer.mrmlScene)
        return self._logic

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        """The panel, made and set up when it is first asked for."""
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        widget = qSlicerScriptedLoadableModuleWidget(self)
        # Slicer has it by then, since setup() may ask for the module's panel.
        self._widget = self._widget or widget
        widget._make()
        return widget


@cpp_class
class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The page of a scripted module in the module panel; `self()` is the module's own Python object."""

    def __init__(self, module: qSlicerScriptedLoadableModule) -> None:
        super().__init__()
        self._module = module
        self._python: Any = None
        self._entered = False
        self.setObjectName(f"{module.name}ModuleWidget")
        QtWidgets.QVBoxLayout(self)
        self.setMRMLScene(slicer.mrmlScene)

    def _make(self) -> None:
        name = self._module.name
        self._python = getattr(sys.modules[name], f"{name}Widget")(self)
        setattr(slicer.modules, f"{name}Widget", self._python)
        self._python.setup()

    def self(self) -> Any:
        return self._python

    def module(self) -> qSlicerScriptedLoadableModule:
        return self._module

    def setup(self) -> None:
        self._python.setup()

    def enter(self) -> None:
        self._entered = True
        if hasattr(self._python, "enter"):
            self._python.enter()

    def exit(self) -> None:
        self._entered = False
        if hasattr(self._python, "exit"):
            self._python.exit()

    isEntered = CppProperty(bool, lambda self: self._entered)

    def reload(self) -> None:
        """A new Python object from the module's class as it is now."""
        self._make()


class ScriptedLoadableModule:
    """Base of a module's description."""

    def __init__(self, parent: qSlicerScriptedLoadableModule) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = ""
        parent.acknowledgementText = ""
        for ending in (".svg", ".png"):
            icon = Path(self.resourcePath(f"Icons/{self.moduleName}{ending}"))
            if icon.is_file():
                parent.icon = QtGui.QIcon(str(icon))
                break
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        """A file below the folder `Resources` that lies beside the module's file."""
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        url = (
            slicer.app.documentationBaseUrl + docPage if docPage else slicer.app.moduleDocumentationUrl(self.moduleName)
        )
        return f'<p>For more information see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        """Run the test class `<module>Test`. Raises AssertionError where there is none."""
        test_class = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test", None)
        if test_class is None:
            raise AssertionError(f"Test case class not found: {self.moduleName}Test")
        test = test_class()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """Base of a module's panel."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(QtWidgets.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        else:
            self.parent = parent
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        """A file below the folder `Resources` that lies beside the module's file."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def cleanup(self) -> None:
        """For modules: called before the module goes, at reload and when Slicer ends."""

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def setupDeveloperSection(self) -> None:
        """With the setting Developer/DeveloperMode: buttons to reload and to test the module."""
        if not self.developerMode:
            return
        import ctk

        self.reloadCollapsibleButton = ctk.ctkCollapsibleButton()
        self.reloadCollapsibleButton.text = "Reload && Test"
        self.layout.addWidget(self.reloadCollapsibleButton)
        row = QtWidgets.QHBoxLayout(self.reloadCollapsibleButton)
        self.reloadButton = QtWidgets.QPushButton("Reload")
        self.reloadButton.connect("clicked()", self.onReload)
        self.reloadTestButton = QtWidgets.QPushButton("Reload and Test")
        self.reloadTestButton.connect("clicked()", self.onReloadAndTest)
        self.restartButton = QtWidgets.QPushButton("Restart Slicer")
        self.restartButton.connect("clicked()", slicer.app.restart)
        for each in (self.reloadButton, self.reloadTestButton, self.restartButton):
            row.addWidget(each)

    def setup(self) -> None:
        self.setupDeveloperSection()

    def onReload(self) -> None:
        logging.info("Reloading module: %s", self.moduleName)
        slicer.util.reloadScriptedModule(self.moduleName)

    def onReloadAndTest(self, **kwargs: Any) -> None:
        with slicer.util.tryWithErrorDisplay("Reload and Test failed."):
            self.onReload()
            slicer.selfTests[self.moduleName](**kwargs)


class ScriptedLoadableModuleLogic:
    """Base of a module's logic: it finds or makes the parameter node of the module."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        if self.isSingletonParameterNode:
            found = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if found is not None:
                # Closing the scene may take the attribute away.
                if found.GetAttribute("ModuleName") != self.moduleName:
                    found.SetAttribute("ModuleName", self.moduleName)
                return found
        else:
            others = self.getAllParameterNodes()
            if others:
                return others[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[slicer.vtkMRMLScriptedModuleNode]:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [each for each in nodes if each.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode | None:
        if slicer.mrmlScene is None:
            return None
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of a module's test."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.enableScreenshots = False
        self.screenshotScaleFactor = 1.0

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        delay = getattr(self, "messageDelay", None)
        for other in (msec, requestedDelay, 100):
            delay = other if delay is None else delay
        slicer.util.delayDisplay(message, delay)

    def runTest(self) -> None:
        logging.warning("No test is defined in %s", type(self).__name__)


PUBLIC = (
    ScriptedLoadableModule,
    ScriptedLoadableModuleWidget,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)


def load_scripted_module(path: Path) -> qSlicerScriptedLoadableModule:
    """Do with a module's file what Slicer does at its start: import it, make its description, register it."""
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    source = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = importlib.util.module_from_spec(source)
    source.loader.exec_module(sys.modules[name])
    module = qSlicerScriptedLoadableModule(name, path)
    instance = getattr(sys.modules[name], name)(module)
    setattr(slicer.modules, f"{name}Instance", instance)
    slicer.app.moduleManager()._add(module)
    if hasattr(instance, "setup"):
        instance.setup()
    return module
