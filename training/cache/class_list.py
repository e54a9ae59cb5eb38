"""The classes of a set of pictures, numbered by their lines in a text file; and a class in place of a text's states."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from davae_core.reading.plain_text import shown

from ..errors import TrainingError
from ..hub import existing_path
from .text_states import TextStates

_KEY = "text.source"
_LARGEST = 2**24
"""Bytes of a list of classes."""
_DIGITS = 8
"""More of them than a class's number has."""
_DIGIT = 1024
"""Classes are cached as two digits to this base, whole numbers that 16 bits keep."""
MOST_CLASSES = _DIGIT**2 - 1


@dataclass(frozen=True)
class ClassList:
    """The names of classes in the order of their numbers; the number behind the last stands for none of them."""

    names: tuple[str, ...]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each name."""
        return {name: number for number, name in enumerate(self.names)}

    @property
    def digest(self) -> str:
        """A hash of names and order."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()

    def encode(self, captions: Sequence[str]) -> TextStates:
        """Names or numbers of classes, or empty captions, in place of B texts' states. Raises TrainingError."""
        return states_of(torch.tensor([self._number(caption) for caption in captions]))

    def _number(self, caption: str) -> int:
        if not caption:
            return len(self.names)
        if caption not in self.numbers and caption.isdecimal() and len(caption) < _DIGITS:
            # WebDataset's .cls files hold the number itself.
            number = int(caption)
            if number < len(self.names):
                return number
        if caption not in self.numbers:
            raise TrainingError(
                f"{_KEY} does not list the class {shown(caption)}: write it into that file, or take its pictures out "
                "of the source."
            )
        return self.numbers[caption]


def read_class_list(source: str) -> ClassList:
    """The classes in a text file, one a line, its first word the name. Raises TrainingError.

    What follows the name is for people: `n01440764 tench, Tinca tinca`, as ImageNet's own lists have it.
    """
    path = existing_path(source, _KEY, "a text file with the name of a class in each line")
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (ValueError, OSError) as error:
        raise TrainingError(
            f"{_KEY} {path} is no list of classes: give a text file in UTF-8 with a name in each line."
        ) from error
    names = tuple(line.split()[0] for line in lines if line.strip())
    if not names or len(names) > MOST_CLASSES:
        raise TrainingError(
            f"{_KEY} {path} lists {len(names)} classes, but there must be from 1 to {MOST_CLASSES}: correct it."
        )
    if len(set(names)) < len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise TrainingError(f"{_KEY} {path} lists {shown(twice)} twice: remove one.")
    return ClassList(names)


def states_of(labels: Tensor) -> TextStates:
    """Classes [B] in place of B texts' states: `pooled` [B, 2] holds two digits of their numbers, `clip` nothing."""
    digits = torch.stack([labels // _DIGIT, labels % _DIGIT], dim=-1).float()
    return TextStates(digits.new_zeros(len(labels), 1, 1), None, digits)


def labels_of(states: TextStates) -> Tensor:
    """The classes [B] int64 that `states_of` was given, in whatever type the states have been kept."""
    digits = states.pooled.float().round().long()
    return digits[:, 0] * _DIGIT + digits[:, 1]
