"""How a command shows how far it is."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """Wraps what is worked on, one after the other, under a few words that say what is done."""

    def __call__(self, items: Sequence[Item], doing: str, /) -> Iterable[Item]: ...
