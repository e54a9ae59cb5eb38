"""Hugging Face ids. A setting means one only with `hf:` before it: a mistyped path is never asked for abroad."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import TrainingError

PREFIX = "hf:"
_ID = re.compile(r"(?P<repository>\w[\w.-]*/[\w.-]+)(:(?P<inside>[\w./-]+))?")


@dataclass(frozen=True)
class HubPlace:
    """A repository, and what is meant in it: a folder or a file, empty where the setting does not say."""

    repository: str
    inside: str


def hub_place(source: str, key: str) -> HubPlace | None:
    """What `hf:owner/name` or `hf:owner/name:inside` means; None for a path.

    `key` is the setting. Raises TrainingError for something else after `hf:`.
    """
    if not source.startswith(PREFIX):
        return None
    found = _ID.fullmatch(source.removeprefix(PREFIX))
    if found is None:
        raise TrainingError(
            f"{key} is {source}, but a Hugging Face id is {PREFIX}owner/name, or {PREFIX}owner/name:folder: correct it."
        )
    return HubPlace(found["repository"], found["inside"] or "")


def existing_path(source: str, key: str, wanted: str) -> Path:
    """The path that a setting names. Raises TrainingError, which asks for `wanted`, when nothing is there."""
    path = Path(source).expanduser()
    if path.exists():
        return path
    meant = (
        f", or {PREFIX}{source} if you mean that Hugging Face id" if _ID.fullmatch(source) else ""
    )
    raise TrainingError(f"{key} names {source}, which does not exist: give {wanted}{meant}.")


def same_source(one: object, other: object) -> bool:
    """Whether two values of a setting are equal, ids from before they had `hf:` included."""
    return _bare(one) == _bare(other)


def _bare(value: object) -> object:
    return value.removeprefix(PREFIX) if isinstance(value, str) else value
