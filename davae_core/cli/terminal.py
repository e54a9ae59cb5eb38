"""Lines and progress bars on a terminal."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

from ..reading.plain_text import printable

Item = TypeVar("Item")


def say(*lines: str) -> None:
    """Write what was asked for, to stdout."""
    sys.stdout.write("".join(printable(line) + "\n" for line in lines))


def note(text: str) -> None:
    """Write what a user should know beside it, to stderr."""
    sys.stderr.write(printable(text) + "\n")


def bar(pictures: Sequence[Item]) -> Iterable[Item]:
    """The pictures, with a bar while they are worked on."""
    return tqdm(pictures, unit="picture", disable=None, leave=False)


def named_bar(items: Sequence[Item], doing: str) -> Iterable[Item]:
    """The same for anything, with what is done to it."""
    return tqdm(items, desc=printable(doing), disable=None, leave=False)


@contextmanager
def counting(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told how many of its units are done, of how many."""
    with tqdm(unit=unit, unit_scale=unit == "B", disable=None, leave=False) as shown:

        def update(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield update
