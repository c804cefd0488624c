"""PythonQt's habits on PySide6's classes: properties are attributes, signals connect by string, nothing is added.

In PythonQt, which Slicer uses, a property hides the getter of the same name (`button.text` is a str), can be assigned
(`button.text = "Apply"`), and an object made by C++ takes no attribute that its class doesn't have. PySide6 has getter
and setter methods instead, and takes any attribute.
"""

from __future__ import annotations

import enum
import inspect
import math
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets, QtXml

QT_MODULES = (QtCore, QtGui, QtWidgets, QtUiTools, QtNetwork, QtXml)
# What PySide6 adds to Qt for itself, and PythonQt has not.
PYSIDE_ONLY = {
    "ClassInfo",
    "Property",
    "QEnum",
    "QFlag",
    "QtCriticalMsg",
    "QT_TRANSLATE_NOOP",
    "SIGNAL",
    "SLOT",
    "Signal",
    "SignalInstance",
    "Slot",
}

# Each class's own way to find attributes, since some classes of PySide6 have tricks of their own in it.
own_get_attribute: dict[type, Callable] = {}
qobject_connect = QtCore.QObject.connect
qobject_disconnect = QtCore.QObject.disconnect
qobject_find_children = QtCore.QObject.findChildren
qobject_find_child = QtCore.QObject.findChild


# Qt asks for these as virtual methods, which it looks up in Python by the same name, and each asks those of all
# children: they stay methods here, for every look-up would do the work of all children twice.
STAY_METHODS = {"sizeHint", "minimumSizeHint"}


BASIC_TYPES: dict[str, type | str] = {
    "bool": bool,
    "int": int,
    "double": float,
    "QString": str,
    "QStringList": "QStringList",
}


class PropertyAttribute:
    """A Qt property as PythonQt shows it: read and assigned on objects; on the class, what it had by that name."""

    def __init__(self, name: str, getter: Any, setter: Any) -> None:
        self.name = name
        self.on_class = getter
        self.setter = setter

    def __get__(self, instance: QtCore.QObject | None, owner: type | None = None) -> Any:
        if instance is None:
            if self.on_class is None:
                raise AttributeError(f"type object '{owner.__name__}' has no attribute '{self.name}'")
            return self.on_class.__get__(None, owner)
        # The getter itself, since property() would call it as a virtual method, which Qt looks for here again.
        if self.on_class is None or isinstance(self.on_class, staticmethod):
            return instance.property(self.name)
        return self.on_class.__get__(instance, owner)()

    def __set__(self, instance: QtCore.QObject, value: Any) -> None:
        described = instance.metaObject().property(instance.metaObject().indexOfProperty(self.name))
        if not described.isWritable():
            raise AttributeError(f"Property '{self.name}' of {type(instance).__name__} object is not writable")
        enumerated = described.isEnumType() or described.isFlagType()
        kind = None if enumerated else BASIC_TYPES.get(described.typeName())
        if kind is not None:
            value = converted(kind, value, self.name)
        # A plain number does for an enum.
        if self.setter is not None and not (enumerated and type(value) is int):
            try:
                self.setter(instance, value)
            except TypeError as error:
                raise not_accepted(self.name, described.typeName(), value) from error
        elif value is None or not instance.setProperty(self.name, value):
            raise not_accepted(self.name, described.typeName(), value)


class NameAttribute:
    """PythonQt's short name for `objectName`."""

    def __get__(self, instance: QtCore.QObject | None, owner: type | None = None) -> Any:
        return self if instance is None else instance.property("objectName")

    def __set__(self, instance: QtCore.QObject, value: str) -> None:
        instance.setObjectName(value)


def cpp_class(cls: type) -> type:
    """Mark a class of the shell that stands for a class written in C++: its objects take no unknown attributes."""
    cls._cpp_class = cls
    return cls


