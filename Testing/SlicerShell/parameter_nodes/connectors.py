"""Which widget can hold which type of parameter, and how it is read, written and followed.

A widget takes only the types that Slicer's documentation lists for its exact class; others raise RuntimeError.
"""
# ruff: noqa: N802 (names are Slicer's)

from __future__ import annotations

import abc
import enum
import typing
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer

from .annotations import (
    Choice,
    Decimals,
    Maximum,
    Minimum,
    RangeBounds,
    SingleStep,
    WithinRange,
    bare_type,
    first_of,
    split_annotations,
)
from .packs import FloatRange
from .serializers import PATH_TYPES

REGISTERED: list[type[GuiConnector]] = []


class GuiConnector(abc.ABC):
    """Reads and writes one widget as one type, and tells when the person changed it."""

    def __init__(self) -> None:
        self._callback: Callable[[], None] | None = None

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call this from now on; None ends it."""
        self._callback = callback
        if callback is None:
            self._disconnect()
        else:
            self._connect()

    def changed(self) -> None:
        if self._callback is not None:
            self._callback()

    @staticmethod
    @abc.abstractmethod
    def canRepresent(widget: Any, datatype: Any) -> bool: ...

    @staticmethod
    @abc.abstractmethod
    def create(widget: Any, datatype: Any) -> GuiConnector: ...

    @abc.abstractmethod
    def _connect(self) -> None: ...

    @abc.abstractmethod
    def _disconnect(self) -> None: ...

    @abc.abstractmethod
    def widget(self) -> Any: ...

    @abc.abstractmethod
    def read(self) -> Any: ...

    @abc.abstractmethod
    def write(self, value: Any) -> None: ...


def parameterNodeGuiConnector(classtype: type[GuiConnector] | None = None) -> Any:
    """Class decorator: use this connector for the widgets and types it accepts."""

    def register(cls: type[GuiConnector]) -> type[GuiConnector]:
        if not issubclass(cls, GuiConnector):
            raise TypeError("Must be a GuiConnector subclass")
        REGISTERED.append(cls)
        return cls

    return register if classtype is None else register(classtype)


def createGuiConnector(widget: Any, datatype: Any) -> GuiConnector:
    """The connector of a widget for a type. Raises RuntimeError where they don't fit."""
    for each in REGISTERED:
        if each.canRepresent(widget, datatype):
            return each.create(widget, datatype)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'")


class PropertyConnector(GuiConnector):
    """For widgets whose value is one property with one signal."""

    kinds: tuple = ()
    widgets: tuple = ()
    prop = ""
    signal = ""

    def __init__(self, widget: Any, datatype: Any) -> None:
        super().__init__()
        self._widget = widget
        self._type = bare_type(datatype)
        self.prepare(split_annotations(datatype)[1])

    @classmethod
    def canRepresent(cls, widget: Any, datatype: Any) -> bool:
        return type(widget) in cls.widgets and bare_type(datatype) in cls.kinds

    @classmethod
    def create(cls, widget: Any, datatype: Any) -> GuiConnector:
        return cls(widget, datatype)

    def prepare(self, annotations: list) -> None:
        """Set the widget up by the parameter's annotations."""

    def _connect(self) -> None:
        getattr(self._widget, self.signal).connect(self.changed)

    def _disconnect(self) -> None:
        getattr(self._widget, self.signal).disconnect(self.changed)

    def widget(self) -> Any:
        return self._widget

    def read(self) -> Any:
        return getattr(self._widget, self.prop)

    def write(self, value: Any) -> None:
        setattr(self._widget, self.prop, value)


@parameterNodeGuiConnector
class CheckBoxConnector(PropertyConnector):
    kinds, widgets, prop, signal = (bool,), (qt.QCheckBox,), "checked", "stateChanged"


@parameterNodeGuiConnector
class PushButtonConnector(PropertyConnector):
    kinds, widgets, prop, signal = (bool,), (qt.QPushButton,), "checked", "toggled"

    def prepare(self, annotations: list) -> None:
        self._widget.checkable = True


class NumberConnector(PropertyConnector):
    """Bounds, decimals and step come from the annotations."""

    prop, signal = "value", "valueChanged"
    bounded: type
    unbounded: tuple

    def prepare(self, annotations: list) -> None:
        for kind, prop in ((Decimals, "decimals"), (SingleStep, "singleStep")):
            found = first_of(annotations, kind)
            if found is not None:
                setattr(self._widget, prop, found.value)
        within = first_of(annotations, WithinRange)
        low, high = within or first_of(annotations, Minimum), within or first_of(annotations, Maximum)
        if isinstance(self._widget, self.bounded) and (low is None or high is None):
            raise RuntimeError(
                f"Cannot have a connection to {type(self._widget).__name__} where the type is unbounded."
            )
        self._widget.minimum = self.unbounded[0] if low is None else low.minimum
        self._widget.maximum = self.unbounded[1] if high is None else high.maximum


