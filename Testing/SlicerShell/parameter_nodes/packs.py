"""`@parameterPack`: several values under one name; and FloatRange, the pack that Slicer has."""
# ruff: noqa: N802 (names are Slicer's)

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Any

import slicer

from .annotations import Default, NotNone, Validator, bare_type, split_annotations, take
from .serializers import Serializer, ValidatedSerializer, create_serializer, parameterNodeSerializer


@dataclass(frozen=True)
class Parameter:
    """A parameter as its class declares it."""

    name: str
    serializer: ValidatedSerializer
    default: Default
    declared: Any


def declared_parameters(cls: type) -> dict[str, Parameter]:
    """The parameters of a decorated class, in their order. Raises where a type can't be kept in a parameter node."""
    found = {}
    for name, declared in typing.get_type_hints(cls, include_extras=True).items():
        type_, annotations = split_annotations(declared)
        try:
            serializer, annotations = create_serializer(type_, annotations)
        except Exception as error:
            raise Exception(f"Unable to create serializer for {cls} member {name}") from error
        defaults, _ = take(annotations, Default)
        if len(defaults) > 1:
            raise Exception("Multiple defaults found")
        if hasattr(cls, name):
            default = Default(getattr(cls, name))
        else:
            default = defaults[0] if defaults else Default(serializer.default())
        found[name] = Parameter(name, serializer, default, declared)
    return found


def split_name(name: str) -> tuple[str, str | None]:
    """ "a.b.c" is "b.c" of "a"."""
    top, _, rest = name.partition(".")
    return top, rest or None


def reserve(cls: type, name: str, value: Any) -> None:
    """Give a decorated class something of its decorator's. Raises ValueError where the class uses that name."""
    if hasattr(cls, name):
        raise ValueError(f"Cannot use reserved name '{name}' in {cls.__name__}")
    setattr(cls, name, value)


def isParameterPack(thing: Any) -> bool:
    return getattr(thing, "_is_parameterPack", False)


def parameterPack(classtype: type | None = None) -> Any:
    """Class decorator that makes a pack: members with types, checked when they are set, and compared by value."""
    return _make_pack if classtype is None else _make_pack(classtype)


def _make_pack(cls: type) -> type:
    parameters = declared_parameters(cls)
    if not parameters:
        raise ValueError("Unable to find any members in parameterPack")
    for each in parameters.values():
        each.serializer.validate(each.default.value)
        setattr(cls, each.name, _member(each))
    own_init = cls.__dict__.get("__init__")

    def initialise(self: Any, *arguments: Any, **named: Any) -> None:
        values = {name: each.default.value for name, each in parameters.items()}
        if own_init is None:
            positional = dict(zip(parameters, arguments, strict=False))
            for name in named:
                if name not in parameters or name in positional:
                    raise TypeError(f"__init__() got an unexpected or repeated argument '{name}'")
            values.update(positional, **named)
        for name, value in values.items():
            setattr(self, name, value)
        if own_init is not None:
            own_init(self, *arguments, **named)

    cls.__init__ = initialise
    if "__eq__" not in cls.__dict__:
        cls.__eq__ = lambda self, other: (
            isinstance(other, cls) and all(getattr(self, each) == getattr(other, each) for each in parameters)
        )
    if "__repr__" not in cls.__dict__:
        members = lambda self: ", ".join(f"{each}={getattr(self, each)!r}" for each in parameters)  # noqa: E731
        cls.__repr__ = lambda self: f"{cls.__name__}({members(self)})"
    reserve(cls, "allParameters", parameters)
    reserve(cls, "_is_parameterPack", True)
    reserve(cls, "getValue", _get_value)
    reserve(cls, "setValue", _set_value)
    reserve(cls, "dataType", staticmethod(lambda name: data_type(parameters, name)))
    return cls


def _member(parameter: Parameter) -> property:
    key = f"_pack_{parameter.name}"

    def assign(self: Any, value: Any) -> None:
        parameter.serializer.validate(value)
        self.__dict__[key] = value
        # A pack that was read from a parameter node writes itself back.
        if "_save" in self.__dict__:
            self._save(self)

    return property(lambda self: self.__dict__[key], assign)


