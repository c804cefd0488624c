"""`qt.QUiLoader`: loads .ui files with CTK's and Slicer's widgets in them, as strictly as it can.

The connections of the file are made here and not by Qt, since their signals carry VTK objects.
"""
# ruff: noqa: N802 (names are Slicer's)

from __future__ import annotations

from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from .python_qt import slot_of


class UiFileError(RuntimeError):
    """The .ui file names a class, a property, a signal or a slot that doesn't exist."""


class UiLoader(QtUiTools.QUiLoader):
    """Loads a widget from a .ui file. Raises UiFileError for names that Slicer doesn't know."""

    widget_classes: dict[str, type[QtWidgets.QWidget]] = {}  # noqa: RUF012 (filled once, when the shell starts)

    def createWidget(self, class_name: str, parent: QtWidgets.QWidget | None = None, name: str = "") -> object:
        own = self.widget_classes.get(class_name)
        if own is None:
            if class_name not in self.availableWidgets():
                raise UiFileError(f"the .ui file has a widget '{name}' of unknown class {class_name}")
            return super().createWidget(class_name, parent, name)
        widget = own(parent)
        widget.setObjectName(name)
        return widget

    def load(self, source: QtCore.QIODevice | str, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        if isinstance(source, str):
            source = QtCore.QFile(source)
        if not source.isOpen():
            source.open(QtCore.QIODevice.ReadOnly)
        try:
            tree = ElementTree.fromstring(bytes(source.readAll().data()))
        except ElementTree.ParseError as error:
            raise UiFileError(f"the .ui file is no XML: {error}") from error
        for each in tree.iter("widget"):
            if each.get("class") not in self.widget_classes and each.get("class") not in self.availableWidgets():
                raise UiFileError(
                    f"the .ui file has a widget '{each.get('name')}' of unknown class {each.get('class')}"
                )
        connections = [
            tuple(each.findtext(part, "") for part in ("sender", "signal", "receiver", "slot"))
            for each in tree.iter("connection")
        ]
        for part in ("connections", "customwidgets"):
            for found in tree.findall(part):
                tree.remove(found)
        flags = self._take_flags(tree)
        data = QtCore.QBuffer()
        data.setData(ElementTree.tostring(tree))
        data.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(data, parent)
        if widget is None:
            raise UiFileError(f"the .ui file can't be loaded: {self.errorString()}")
        for name, prop, value in flags:
            setattr(self._named(widget, name), prop, value)
        self._check_properties(tree, widget)
        for sender, signal, receiver, slot in connections:
            self._connect(self._named(widget, sender), signal, self._named(widget, receiver), slot)
        return widget

    def _take_flags(self, tree: ElementTree.Element) -> list[tuple[str, str, int]]:
        """Flags of CTK's widgets, which Qt can't read since they belong to classes that it doesn't know."""
        found = []
        for each in tree.iter("widget"):
            own = self.widget_classes.get(each.get("class", ""))
            for prop in each.findall("property"):
                words = prop.findtext("set") or prop.findtext("enum")
                if own is None or not words or not words.split("|")[0].startswith(("ctk", "qMRML", "qSlicer")):
                    continue
                value = 0
                for word in words.split("|"):
                    value |= getattr(own, word.split("::")[-1])
                found.append((each.get("name", ""), prop.get("name", ""), value))
                each.remove(prop)
        return found

    def _check_properties(self, tree: ElementTree.Element, widget: QtWidgets.QWidget) -> None:
        """Qt takes any property of a .ui file as a new one; a misspelt name would do nothing."""
        for each in tree.iter("widget"):
            named = self._named(widget, each.get("name", ""))
            for prop in each.findall("property"):
                name = prop.get("name", "")
                if prop.get("stdset") != "0" and named.metaObject().indexOfProperty(name) < 0:
                    raise UiFileError(f"{each.get('class')} '{each.get('name')}' has no property '{name}'")

    @staticmethod
    def _named(widget: QtWidgets.QWidget, name: str) -> QtCore.QObject:
        found = widget if widget.objectName == name else widget.findChild(QtCore.QObject, name)
        if found is None:
            raise UiFileError(f"the .ui file refers to '{name}', which isn't in it")
        return found

    @staticmethod
    def _connect(sender: QtCore.QObject, signal: str, receiver: QtCore.QObject, slot: str) -> None:
        try:
            sender.connect(signal, slot_of(receiver, slot))
        except (ValueError, AttributeError) as error:
            raise UiFileError(f"connection {signal} to {slot} can't be made: {error}") from error