@parameterNodeGuiConnector
class IntConnector(NumberConnector):
    kinds, widgets, bounded, unbounded = (int,), (qt.QSlider, qt.QSpinBox), qt.QSlider, (-(2**31), 2**31 - 1)


@parameterNodeGuiConnector
class FloatConnector(NumberConnector):
    kinds, widgets = (float,), (qt.QDoubleSpinBox, ctk.ctkSliderWidget)
    bounded, unbounded = ctk.ctkSliderWidget, (float("-inf"), float("inf"))


@parameterNodeGuiConnector
class ChoiceConnector(PropertyConnector):
    """The lines of a combo box are the choices."""

    kinds, widgets, prop, signal = (int, float, str, bool), (qt.QComboBox,), "currentIndex", "currentIndexChanged"

    def prepare(self, annotations: list) -> None:
        choice = first_of(annotations, Choice)
        if choice is None:
            raise RuntimeError("A QComboBox requires the Choice annotation to be used.")
        self.offer([(str(each), each) for each in choice.choices])

    def offer(self, choices: list[tuple[str, Any]]) -> None:
        self._values = [value for _, value in choices]
        self._widget.clear()
        for label, _ in choices:
            self._widget.addItem(label)

    def read(self) -> Any:
        return self._values[self._widget.currentIndex]

    def write(self, value: Any) -> None:
        if value not in self._values:
            raise ValueError(f"Unable to find value {value} in choices {self._values}")
        self._widget.currentIndex = self._values.index(value)


@parameterNodeGuiConnector
class EnumConnector(ChoiceConnector):
    """The lines of a combo box are the members, by their name or by what their method `label` says."""

    @classmethod
    def canRepresent(cls, widget: Any, datatype: Any) -> bool:
        return type(widget) is qt.QComboBox and issubclass(bare_type(datatype), enum.Enum)

    def prepare(self, annotations: list) -> None:
        label = getattr(self._type, "label", lambda member: member.name)
        self.offer([(label(each), each) for each in self._type])


@parameterNodeGuiConnector
class LineEditConnector(PropertyConnector):
    kinds, widgets, prop, signal = (str,), (qt.QLineEdit,), "text", "textChanged"


@parameterNodeGuiConnector
class TextEditConnector(PropertyConnector):
    kinds, widgets, prop, signal = (str,), (qt.QTextEdit,), "plainText", "textChanged"


class PathConnector(PropertyConnector):
    kinds = PATH_TYPES

    def read(self) -> Any:
        return self._type(super().read())

    def write(self, value: Any) -> None:
        super().write(str(value))


@parameterNodeGuiConnector
class PathLineConnector(PathConnector):
    widgets, prop, signal = (ctk.ctkPathLineEdit,), "currentPath", "currentPathChanged"


@parameterNodeGuiConnector
class DirectoryConnector(PathConnector):
    widgets, prop, signal = (ctk.ctkDirectoryButton,), "directory", "directoryChanged"


@parameterNodeGuiConnector
class RangeConnector(PropertyConnector):
    kinds, widgets, signal = (FloatRange,), (ctk.ctkRangeWidget,), "valuesChanged"

    def prepare(self, annotations: list) -> None:
        for kind, prop in ((Decimals, "decimals"), (SingleStep, "singleStep")):
            found = first_of(annotations, kind)
            if found is not None:
                setattr(self._widget, prop, found.value)
        bounds = first_of(annotations, RangeBounds)
        if bounds is None:
            raise RuntimeError("Cannot have a connection to ctkRangeWidget where the float is unbounded.")
        self._widget.minimum, self._widget.maximum = bounds.minimum, bounds.maximum

    def read(self) -> FloatRange:
        return FloatRange(self._widget.minimumValue, self._widget.maximumValue)

    def write(self, value: FloatRange) -> None:
        self._widget.setValues(value.minimum, value.maximum)


@parameterNodeGuiConnector
class NodeConnector(PropertyConnector):
    """The combo box shows the nodes of the parameter's type or, for a Union, types."""

    widgets, signal = (slicer.qMRMLNodeComboBox,), "currentNodeChanged"

    @classmethod
    def canRepresent(cls, widget: Any, datatype: Any) -> bool:
        return type(widget) in cls.widgets and bool(node_classes(datatype))

    def prepare(self, annotations: list) -> None:
        self._widget.nodeTypes = [each().GetClassName() for each in node_classes(self._type)]

    def read(self) -> Any:
        return self._widget.currentNode()

    def write(self, value: Any) -> None:
        self._widget.setCurrentNode(value)


def node_classes(datatype: Any) -> list[type]:
    """The node classes of a node type or of a Union of them and None; empty for other types."""
    type_ = bare_type(datatype)
    members = (
        [bare_type(each) for each in typing.get_args(type_)] if typing.get_origin(type_) is typing.Union else [type_]
    )
    nodes = [each for each in members if isinstance(each, type) and issubclass(each, slicer.vtkMRMLNode)]
    others = [each for each in members if each not in nodes and each is not type(None)]
    return [] if others else nodes
