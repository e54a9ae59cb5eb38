"""Plain values, as JSON and YAML give them, into dataclasses: each field by its type and within its limits."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .plain_text import shown

T = TypeVar("T")
_LARGEST_WHOLE = 2**63
"""Beyond it no library takes a whole number."""
_NAMES = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Limits:
    """The smallest and the largest value of a field: `Annotated[int, Limits(1, 8)]`."""

    least: float
    most: float = math.inf

    def check(self, name: str, value: float) -> None:
        """Raise ValueError when the field `name` lies outside."""
        if self.most == math.inf and value < self.least:
            raise ValueError(f"{name} is {shown(value)}, but it must be at least {self.least}.")
        if not self.least <= value <= self.most:
            raise ValueError(
                f"{name} is {shown(value)}, but it must lie between {self.least} and {self.most}."
            )


@dataclass(frozen=True)
class Length:
    """How many values a field of several may hold: `Annotated[tuple[int, ...], Length(8)]`."""

    most: int

    def check(self, name: str, values: tuple[Any, ...]) -> None:
        """Raise ValueError when the field `name` has more."""
        if len(values) > self.most:
            raise ValueError(f"{name} has {len(values)} values, but at most {self.most} may be.")


class Builder:
    """Values into dataclasses, strictly: nothing is converted but whole numbers where any number may be.

    Knows bool, int, float, str, Literal, None beside another type, dataclasses, tuples and lists of one type, dicts by
    text, Any, and Annotated with Limits or Length. What is wrong is a ValueError that begins with the field's name.
    """

    def build(self, cls: type[T], values: Any, name: str = "") -> T:
        """A `cls` of a mapping with its fields' names; `name` is where the mapping stands in the whole."""
        if not isinstance(values, Mapping):
            raise ValueError(f"{name or 'the whole'} is {shown(values)}, but it must have keys.")
        prefix = f"{name}." if name else ""
        hints = _hints(cls)  # type: ignore[arg-type]
        fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for key in values:
            if key not in fields:
                raise ValueError(f"{prefix}{shown(key)} is no key that is known here.")
        built: dict[str, Any] = {}
        for key, field in fields.items():
            if key in values:
                built[key] = self.convert(hints[key], values[key], prefix + key)
            elif (
                field.default is dataclasses.MISSING
                and field.default_factory is dataclasses.MISSING
            ):
                raise ValueError(f"{prefix}{key} is missing.")
        return cls(**built)

    def convert(self, hint: Any, value: Any, name: str) -> Any:
        """`value` as the type `hint`. Raises ValueError."""
        origin = get_origin(hint)
        if origin is Annotated:
            inner, *checks = get_args(hint)
            found = self.convert(inner, value, name)
            for check in checks:
                check.check(name, found)
            return found
        if hint is Any:
            return value
        if dataclasses.is_dataclass(hint):
            return self.section(hint, value, name)
        if origin in (Union, types.UnionType):
            inner = next(part for part in get_args(hint) if part is not type(None))
            return None if value is None else self.convert(inner, value, name)
        if origin is Literal:
            return self.choice(get_args(hint), value, name)
        if origin in (tuple, list):
            parts = (
                self.convert(get_args(hint)[0], part, name) for part in self.several(value, name)
            )
            return origin(parts)
        if origin is dict:
            return self._by_name(get_args(hint)[1], value, name)
        return self.scalar(hint, value, name)

    def section(self, cls: Any, value: Any, name: str) -> Any:
        """A dataclass within a dataclass."""
        return self.build(cls, value, name)

    def choice(self, choices: tuple[Any, ...], value: Any, name: str) -> Any:
        """One of a Literal's values."""
        if value not in choices:
            raise ValueError(
                f"{name} is {shown(value)}, but it must be one of {', '.join(choices)}."
            )
        return value

    def several(self, value: Any, name: str) -> list[Any]:
        """The parts of a tuple or list."""
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{name} is {shown(value)}, but it must be a list.")
        return list(value)

    def scalar(self, hint: type, value: Any, name: str) -> Any:
        """A bool, a str, a whole number of at most 64 bits or a finite number."""
        right = type(value) is hint
        if hint in (int, float) and type(value) is int:
            if abs(value) <= _LARGEST_WHOLE:
                return hint(value)
            right = False
        if right and hint is str:
            right = _is_text(value)
        if right and (hint is not float or math.isfinite(value)):
            return value
        raise ValueError(f"{name} is {shown(value)}, but it must be {_NAMES[hint]}.")

    def _by_name(self, hint: Any, value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ValueError(f"{name} is {shown(value)}, but it must have keys.")
        return {
            key: self.convert(hint, part, f"{name}.{shown(key)}") for key, part in value.items()
        }


def _is_text(value: str) -> bool:
    """Whether it can be written; JSON and YAML can spell halves of characters."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


_STRICT = Builder()


def build(cls: type[T], values: Any) -> T:
    """A dataclass of the values that JSON gave. Raises ValueError that begins with the field's name."""
    return _STRICT.build(cls, values)


def picked(cls: Any, values: Any) -> dict[str, Any]:
    """Those of `values` that are fields of the dataclass `cls`, where others may stand beside them.

    Raises ValueError when they have no names.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"the whole is {shown(values)}, but it must have keys.")
    names = {field.name for field in dataclasses.fields(cls)}
    return {key: value for key, value in values.items() if key in names}


def check_limits(instance: Any) -> None:
    """Raise ValueError when a field of a dataclass lies outside the limits in its type, whoever made it."""
    for name, checks, parts in _limits_of(type(instance)):  # type: ignore[arg-type]
        value = getattr(instance, name)
        for check in checks:
            check.check(name, value)
        for check in parts:
            for part in value:
                check.check(name, part)


@cache
def _limits_of(cls: Any) -> list[tuple[str, list[Any], list[Any]]]:
    """Of each field its name, the checks of the whole and those of its parts."""
    found = []
    for name, hint in _hints(cls).items():
        checks: list[Any] = []
        if get_origin(hint) is Annotated:
            hint, *checks = get_args(hint)
        inner = get_args(hint)[0] if get_origin(hint) is tuple else None
        parts = list(get_args(inner)[1:]) if get_origin(inner) is Annotated else []
        found.append((name, checks, parts))
    return found
