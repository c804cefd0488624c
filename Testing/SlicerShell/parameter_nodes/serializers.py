"""How the values of parameters are kept in a vtkMRMLScriptedModuleNode: as texts and, for nodes, as references."""
# ruff: noqa: N802 (names are Slicer's)

from __future__ import annotations

import collections.abc
import enum
import logging
import pathlib
import typing
from collections.abc import Callable
from typing import Any

import slicer

from .annotations import IsInstance, IsNone, NotNone, Validator, split_annotations, take

PATH_TYPES = (
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)
REGISTERED: list[type[Serializer]] = []


class Serializer:
    """Reads and writes values of one type. `create` makes one for a type that `canSerialize` accepts."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        raise NotImplementedError("canSerialize is not implemented")

    @staticmethod
    def create(type_: Any) -> Serializer:
        raise NotImplementedError("create is not implemented")

    def default(self) -> Any:
        raise NotImplementedError("default is not implemented")

    def isIn(self, node: Any, name: str) -> bool:
        raise NotImplementedError("isIn is not implemented")

    def write(self, node: Any, name: str, value: Any) -> None:
        raise NotImplementedError("write is not implemented")

    def read(self, node: Any, name: str) -> Any:
        raise NotImplementedError("read is not implemented")

    def remove(self, node: Any, name: str) -> None:
        raise NotImplementedError("remove is not implemented")

    def supportsCaching(self) -> bool:
        return False


def parameterNodeSerializer(classtype: type[Serializer] | None = None) -> Any:
    """Class decorator: use this serializer for the types it accepts."""

    def register(cls: type[Serializer]) -> type[Serializer]:
        if not issubclass(cls, Serializer):
            raise Exception("Must be a serializer type.")
        REGISTERED.append(cls)
        return cls

    return register if classtype is None else register(classtype)


class ValidatedSerializer(Serializer):
    """Another serializer that writes only what its validators let pass."""

    def __init__(self, serializer: Serializer, validators: list[Validator]) -> None:
        nested = isinstance(serializer, ValidatedSerializer)
        self.serializer = serializer.serializer if nested else serializer
        self.validators = [*(serializer.validators if nested else []), *validators]

    def validate(self, value: Any) -> None:
        for each in self.validators:
            each.validate(value)

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        self.serializer.write(node, name, value)

    def default(self) -> Any:
        return self.serializer.default()

    def isIn(self, node: Any, name: str) -> bool:
        return self.serializer.isIn(node, name)

    def read(self, node: Any, name: str) -> Any:
        return self.serializer.read(node, name)

    def remove(self, node: Any, name: str) -> None:
        self.serializer.remove(node, name)

    def supportsCaching(self) -> bool:
        return self.serializer.supportsCaching()


def create_serializer(type_: Any, annotations: list) -> tuple[ValidatedSerializer, list]:
    """The serializer of a type with its validators, and the annotations that are left. Raises where there is none."""
    validators, annotations = take(annotations, Validator)
    chosen, annotations = take(annotations, Serializer)
    if not chosen:
        factory = next((each for each in REGISTERED if each.canSerialize(type_)), None)
        if factory is None:
            raise Exception(f"Unable to create serializer for type: {type_}")
        chosen = [factory.create(type_)]
    return ValidatedSerializer(chosen[0], validators), annotations


def serializer_of(annotated: Any) -> ValidatedSerializer:
    """For the element of a list, the member of a Union and so on."""
    serializer, unused = create_serializer(*split_annotations(annotated))
    if unused:
        logging.warning("Unused annotations: %s", unused)
    return serializer


class TextSerializer(Serializer):
    """Values that are one text each."""

    def __init__(self, to_text: Callable, from_text: Callable, default: Callable) -> None:
        self.to_text, self.from_text, self.make_default = to_text, from_text, default

    def default(self) -> Any:
        return self.make_default()

    def isIn(self, node: Any, name: str) -> bool:
        return node.HasParameter(name)

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, self.to_text(value))

    def read(self, node: Any, name: str) -> Any:
        return self.from_text(node.GetParameter(name))

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)

    def supportsCaching(self) -> bool:
        return True


@parameterNodeSerializer
class PlainSerializer(TextSerializer):
    """Numbers, texts, truth values, paths and enums."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ in (int, float, str, bool, *PATH_TYPES) or (
            isinstance(type_, type) and issubclass(type_, enum.Enum)
        )

    @staticmethod
    def create(type_: Any) -> ValidatedSerializer:
        allowed = (int, float) if type_ is float else type_
        if type_ is bool:
            plain = PlainSerializer(lambda value: "True" if value else "False", lambda text: text == "True", bool)
        elif issubclass(type_, enum.Enum):
            plain = PlainSerializer(lambda value: value.name, lambda text: type_[text], lambda: next(iter(type_)))
        else:
            plain = PlainSerializer(str, type_, (lambda: 0) if type_ is float else type_)
        return ValidatedSerializer(plain, [NotNone(), IsInstance(allowed)])


