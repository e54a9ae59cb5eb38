"""Ranges of settings: a section says them in its types, and yaml_config.py refuses what lies outside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ..errors import TrainingError


@dataclass(frozen=True)
class Limits:
    """The smallest and the largest value of a setting."""

    least: float
    most: float = math.inf

    def check(self, name: str, value: float) -> None:
        """Raise TrainingError when the setting `name` lies outside."""
        if self.most == math.inf and value < self.least:
            raise TrainingError(f"{name} is {value}, but it must be at least {self.least}.")
        if not self.least <= value <= self.most:
            raise TrainingError(
                f"{name} is {value}, but it must lie between {self.least} and {self.most}."
            )


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
            f"{name} is {value!r}, but it must be a plain file name: choose the folder with output.folder."
        )