class CppProperty(QtCore.Property):
    """A property of a class of the shell, known to Qt (and so to .ui files) and to `_set_attribute`."""

    def __init__(self, kind: type | str, getter: Callable, setter: Callable | None = None) -> None:
        super().__init__(kind, getter, setter)
        self.kind = kind
        self.setter_function = setter
        self.name = ""

    def assign(self, instance: QtCore.QObject, value: Any) -> None:
        """Set it from Python. Raises AttributeError where it can't be set, or not to such a value."""
        if self.setter_function is None:
            raise AttributeError(f"Property '{self.name}' of {type(instance).__name__} object is not writable")
        basic = self.kind in BASIC_TYPES.values()
        self.setter_function(instance, converted(self.kind, value, self.name) if basic else value)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = self.name or name


def cpp_property(kind: type | str, initial: Any, changed: Callable[[Any], None] | None = None) -> QtCore.Property:
    """A property of a class of the shell: typed as in C++, kept in the object; `changed(object)` follows an assignment.

    `kind` is bool, int, float, str or "QStringList". Other values raise AttributeError, as in PythonQt.
    """

    def getter(instance: QtCore.QObject) -> Any:
        return instance.__dict__.get("_property_" + declared.name, initial)

    def setter(instance: QtCore.QObject, value: Any) -> None:
        instance.__dict__["_property_" + declared.name] = value
        if changed is not None:
            changed(instance)

    declared = CppProperty(kind, getter, setter)
    return declared


def converted(kind: type | str, value: Any, name: str) -> Any:
    """`value` as a property of that kind takes it. Raises AttributeError where it is of another kind."""
    if kind is bool and isinstance(value, (bool, int)):
        return bool(value)
    if kind == "QStringList":
        if isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value):
            return tuple(value)
    elif kind is float:
        if hasattr(value, "__float__"):
            return float(value)
    elif kind is int and (hasattr(value, "__index__") or isinstance(value, float)):
        return math.floor(value)
    elif isinstance(value, kind):
        return value
    raise not_accepted(name, getattr(kind, "__name__", kind), value)


def not_accepted(name: str, kind: str, value: Any) -> AttributeError:
    """What PythonQt raises for a value of a wrong type."""
    return AttributeError(
        f"Property '{name}' of type '{kind}' does not accept an object of type {type(value).__name__} ({value!r})"
    )


def is_cpp_object(instance: object) -> bool:
    """Whether `instance` stands for an object made in C++, not for one of a class that a Slicer module derived."""
    cls = type(instance)
    return cls.__dict__.get("_cpp_class") is cls or cls.__module__.startswith("PySide6.")


def _get_attribute(self: QtCore.QObject, name: str) -> Any:
    """PySide6 answers for `connect` and `disconnect` before it looks into the class, so they are given here."""
    if name == "connect":
        return _connect.__get__(self)
    if name == "disconnect":
        return _disconnect.__get__(self)
    own = next(own_get_attribute[cls] for cls in type(self).__mro__ if cls in own_get_attribute)
    return own(self, name)


def _set_attribute(self: QtCore.QObject, name: str, value: Any) -> None:
    """Assign as PythonQt does: no new attribute on an object of C++, no method replaced."""
    found = inspect.getattr_static(type(self), name, None)
    if is_cpp_object(self) and not name.startswith("_"):
        if found is None:
            if name.encode() in [bytes(each) for each in self.dynamicPropertyNames()]:
                self.setProperty(name, value)
                return
            raise AttributeError(
                f"'{name}' does not exist on {type(self).__name__} and creating new attributes on C++ objects is not"
                " allowed"
            )
        if (
            not hasattr(found, "__set__")
            and not isinstance(found, CppProperty)
            and not isinstance(value, QtCore.SignalInstance)
        ):
            raise AttributeError(f"Slot '{name}' can not be overwritten on {type(self).__name__} object")
    if isinstance(found, CppProperty):
        found.assign(self, value)
    elif hasattr(found, "__set__"):
        found.__set__(self, value)
    else:
        self.__dict__[name] = value


