"""In which order the pictures of stage 2 come: all shuffled together, or window of shards after window of shards."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .randomness import Stream, numpy_generator
from .shard_windows import ShardWindows

Rows = NDArray[np.int64]


class BatchOrder:
    """Which rows batch m of the run has, for any m >= 0: a pure function of the seed, m and what it is made with.

    `buckets`: the rows of each latent size; a batch has rows of one. Window after window each size's rows are shuffled
    and cut into batches of `size`, the last one filled up from the beginning, and all batches of the window are
    shuffled. Without `windows` every epoch is one.
    """

    def __init__(
        self, buckets: Sequence[Rows], size: int, seed: int, windows: ShardWindows | None
    ) -> None:
        self._buckets, self._size, self._seed, self._windows = buckets, size, seed, windows
        self._ends: list[int] = []
        self._held: tuple[int, list[Rows]] = (-1, [])

    @property
    def per_epoch(self) -> int:
        """Batches of the first epoch; with windows, others have about as many."""
        if self._windows is None:
            return self._cut(np.array([len(rows) for rows in self._buckets]))
        return self._end(self._windows.per_epoch - 1)

    def rows(self, number: int) -> Rows:
        """Those of batch `number`."""
        window, place = self._place(number)
        if self._held[0] != window:
            self._held = window, self._batches(window)
        return self._held[1][place]

    def window_of(self, number: int) -> int:
        """In which window, counted over the whole run, batch `number` is."""
        return self._place(number)[0]

    def _place(self, number: int) -> tuple[int, int]:
        """The window of a batch and which of the window's batches it is."""
        if self._windows is None:
            return divmod(number, self.per_epoch)
        while not self._ends or self._ends[-1] <= number:
            self._end(len(self._ends))
        window = bisect_right(self._ends, number)
        return window, number - (self._ends[window - 1] if window else 0)

    def _end(self, window: int) -> int:
        """The number of the batch after the last one of a window."""
        assert self._windows is not None
        while len(self._ends) <= window:
            before = self._ends[-1] if self._ends else 0
            self._ends.append(before + self._cut(self._windows.counts(len(self._ends))))
        return self._ends[window]

    def _cut(self, counts: Rows) -> int:
        """Batches that so many rows of each size make."""
        return int((-(-counts // self._size)).sum())

    def _batches(self, window: int) -> list[Rows]:
        random = numpy_generator(self._seed, Stream.ORDER, window)
        batches: list[Rows] = []
        for rows in self._buckets if self._windows is None else self._windows.rows(window):
            shuffled = random.permutation(rows)
            filled = np.resize(shuffled, -(-len(rows) // self._size) * self._size)
            batches += list(filled.reshape(-1, self._size))
        return [batches[place] for place in random.permutation(len(batches))]
