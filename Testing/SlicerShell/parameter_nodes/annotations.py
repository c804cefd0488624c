"""What stands inside `Annotated[...]` of a parameter: its default, its validators, hints for its widget."""

from __future__ import annotations

import abc
import dataclasses
import typing
from collections.abc import Callable
from typing import Annotated, Any


class Default:
    """The value of a parameter that was never set; `generator` makes a new one each time."""

    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value = value
        self._generator = generator

    @property
    def value(self) -> Any:
        return self._value if self._generator is None else self._generator()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Default) and (self._value, self._generator) == (other._value, other._generator)

    __hash__ = None

    def __repr__(self) -> str:
        return f"Default(value={self._value}, generator={self._generator})"


@dataclasses.dataclass
class Decimals:
    """How many decimals a widget shows."""

    value: int


@dataclasses.dataclass
class SingleStep:
    """By how much a widget steps."""

    value: float


class Validator(abc.ABC):
    """Says by an exception that a value isn't allowed."""

    @abc.abstractmethod
    def validate(self, value: Any) -> None: ...


class NotNone(Validator):
    """Anything but None."""

    def validate(self, value: Any) -> None:
        if value is None:
            raise ValueError("Value must not be None")


class IsNone(Validator):
    """None only."""

    def validate(self, value: Any) -> None:
        if value is not None:
            raise ValueError("Value must be None")


class IsInstance(Validator):
    """None, or an instance of a class (or of one of a tuple of classes)."""

    def __init__(self, classtype: type | tuple[type, ...]) -> None:
        self.classtype = classtype

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"Value must be of type '{self.classtype}', is type '{type(value)}' value '{value}'")


class WithinRange(Validator):
    """From `minimum` to `maximum`, both included."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Minimum(Validator):
    """`minimum` or more."""

    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


class Maximum(Validator):
    """`maximum` or less."""

    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


class Choice(Validator):
    """One of `choices`."""

    def __init__(self, choices: list) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be in one of the following: {self.choices}")


class Exclude(Validator):
    """None of `excludedValues`."""

    def __init__(self, excludedValues: list) -> None:
        self.excludedValues = excludedValues

    def validate(self, value: Any) -> None:
        if value in self.excludedValues:
            raise ValueError(f"Value is {value}, but must not be one of: {self.excludedValues}")


class RangeBounds(Validator):
    """A FloatRange within `minimum` and `maximum`."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        if not (self.minimum <= value.minimum and value.maximum <= self.maximum):
            raise ValueError(
                f"Range must be within [{self.minimum}, {self.maximum}], is [{value.minimum}, {value.maximum}]"
            )


def split_annotations(annotated: Any) -> tuple[Any, list]:
    """The type itself, and what stands beside it in `Annotated`."""
    bare, *annotations = typing.get_args(Annotated[annotated, None])
    return bare, annotations[:-1]


def bare_type(annotated: Any) -> Any:
    return split_annotations(annotated)[0]


def first_of(annotations: list, kind: type) -> Any:
    """The first annotation of that class, or None."""
    return next((each for each in annotations if isinstance(each, kind)), None)


def take(annotations: list, kind: type) -> tuple[list, list]:
    """Those annotations that are (or are subclasses of) `kind`, and the others."""

    def fits(each: Any) -> bool:
        return isinstance(each, kind) or (isinstance(each, type) and issubclass(each, kind))

    return [each for each in annotations if fits(each)], [each for each in annotations if not fits(each)]
