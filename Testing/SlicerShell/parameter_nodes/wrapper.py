"""`@parameterNodeWrapper`: typed attributes over a vtkMRMLScriptedModuleNode, and their two-way binding to widgets."""
# ruff: noqa: N802 (names are Slicer's)

from __future__ import annotations

import weakref
from typing import Any

import qt
import shiboken6
import slicer
import vtk

from .connectors import GuiConnector, createGuiConnector
from .packs import Parameter, data_type, declared_parameters, reserve, split_name

SlicerParameterNamePropertyName = "SlicerParameterName"


class Stored:
    """One parameter in one parameter node; what can't change behind our back is kept, too."""

    def __init__(self, parameter: Parameter, node: Any, prefix: str | None) -> None:
        self.serializer, self.default, self.node = parameter.serializer, parameter.default, node
        self.name = (prefix or "") + parameter.name
        self.cached = parameter.serializer.supportsCaching()
        self.writing = False
        if not self.serializer.isIn(node, self.name):
            self.serializer.write(node, self.name, self.default.value)
        if self.cached:
            self.value = self._read()
            itself = weakref.ref(self)
            tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: itself() and itself()._node_modified())
            weakref.finalize(self, node.RemoveObserver, tag)

    def _read(self) -> Any:
        # Removed by somebody, as scene close does: its default again.
        if not self.serializer.isIn(self.node, self.name):
            self.serializer.write(self.node, self.name, self.default.value)
        return self.serializer.read(self.node, self.name)

    def _node_modified(self) -> None:
        if not self.writing:
            self.value = self._read()

    def read(self) -> Any:
        return self.value if self.cached else self._read()

    def write(self, value: Any) -> None:
        self.writing = True
        try:
            # Observers must find the new value, so that they are told after it was read back.
            with slicer.util.NodeModify(self.node):
                self.serializer.write(self.node, self.name, value)
                if self.cached:
                    self.value = self._read()
        finally:
            self.writing = False


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Class decorator: the class's annotated members become parameters of the node given to its constructor."""
    return _make_wrapper if classtype is None else _make_wrapper(classtype)


def isParameterNodeWrapper(thing: Any) -> bool:
    return getattr(thing, "_is_parameter_node_wrapper", False)


def _make_wrapper(cls: type) -> type:
    parameters = declared_parameters(cls)
    for name in parameters:
        setattr(cls, name, _attribute(name))
    reserve(cls, "allParameters", parameters)
    reserve(cls, "_is_parameter_node_wrapper", True)
    cls.__init__ = _initialise
    for name, method in METHODS.items():
        reserve(cls, name, method)
    reserve(cls, "dataType", staticmethod(lambda name: data_type(parameters, name)))
    return cls


def _attribute(name: str) -> property:
    return property(lambda self: self._stored[name].read(), lambda self, value: self._stored[name].write(value))


def _initialise(self: Any, parameterNode: Any, prefix: str | None = None) -> None:
    self.parameterNode = parameterNode
    self._bound: dict[int, dict[str, GuiConnector]] = {}
    self._next_tag = 0
    self._showing = False
    self._stored = {name: Stored(each, parameterNode, prefix) for name, each in self.allParameters.items()}


def _default(self: Any, name: str) -> Any:
    self.dataType(name)
    return self._stored[name].default


def _is_cached(self: Any, name: str) -> bool:
    self.dataType(name)
    return self._stored[name].cached


def _get_value(self: Any, name: str) -> Any:
    self.dataType(name)
    top, rest = split_name(name)
    value = self._stored[top].read()
    return value if rest is None else value.getValue(rest)


def _set_value(self: Any, name: str, value: Any) -> None:
    self.dataType(name)
    top, rest = split_name(name)
    if rest is None:
        self._stored[top].write(value)
    else:
        self._stored[top].read().setValue(rest, value)


def _connect_gui(self: Any, gui: Any) -> None:
    """Bind every widget with the property SlicerParameterName; `gui` is a widget or what childWidgetVariables gave.

    No tag is returned, which is a fault of Slicer 5.10 (its issue 7547): such a binding can't be taken away.
    """
    widgets = gui.findChildren(qt.QWidget) if isinstance(gui, qt.QWidget) else gui.__dict__.values()
    named = {each.property(SlicerParameterNamePropertyName): each for each in widgets}
    self.connectParametersToGui({name: each for name, each in named.items() if name})


def _connect_parameters(self: Any, mapping: dict[str, Any]) -> int:
    """Bind widgets (or connectors) to parameters by name; gives a tag for `disconnectGui`."""
    for name in mapping:
        self.dataType(name)
    connectors = {
        name: each if isinstance(each, GuiConnector) else createGuiConnector(each, self.dataType(name))
        for name, each in mapping.items()
    }
    tag = self._next_tag
    self._next_tag += 1
    self._bound[tag] = connectors
    for name, connector in connectors.items():
        connector.write(self.getValue(name))
        connector.onChanged(_to_parameter(self, name, connector))
    self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: _show(self))
    return tag


def _to_parameter(self: Any, name: str, connector: GuiConnector) -> Any:
    def take_from_widget() -> None:
        with slicer.util.NodeModify(self):
            if not self._showing:
                self.setValue(name, connector.read())

    return take_from_widget


def _show(self: Any) -> None:
    """Bring all bound widgets up to date."""
    if self._showing:
        return
    self._showing = True
    try:
        with slicer.util.NodeModify(self):
            for connectors in list(self._bound.values()):
                for name, connector in connectors.items():
                    # Modules of other tests are gone, which in Slicer happens only when all ends.
                    if shiboken6.isValid(connector.widget()):
                        connector.write(self.getValue(name))
    finally:
        self._showing = False


def _disconnect_gui(self: Any, tag: int) -> None:
    for connector in self._bound.pop(tag, {}).values():
        connector.onChanged(None)


METHODS = {
    "default": _default,
    "isCached": _is_cached,
    "getValue": _get_value,
    "setValue": _set_value,
    "connectGui": _connect_gui,
    "connectParametersToGui": _connect_parameters,
    "disconnectGui": _disconnect_gui,
    "StartModify": lambda self: self.parameterNode.StartModify(),
    "EndModify": lambda self, was_modified: self.parameterNode.EndModify(was_modified),
    "AddObserver": lambda self, event, call, priority=0.0: self.parameterNode.AddObserver(event, call, priority),
    "RemoveObserver": lambda self, tag: self.parameterNode.RemoveObserver(tag),
    "Modified": lambda self: self.parameterNode.Modified(),
}


def findChildWidgetForParameter(widget: Any, parameter: str) -> Any:
    """The child that is bound to a parameter, or None."""
    children = widget.findChildren(qt.QWidget)
    return next((each for each in children if each.property(SlicerParameterNamePropertyName) == parameter), None)
