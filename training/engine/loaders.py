"""What a DataLoader is given."""

from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


def read_ahead(workers: int) -> int:
    """How many batches the workers of a DataLoader are ahead of what is read at most: two each, as torch has it."""
    return 2 * workers


class Once(Generic[Item]):
    """An iterator as the re-iterable that DataLoader asks for; it is walked through a single time."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Item]:
        return self._items
