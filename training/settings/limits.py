"""Checks that configurations share."""

from __future__ import annotations

from pathlib import Path

from ..errors import TrainingError


def check_least(name: str, value: float, least: float) -> None:
    """Raise TrainingError when a setting is too small."""
    if value < least:
        raise TrainingError(f"{name} is {value}, but it must be at least {least}.")


def check_range(name: str, value: float, least: float, most: float) -> None:
    """Raise TrainingError when a setting lies outside its range."""
    if not least <= value <= most:
        raise TrainingError(f"{name} is {value}, but it must lie between {least} and {most}.")


def check_plain_name(name: str, value: str) -> None:
    """Raise TrainingError when a setting is a path where a bare file name is wanted."""
    if value != Path(value).name:
        raise TrainingError(
            f"{name} is {value!r}, but it must be a plain file name: choose the folder with output.folder."
        )
