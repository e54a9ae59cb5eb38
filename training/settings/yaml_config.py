"""YAML into dataclasses, strictly: an unknown, doubled or wrongly typed key is refused by name."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml

from davae_core.reading.plain_text import plain, shown
from davae_core.reading.typed import Builder

from ..errors import TrainingError

T = TypeVar("T")
LARGEST = 2**20
"""Bytes of a configuration; the longest recipe has ten thousand."""
DEEPEST = 20
"""Sections within sections and lists within lists, far more than any configuration has."""
# Beside what PyYAML raises itself: what its constructors do with `!!bool x`, `!!int ""`, 2020-13-45 and their like.
_NOT_YAML = (
    yaml.YAMLError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


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
        return _YAML.build(cls, mapping)


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


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's for plain values, without what no configuration needs.

    PyYAML keeps the last of two equal keys without a word, takes lists for keys, and lets a few aliases stand for
    gigabytes; here they are refused, and so is nesting beyond all sense.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise TrainingError(
                f"line {line} has an alias (*), which is not read here: write it out."
            )
        self.depth += 1
        if self.depth > DEEPEST:
            raise TrainingError(f"it is nested more than {DEEPEST} deep: no configuration is.")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise TrainingError(
                    f"it is not valid YAML here: the key in line {line} is no text."
                )
            if key_node.value in seen:
                raise TrainingError(
                    f"the key {plain(key_node.value)} stands twice (again in line {line}): remove one."
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


class _YamlBuilder(Builder):
    """Values as YAML 1.1 gives them, where a person has written what looks right."""

    def section(self, cls: Any, value: Any, name: str) -> Any:
        """The word none may stand for a section whose `kind` has that choice."""
        if value == "none" and "none" in get_args(get_type_hints(cls).get("kind")):
            value = {"kind": "none"}
        if not isinstance(value, dict):
            raise ValueError(f"{name} is a section with keys of its own, not {shown(value)}.")
        return self.build(cls, value, name)

    def choice(self, choices: tuple[Any, ...], value: Any, name: str) -> Any:
        """YAML 1.1 reads the bare words no, off and none-like spellings as other types."""
        return super().choice(
            choices, "none" if value is None and "none" in choices else value, name
        )

    def several(self, value: Any, name: str) -> list[Any]:
        """A list may be left empty or be a single value."""
        if isinstance(value, list):
            return value
        return [] if value is None else [value]

    def scalar(self, hint: type, value: Any, name: str) -> Any:
        """A number may be text: YAML 1.1 takes 1e-4, without a point, for it. A whole one may have an exponent."""
        if hint in (int, float) and isinstance(value, (str, float)):
            try:
                number = float(value)
            except ValueError:
                number = math.nan
            whole = hint is int and math.isfinite(number) and number == int(number)
            if whole or (hint is float and math.isfinite(number)):
                return super().scalar(hint, hint(number), name)
        return super().scalar(hint, value, name)


_YAML = _YamlBuilder()


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
            base = _YAML.scalar(str, mapping.pop("base"), "base") if "base" in mapping else None
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
        if path.stat().st_size > LARGEST:
            raise TrainingError(f"it has more than {LARGEST >> 20} MiB: no configuration has.")
        mapping = _parse(path.read_text(encoding="utf-8"))
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from error
    except OSError as error:
        file = f"{path}, the base of {heirs[-1]}," if heirs else path
        raise TrainingError(f"{file} cannot be read ({error.strerror}): check the name.") from error
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path} is no text file: a configuration is YAML in UTF-8.") from error
    except _NOT_YAML as error:
        problem = " ".join(str(error).split())[:300].rstrip(".")
        raise TrainingError(f"{path} is not valid YAML: {problem}.") from error
    if not isinstance(mapping, dict):
        raise TrainingError(
            f"{path} holds no settings: a configuration is a YAML mapping of sections and keys."
        )
    return mapping


def _parse(text: str) -> Any:
    """What a YAML text holds. Raises TrainingError and _NOT_YAML."""
    # A SafeLoader: it builds plain values only.
    return yaml.load(text, Loader=_StrictLoader)


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
    except ValueError as error:
        raise TrainingError(f"{' over '.join(map(str, files))}: {error}") from error


def _apply_override(mapping: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    if not separator or not name:
        raise TrainingError(f"The override {shown(override)} is not of the form section.key=value.")
    *sections, key = name.split(".")
    for section in sections:
        inner = mapping.setdefault(section, {})
        if not isinstance(inner, dict):
            raise TrainingError(
                f"The override {shown(override)} goes into {section}, which is a value and no section."
            )
        mapping = inner
    try:
        mapping[key] = _parse(text)
    except _NOT_YAML as error:
        raise TrainingError(
            f"The value of the override {shown(override)} is not valid YAML."
        ) from error


def _check_keys(cls: type, mapping: dict[str, Any], prefix: str, root: type) -> None:
    hints = get_type_hints(cls)
    for key, value in mapping.items():
        if key not in hints:
            raise TrainingError(_unknown_key(f"{prefix}{plain(str(key))}", root))
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, dict):
            _check_keys(hints[key], value, f"{prefix}{key}.", root)


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
