"""Which part of every micro-batch a process sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """A process's rows of each micro-batch: micro-batch a of step s is number s * accumulate + a, `size` rows each.

    So p processes with batch b see what one with p * b sees.
    """

    size: int
    accumulate: int
    rank: int
    processes: int

    @property
    def whole(self) -> int:
        """Samples in a micro-batch over all processes."""
        return self.size * self.processes

    @property
    def per_step(self) -> int:
        """Samples in an optimizer step over all processes."""
        return self.whole * self.accumulate

    def parts(self, first_step: int, steps: int) -> Iterator[tuple[int, slice]]:
        """Micro-batch numbers and this process's rows from `first_step` to before `steps`."""
        rows = slice(self.rank * self.size, (self.rank + 1) * self.size)
        for number in range(first_step * self.accumulate, steps * self.accumulate):
            yield number, rows

    def samples(self, first_step: int, steps: int) -> Iterator[list[int]]:
        """The same as numbers of samples, which are counted over the whole run."""
        for number, rows in self.parts(first_step, steps):
            first = number * self.whole
            yield list(range(first + rows.start, first + rows.stop))