def _get_value(self: Any, name: str) -> Any:
    top, rest = split_name(name)
    value = _checked_member(self, top)
    return value if rest is None else value.getValue(rest)


def _set_value(self: Any, name: str, value: Any) -> None:
    top, rest = split_name(name)
    if rest is None:
        _checked_member(self, top)
        setattr(self, top, value)
    else:
        inner = _checked_member(self, top)
        inner.setValue(rest, value)
        setattr(self, top, inner)


def _checked_member(pack: Any, name: str) -> Any:
    if not hasattr(pack, name):
        raise ValueError(f"{pack} has no member '{name}'")
    return getattr(pack, name)


def data_type(parameters: dict[str, Parameter], name: str) -> Any:
    """The declared type of a parameter or, by a dotted name, of a member of a pack. Raises ValueError for no such."""
    top, rest = split_name(name)
    if top not in parameters:
        raise ValueError(f"Cannot find a param with the given name: {top}; there are {list(parameters)}")
    declared = parameters[top].declared
    if rest is None:
        return declared
    if not isParameterPack(bare_type(declared)):
        raise ValueError(f"'{top}' is not a parameter pack but expects to have '{rest}'")
    return data_type(bare_type(declared).allParameters, rest)


class _IsPack(Validator):
    def __init__(self, cls: type) -> None:
        self.cls = cls

    def validate(self, value: Any) -> None:
        if not isinstance(value, self.cls):
            raise ValueError(f"Value must be of type '{self.cls}', is type '{type(value)}'")


@parameterNodeSerializer
class PackSerializer(Serializer):
    """A pack: each member under "name.member"."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return isParameterPack(type_)

    @staticmethod
    def create(type_: Any) -> ValidatedSerializer:
        return ValidatedSerializer(PackSerializer(type_), [NotNone(), _IsPack(type_)])

    def __init__(self, cls: type) -> None:
        self.cls = cls

    def default(self) -> Any:
        return self.cls()

    def isIn(self, node: Any, name: str) -> bool:
        first = next(iter(self.cls.allParameters.values()))
        return first.serializer.isIn(node, f"{name}.{first.name}")

    def write(self, node: Any, name: str, value: Any) -> None:
        with slicer.util.NodeModify(node):
            for each in self.cls.allParameters.values():
                each.serializer.write(node, f"{name}.{each.name}", getattr(value, each.name))

    def read(self, node: Any, name: str) -> Any:
        pack = self.cls.__new__(self.cls)
        for each in self.cls.allParameters.values():
            pack.__dict__[f"_pack_{each.name}"] = each.serializer.read(node, f"{name}.{each.name}")
        pack.__dict__["_save"] = lambda changed: self.write(node, name, changed)
        return pack

    def remove(self, node: Any, name: str) -> None:
        for each in self.cls.allParameters.values():
            each.serializer.remove(node, f"{name}.{each.name}")

    def supportsCaching(self) -> bool:
        return all(each.serializer.supportsCaching() for each in self.cls.allParameters.values())


@parameterPack
class FloatRange:
    """Two numbers, the first not above the second."""

    _minimum: float
    _maximum: float

    def __init__(self, minimum: float = 0, maximum: float = 0) -> None:
        self.setRange(minimum, maximum)

    @staticmethod
    def checkRange(minimum: float, maximum: float) -> None:
        if not minimum <= maximum:
            raise ValueError(f"FloatRange must have minimum <= maximum: {minimum} <= {maximum}")

    def setRange(self, minimum: float, maximum: float) -> None:
        self.checkRange(minimum, maximum)
        self._minimum, self._maximum = minimum, maximum

    @property
    def minimum(self) -> float:
        return self._minimum

    @minimum.setter
    def minimum(self, value: float) -> None:
        self.setRange(value, self._maximum)

    @property
    def maximum(self) -> float:
        return self._maximum

    @maximum.setter
    def maximum(self, value: float) -> None:
        self.setRange(self._minimum, value)

    def __repr__(self) -> str:
        return f"FloatRange(minimum={self.minimum}, maximum={self.maximum})"
