"""YAML into dataclasses, strictly: an unknown, doubled or wrongly typed key is refused by name."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from ..errors import TrainingError

T = TypeVar("T")


def read_config(cls: type[T], path: Path, overrides: tuple[str, ...] = ()) -> T:
    """The dataclass `cls` filled from the YAML file `path`, then from `overrides` (`section.key=value`).

    A file may name another one, relative to itself, as `base` and then hold only what differs: sections merge key by
    key, everything else replaces. Raises TrainingError, one sentence that names the file and the key.
    """
    chain = _read_chain(cls, path)
    mapping = functools.reduce(_merged, reversed(chain.values()))
    for override in overrides:
        _apply_override(mapping, override)
    with _naming(*chain):
        _check_keys(cls, mapping, "", cls)
        return _build(cls, mapping, "")


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of a configuration under its dotted name, in a form JSON keeps (tuples become lists)."""
    leaves: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value, name = getattr(config, item.name), prefix + item.name
        if dataclasses.is_dataclass(value):
            leaves.update(flatten(value, name + "."))
        else:
            leaves[name] = list(value) if isinstance(value, tuple) else value
    return leaves


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word; this loader refuses them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []  # a key of YAML may be a list, which no set takes
        for key_node, _ in node.value:
            if key_node.value in seen:
                line = key_node.start_mark.line + 1
                raise TrainingError(
                    f"the key {key_node.value} stands twice (again in line {line}): remove one."
                )
            seen.append(key_node.value)
        return super().construct_mapping(node, deep)


def override(key: str, value: Any) -> str:
    """`key=value` as `read_config` takes it; JSON is YAML too, and quotes whatever a path may hold."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def _read_chain(cls: type, path: Path) -> dict[Path, dict[str, Any]]:
    """The settings that a file, its base, that one's base and so on hold themselves, by file."""
    chain: dict[Path, dict[str, Any]] = {}
    file: Path | None = path
    while file is not None:
        mapping = _read_mapping(file, tuple(chain))
        with _naming(file):
            base = _convert_scalar(str, mapping.pop("base"), "base") if "base" in mapping else None
            # Here and not after merging, so that the file is named in which the key stands.
            _check_keys(cls, mapping, "", cls)
        chain[file] = mapping
        file = None if base is None else file.parent / base
    return chain


def _read_mapping(path: Path, heirs: tuple[Path, ...]) -> dict[str, Any]:
    """What a YAML file holds; `heirs` are the files whose bases led to it, the nearest last."""
    try:
        if any(path.samefile(heir) for heir in heirs):
            circle = ", ".join(map(str, (*heirs, path)))
            raise TrainingError(f"the bases go in a circle ({circle}): remove one of them.")
        text = path.read_text(encoding="utf-8")
        # _UniqueKeyLoader is a SafeLoader: it builds plain values only.
        mapping = yaml.load(text, Loader=_UniqueKeyLoader)
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from error
    except OSError as error:
        file = f"{path}, the base of {heirs[-1]}," if heirs else path
        raise TrainingError(f"{file} cannot be read ({error.strerror}): check the name.") from error
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path} is no text file: a configuration is YAML in UTF-8.") from error
    except (yaml.YAMLError, ValueError) as error:  # 2024-02-30 is a ValueError
        problem = " ".join(str(error).split())
        raise TrainingError(f"{path} is not valid YAML: {problem}") from error
    if not isinstance(mapping, dict):
        raise TrainingError(
            f"{path} holds no settings: a configuration is a YAML mapping of sections and keys."
        )
    return mapping


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        sections = isinstance(below.get(key), dict) and isinstance(value, dict)
        merged[key] = _merged(below[key], value) if sections else value
    return merged


@contextmanager
def _naming(*files: Path) -> Iterator[None]:
    """Put the names of the files before what is wrong in them."""
    try:
        yield
    except TrainingError as error:
        raise TrainingError(f"{' over '.join(map(str, files))}: {error}") from error