class Connections:
    """Connections made by signal signature, kept so that they can be taken away again."""

    def __init__(self) -> None:
        self.made: list[tuple[int, str, Any, Any]] = []

    def signal(self, sender: QtCore.QObject, signature: str) -> str:
        """The signature as the sender's meta-object knows it. Raises ValueError for a signal that it hasn't."""
        wanted = bytes(QtCore.QMetaObject.normalizedSignature(signature.lstrip("2"))).decode()
        declared = getattr(type(sender), "_cpp_signals", {})
        known = declared.get(wanted, wanted)
        # Slicer only warns on its console, which nobody reads in a test.
        if sender.metaObject().indexOfSignal(known) < 0:
            raise ValueError(f"QObject::connect() signal '{signature}' does not exist on {type(sender).__name__}")
        return known

    def connect(self, sender: QtCore.QObject, signature: str, receiver: Callable) -> bool:
        known = self.signal(sender, signature)
        trimmed = with_fewer_arguments(receiver)
        qobject_connect(sender, QtCore.SIGNAL(known), trimmed)
        if not any(each[0] == address(sender) for each in self.made):
            gone = address(sender)
            qobject_connect(sender, QtCore.SIGNAL("destroyed()"), lambda: self.forget(gone))
        self.made.append((address(sender), known, receiver, trimmed))
        return True

    def disconnect(self, sender: QtCore.QObject, signature: str, receiver: Callable | None = None) -> bool:
        """Take away one connection to `receiver`, or all of that signal; says whether there was one."""
        known = self.signal(sender, signature)
        found = [
            each
            for each in self.made
            if each[0] == address(sender) and each[1] == known and (receiver is None or each[2] == receiver)
        ]
        for each in found:
            qobject_disconnect(sender, QtCore.SIGNAL(known), each[3])
            self.made.remove(each)
        return bool(found)

    def forget(self, sender_address: int) -> None:
        self.made = [each for each in self.made if each[0] != sender_address]


CONNECTIONS = Connections()


def address(instance: QtCore.QObject) -> int:
    """Where the C++ object lies, which is the same for every Python object that wraps it."""
    return shiboken6.getCppPointer(instance)[0]


def with_fewer_arguments(receiver: Callable) -> Callable:
    """PythonQt gives a receiver only as many arguments as it takes."""
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except (TypeError, ValueError):
        return lambda *arguments: receiver(*arguments)
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return lambda *arguments: receiver(*arguments)
    count = sum(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in parameters)
    return lambda *arguments: receiver(*arguments[:count])


def _connect(self: QtCore.QObject, signature: Any, receiver: Any, slot: Any = None, *more: Any) -> Any:
    """`connect("clicked()", function)` or `connect("clicked()", object, "setFocus()")`."""
    if isinstance(signature, QtCore.QObject):
        # PySide6 itself calls it so, with the sender as first argument.
        return qobject_connect(signature, receiver, *(each for each in (slot, *more) if each is not None))
    if isinstance(receiver, QtCore.QObject) and slot is not None:
        receiver = slot_of(receiver, slot)
    if not callable(receiver):
        raise ValueError(f"Called connect(QString, PyObject) with wrong arguments: {receiver!r} is no function")
    return CONNECTIONS.connect(self, signature, receiver)


def _disconnect(self: QtCore.QObject, signature: str, receiver: Any = None, slot: str | None = None) -> bool:
    if isinstance(receiver, QtCore.QObject) and slot is not None:
        receiver = slot_of(receiver, slot)
    return CONNECTIONS.disconnect(self, signature, receiver)


def slot_of(receiver: QtCore.QObject, signature: str) -> Callable:
    """The method that a slot's signature names. Raises AttributeError where there is none."""
    return getattr(receiver, signature.lstrip("1").split("(")[0].strip())


def _find_children(self: QtCore.QObject, kind: Any = QtCore.QObject, name: str | None = None) -> list:
    """By class, by the class's name as in C++, and by object name."""
    if isinstance(kind, str):
        found = [each for each in qobject_find_children(self, QtCore.QObject) if each.inherits(kind)]
        return found if name is None else [each for each in found if each.objectName == name]
    return qobject_find_children(self, kind) if name is None else qobject_find_children(self, kind, name)


