"""Ranges of settings: a section says them in its types, and yaml_config.py refuses what lies outside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from davae_core.reading.plain_text import shown
from davae_core.reading.typed import Limits as Limits

from ..errors import TrainingError

Whole = Annotated[int, Limits(1)]
"""1, 2, 3, ..."""
Count = Annotated[int, Limits(0)]
"""0, 1, 2, ..."""
Seed = Annotated[int, Limits(0, 2**63 - 1)]
Weight = Annotated[float, Limits(0)]
"""A number that may switch something off."""
Share = Annotated[float, Limits(0.0, 1.0)]
Decay = Annotated[float, Limits(0.0, 0.999999)]
"""What a running mean keeps of itself at each step."""


def check_plain_name(name: str, value: str) -> None:
    """Raise TrainingError when a setting is a path where a bare file name is wanted."""
    if value != Path(value).name:
        raise TrainingError(
            f"{name} is {shown(value)}, but it must be a plain file name: choose the folder with output.folder."
        )