def _apply_override(mapping: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    if not separator or not name:
        raise TrainingError(f"The override {override!r} is not of the form section.key=value.")
    *sections, key = name.split(".")
    for section in sections:
        inner = mapping.setdefault(section, {})
        if not isinstance(inner, dict):
            raise TrainingError(
                f"The override {override!r} goes into {section}, which is a value and no section."
            )
        mapping = inner
    try:
        mapping[key] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise TrainingError(f"The value of the override {override!r} is not valid YAML.") from error


def _check_keys(cls: type, mapping: dict[str, Any], prefix: str, root: type) -> None:
    hints = get_type_hints(cls)
    for key, value in mapping.items():
        if key not in hints:
            raise TrainingError(_unknown_key(f"{prefix}{key}", root))
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, dict):
            _check_keys(hints[key], value, f"{prefix}{key}.", root)


def _build(cls: type[T], mapping: dict[str, Any], prefix: str) -> T:
    hints = get_type_hints(cls, include_extras=True)
    values: dict[str, Any] = {}
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]
        name = item.name
        if name in mapping:
            values[name] = _convert(hints[name], mapping[name], prefix + name)
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise TrainingError(f"{prefix}{name} is missing: add it.")
    return cls(**values)


def _unknown_key(name: str, root: type) -> str:
    known = list(_dotted_names(root, ""))
    near = max(known, key=lambda candidate: _likeness(name, candidate))
    return f"unknown key {name}; the nearest valid key is {near}."


def _likeness(name: str, candidate: str) -> float:
    whole = difflib.SequenceMatcher(None, name, candidate).ratio()
    last = difflib.SequenceMatcher(
        None, name.rpartition(".")[2], candidate.rpartition(".")[2]
    ).ratio()
    return whole + last


def _dotted_names(cls: type, prefix: str) -> list[str]:
    names: list[str] = []
    for name, hint in get_type_hints(cls).items():
        names.append(prefix + name)
        if dataclasses.is_dataclass(hint):
            names.extend(_dotted_names(hint, f"{prefix}{name}."))  # type: ignore[arg-type]
    return names


def _convert(hint: Any, value: Any, name: str) -> Any:
    origin = get_origin(hint)
    if origin is Annotated:
        hint, limits = get_args(hint)
        number = _convert(hint, value, name)
        limits.check(name, number)
        return number
    if dataclasses.is_dataclass(hint):
        if value == "none" and _can_be_none(hint):
            value = {"kind": "none"}
        if not isinstance(value, dict):
            raise TrainingError(f"{name} is a section with keys of its own, not {value!r}.")
        return _build(hint, value, name + ".")  # type: ignore[arg-type]
    if origin in (Union, types.UnionType):
        inner = next(part for part in get_args(hint) if part is not type(None))
        return None if value is None else _convert(inner, value, name)
    if origin is Literal:
        return _convert_choice(get_args(hint), value, name)
    if origin is tuple:
        if not isinstance(value, list):
            value = [] if value is None else [value]
        return tuple(_convert(get_args(hint)[0], part, name) for part in value)
    return _convert_scalar(hint, value, name)


def _can_be_none(section: Any) -> bool:
    """Whether the word none may stand for the whole section: its `kind` has that choice."""
    return "none" in get_args(get_type_hints(section).get("kind"))


def _convert_choice(choices: tuple[str, ...], value: Any, name: str) -> Any:
    # YAML 1.1 reads the bare words no, off and none-like spellings as other types.
    if value is None and "none" in choices:
        return "none"
    if value not in choices:
        raise TrainingError(f"{name} is {value!r}, but it must be one of {', '.join(choices)}.")
    return value


def _convert_scalar(hint: type, value: Any, name: str) -> Any:
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str):
        return value
    if hint in (int, float) and not isinstance(value, bool):
        number = _number(value)
        if number is not None and (hint is float or number == int(number)):
            return hint(number)
    wanted = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}[hint]
    raise TrainingError(f"{name} is {value!r}, but it must be {wanted}.")


def _number(value: Any) -> float | int | None:
    """A finite number, also where YAML 1.1 leaves a string: it takes 1e-4, without a point, for text."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return value if isinstance(value, int) else number