@parameterNodeSerializer
class NodeSerializer(Serializer):
    """A node of the scene, by reference."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return isinstance(type_, type) and issubclass(type_, slicer.vtkMRMLNode)

    @staticmethod
    def create(type_: Any) -> ValidatedSerializer:
        return ValidatedSerializer(NodeSerializer(), [IsInstance(type_)])

    def default(self) -> None:
        return None

    def isIn(self, node: Any, name: str) -> bool:
        return node.HasParameter(name)

    def write(self, node: Any, name: str, value: Any) -> None:
        # The parameter of the same name says that the reference was set, if only to None.
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, None if value is None else value.GetID())

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)

    def supportsCaching(self) -> bool:
        return True


@parameterNodeSerializer
class NoneSerializer(TextSerializer):
    """None, as a member of `Optional`."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ is type(None)

    @staticmethod
    def create(type_: Any) -> ValidatedSerializer:
        return ValidatedSerializer(NoneSerializer(lambda _: "True", lambda _: None, lambda: None), [IsNone()])


class ObservedList(collections.abc.MutableSequence):
    """A list whose changes are written to the parameter node at once."""

    def __init__(self, node: Any, serializer: ListSerializer, name: str, values: list) -> None:
        self._node, self._serializer, self._name, self._list = node, serializer, name, values

    def _save(self) -> None:
        try:
            self._serializer.write(self._node, self._name, self._list)
        finally:
            # Inner lists become observed ones, too.
            self._list = self._serializer.read(self._node, self._name)._list

    def __getitem__(self, index: Any) -> Any:
        return self._list[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._list[index] = value
        self._save()

    def __delitem__(self, index: Any) -> None:
        del self._list[index]
        self._save()

    def __len__(self) -> int:
        return len(self._list)

    def insert(self, index: int, value: Any) -> None:
        self._list.insert(index, value)
        self._save()

    def sort(self, **options: Any) -> None:
        self._list.sort(**options)
        self._save()

    def __add__(self, other: Any) -> Any:
        raise NotImplementedError("Adding an ObservedList is not supported. However, += is supported.")

    __radd__ = __add__

    def __eq__(self, other: object) -> bool:
        return self._list == (other._list if isinstance(other, ObservedList) else other)

    __hash__ = None

    def __repr__(self) -> str:
        return f"ObservedList({self._list})"


@parameterNodeSerializer
class ListSerializer(Serializer):
    """`list[...]`: its length, and one parameter for each element."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return typing.get_origin(type_) is list

    @staticmethod
    def create(type_: Any) -> ListSerializer:
        return ListSerializer(serializer_of(*typing.get_args(type_)))

    def __init__(self, element: Serializer) -> None:
        self._element = element

    def default(self) -> list:
        return []

    def isIn(self, node: Any, name: str) -> bool:
        return node.HasParameter(f"{name}_len")

    def _length(self, node: Any, name: str) -> int:
        return int(node.GetParameter(f"{name}_len")) if self.isIn(node, name) else 0

    def write(self, node: Any, name: str, value: Any) -> None:
        with slicer.util.NodeModify(node):
            before = list(self.read(node, name)) if self.isIn(node, name) else None
            length = self._length(node, name)
            try:
                for index, each in enumerate(value):
                    self._element.write(node, f"{name}_{index}", each)
                node.SetParameter(f"{name}_len", str(len(value)))
                for index in range(len(value), length):
                    self._element.remove(node, f"{name}_{index}")
            except Exception:
                # A wrong element leaves the list as it was.
                if before is None:
                    self.remove(node, name)
                else:
                    self.write(node, name, before)
                raise

    def read(self, node: Any, name: str) -> ObservedList:
        values = [self._element.read(node, f"{name}_{index}") for index in range(self._length(node, name))]
        return ObservedList(node, self, name, values)

    def remove(self, node: Any, name: str) -> None:
        with slicer.util.NodeModify(node):
            for index in range(self._length(node, name)):
                self._element.remove(node, f"{name}_{index}")
            node.UnsetParameter(f"{name}_len")

    def supportsCaching(self) -> bool:
        return self._element.supportsCaching()


@parameterNodeSerializer
class TupleSerializer(Serializer):
    """`tuple[A, B]`: one parameter for each member."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return typing.get_origin(type_) is tuple

    @staticmethod
    def create(type_: Any) -> TupleSerializer:
        return TupleSerializer([serializer_of(each) for each in typing.get_args(type_)])

    def __init__(self, members: list[Serializer]) -> None:
        self._members = members

    def default(self) -> tuple:
        return tuple(each.default() for each in self._members)

    def isIn(self, node: Any, name: str) -> bool:
        return self._members[0].isIn(node, f"{name}_0")

    def write(self, node: Any, name: str, value: Any) -> None:
        values = tuple(value)
        if len(values) != len(self._members):
            raise ValueError("Unexpected number of tuple values")
        with slicer.util.NodeModify(node):
            for index, (member, each) in enumerate(zip(self._members, values, strict=True)):
                member.write(node, f"{name}_{index}", each)

    def read(self, node: Any, name: str) -> tuple:
        return tuple(each.read(node, f"{name}_{index}") for index, each in enumerate(self._members))

    def remove(self, node: Any, name: str) -> None:
        with slicer.util.NodeModify(node):
            for index, each in enumerate(self._members):
                each.remove(node, f"{name}_{index}")

    def supportsCaching(self) -> bool:
        return all(each.supportsCaching() for each in self._members)


class ObservedDict(collections.abc.MutableMapping):
    """A dictionary whose changes are written to the parameter node at once."""

    def __init__(self, node: Any, serializer: DictSerializer, name: str, values: dict) -> None:
        self._node, self._serializer, self._name, self._dict = node, serializer, name, values

    def _save(self) -> None:
        try:
            self._serializer.write(self._node, self._name, self._dict)
        finally:
            self._dict = self._serializer.read(self._node, self._name)._dict

    def __getitem__(self, key: Any) -> Any:
        return self._dict[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._dict[key] = value
        self._save()

    def __delitem__(self, key: Any) -> None:
        del self._dict[key]
        self._save()

    def __iter__(self) -> Any:
        return iter(self._dict)

    def __len__(self) -> int:
        return len(self._dict)

    def __eq__(self, other: object) -> bool:
        return self._dict == (other._dict if isinstance(other, ObservedDict) else other)

    __hash__ = None

    def __repr__(self) -> str:
        return f"ObservedDict({self._dict})"


@parameterNodeSerializer
class DictSerializer(Serializer):
    """`dict[A, B]`: a list of pairs."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return typing.get_origin(type_) is dict

    @staticmethod
    def create(type_: Any) -> DictSerializer:
        return DictSerializer([serializer_of(each) for each in typing.get_args(type_)])

    def __init__(self, members: list[Serializer]) -> None:
        self._pairs = ListSerializer(TupleSerializer(members))

    def default(self) -> dict:
        return {}

    def isIn(self, node: Any, name: str) -> bool:
        return self._pairs.isIn(node, name)

    def write(self, node: Any, name: str, value: Any) -> None:
        self._pairs.write(node, name, list(value.items()))

    def read(self, node: Any, name: str) -> ObservedDict:
        return ObservedDict(node, self, name, dict(self._pairs.read(node, name)))

    def remove(self, node: Any, name: str) -> None:
        self._pairs.remove(node, name)

    def supportsCaching(self) -> bool:
        return self._pairs.supportsCaching()


@parameterNodeSerializer
class UnionSerializer(Serializer):
    """`Union[A, B]` and `Optional[A]` (but not `A | B`, which Slicer doesn't take)."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return typing.get_origin(type_) is typing.Union

    @staticmethod
    def create(type_: Any) -> UnionSerializer:
        return UnionSerializer([serializer_of(each) for each in typing.get_args(type_)])

    def __init__(self, members: list[ValidatedSerializer]) -> None:
        self._members = [ValidatedSerializer(each, []) for each in members]

    def default(self) -> Any:
        optional = len(self._members) == 2 and isinstance(self._members[1].serializer, NoneSerializer)
        return None if optional else self._members[0].default()

    def _written(self, node: Any, name: str) -> int | None:
        return next((i for i, each in enumerate(self._members) if each.isIn(node, f"{name}_{i}")), None)

    def isIn(self, node: Any, name: str) -> bool:
        return self._written(node, name) is not None

    def _member_for(self, value: Any) -> int:
        problem: Exception | None = None
        for index, each in enumerate(self._members):
            if each.serializer.canSerialize(type(value)):
                try:
                    each.validate(value)
                except (TypeError, ValueError) as error:
                    problem = error
                else:
                    return index
        raise problem or TypeError(f"Unable to write value '{value}' of type '{type(value)}'")

    def write(self, node: Any, name: str, value: Any) -> None:
        index = self._member_for(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            self._members[index].write(node, f"{name}_{index}", value)

    def read(self, node: Any, name: str) -> Any:
        index = self._written(node, name)
        if index is None:
            raise ValueError(f"No value of '{name}' in the parameter node")
        return self._members[index].read(node, f"{name}_{index}")

    def remove(self, node: Any, name: str) -> None:
        with slicer.util.NodeModify(node):
            for index, each in enumerate(self._members):
                if each.isIn(node, f"{name}_{index}"):
                    each.remove(node, f"{name}_{index}")

    def supportsCaching(self) -> bool:
        return all(each.supportsCaching() for each in self._members)
