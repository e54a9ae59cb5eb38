"""What commands say, and the bars they show while they work."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from ..reading.plain_text import printable

Item = TypeVar("Item")


def say(*lines: str) -> None:
    """Lines of a command's answer."""
    sys.stdout.write("".join(printable(line) + "\n" for line in lines))


def note(text: str) -> None:
    """What a command says beside its answer."""
    sys.stderr.write(printable(text) + "\n")


def picture_bar(pictures: Sequence[Item]) -> Iterable[Item]:
    """The pictures, and a bar of how many are done."""
    from tqdm import tqdm

    return tqdm(pictures, unit="picture", disable=None, leave=False)


def named_bar(items: Sequence[Item], doing: str) -> Iterable[Item]:
    """The same for anything, with what is done to it."""
    from tqdm import tqdm

    return tqdm(items, desc=printable(doing), disable=None, leave=False)


@contextmanager
def counting(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told how many of its units are done, of how many."""
    from tqdm import tqdm

    with tqdm(unit=unit, unit_scale=unit == "B", disable=None, leave=False) as bar:

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update