def _find_child(self: QtCore.QObject, kind: Any, name: str | None = None) -> Any:
    if isinstance(kind, str):
        found = _find_children(self, kind, name)
        return found[0] if found else None
    return qobject_find_child(self, kind) if name is None else qobject_find_child(self, kind, name)


def _class_name(self: QtCore.QObject) -> str:
    return self.metaObject().className()


def classes_of_qt() -> list[type]:
    """Every QObject class of the modules that Slicer's `qt` holds."""
    found = {
        value
        for module in QT_MODULES
        for value in (getattr(module, name) for name in dir(module))  # dir(), since PySide6 makes classes when asked
        if isinstance(value, type) and issubclass(value, QtCore.QObject)
    }
    # Base classes first, so that a class still has its own getter when its turn comes.
    return sorted(found, key=lambda each: (len(each.__mro__), each.__name__))


def show_properties(cls: type) -> None:
    """Make attributes of the properties of one C++ class, beside its methods."""
    described = cls.staticMetaObject
    for index in range(described.propertyCount()):
        name = described.property(index).name()
        own = cls.__dict__.get(name)
        if (
            name in STAY_METHODS
            or isinstance(own, PropertyAttribute)
            or (index < described.propertyOffset() and own is None)
        ):
            continue
        getter = inspect.getattr_static(cls, name, None)
        if isinstance(getter, PropertyAttribute):
            getter = getter.on_class
        if isinstance(getter, QtCore.Signal):
            continue
        setter = getattr(cls, "set" + name[0].upper() + name[1:], None)
        setattr(cls, name, PropertyAttribute(name, getter, setter))


def adopt_habits() -> None:
    """Give PySide6's classes PythonQt's behaviour, in this process and for good."""
    classes = classes_of_qt()
    for cls in classes:
        own_get_attribute[cls] = cls.__getattribute__
    for cls in classes:
        show_properties(cls)
        cls.__getattribute__ = _get_attribute
        cls.__setattr__ = _set_attribute
    base = QtCore.QObject
    base.name = NameAttribute()
    base.connect = _connect
    base.disconnect = _disconnect
    base.findChildren = _find_children
    base.findChild = _find_child
    base.className = _class_name
    base.delete = lambda self: shiboken6.delete(self)
    for cls in (QtWidgets.QDialog, QtWidgets.QMenu, QtCore.QCoreApplication, QtCore.QEventLoop):
        cls.exec_ = cls.exec


def count_as_numbers(cls: type) -> None:
    """PythonQt's enums are ints: `dialog.result() == qt.QDialog.Accepted`, `1 == qt.Qt.Checked`."""
    for member in vars(cls).values():
        if isinstance(member, type) and issubclass(member, enum.Enum) and not issubclass(member, int):
            member.__eq__ = lambda self, other: self.value == (other.value if isinstance(other, enum.Enum) else other)
            member.__hash__ = lambda self: hash(self.value)
            member.__int__ = member.__index__ = lambda self: self.value


def make_module() -> ModuleType:
    """The module `qt`: Qt's classes of all its libraries side by side."""
    module = ModuleType("qt", "Slicer's `qt` over PySide6")
    for source in QT_MODULES:
        for name in dir(source):
            if not name.startswith("_") and name not in PYSIDE_ONLY:
                value = getattr(source, name)
                if isinstance(value, type):
                    count_as_numbers(value)
                if not isinstance(value, ModuleType):
                    setattr(module, name, value)
    return module


class UncaughtErrors:
    """Exceptions that left a slot, an observer or a timer; Slicer prints them on its Python console."""

    def __init__(self) -> None:
        self.found: list[BaseException] = []
        self.previous = sys.excepthook

    def install(self) -> None:
        self.previous, sys.excepthook = sys.excepthook, self.note

    def note(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        self.found.append(error)
        traceback.print_exception(kind, error, trace, file=sys.stderr)
