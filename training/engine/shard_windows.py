"""Windows of shards: pictures that are far apart on a slow disk, or abroad, are not read side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .randomness import Stream, numpy_generator

Rows = NDArray[np.int64]


class ShardWindows:
    """The shards of every epoch, shuffled and cut as evenly as can be into windows of at most `window`.

    `buckets`: the rows of each latent size, sorted; `shards`: the shard of each row. Windows are counted over the whole
    run; each is a pure function of the seed, its number and what this is made with.
    """

    def __init__(self, buckets: Sequence[Rows], shards: Rows, seed: int, window: int) -> None:
        self._seed = seed
        self._names, own = np.unique(shards, return_inverse=True)
        self.per_epoch = -(-len(self._names) // window)
        # Of each size its rows shard by shard, and where the rows of each shard begin.
        places = [own[rows] for rows in buckets]
        self._by_shard = [
            rows[np.argsort(place, kind="stable")]
            for rows, place in zip(buckets, places, strict=True)
        ]
        counts = [np.bincount(place, minlength=len(self._names)) for place in places]
        self._counts = np.stack(counts)
        self._begins = [np.concatenate([[0], np.cumsum(count)]) for count in counts]
        self._held: tuple[int, list[Rows]] = (-1, [])

    def shards(self, window: int) -> list[int]:
        """The shards of a window, in the order in which they were shuffled."""
        names: list[int] = self._names[self._places(window)].tolist()
        return names

    def counts(self, window: int) -> Rows:
        """How many rows of each size a window has."""
        counts: Rows = self._counts[:, self._places(window)].sum(axis=1)
        return counts

    def rows(self, window: int) -> list[Rows]:
        """Its rows, of each size that it has."""
        places = np.sort(self._places(window))
        found = [
            np.concatenate([rows[begins[place] : begins[place + 1]] for place in places])
            for rows, begins in zip(self._by_shard, self._begins, strict=True)
        ]
        return [rows for rows in found if len(rows)]

    def _places(self, window: int) -> Rows:
        """The places of its shards among all."""
        epoch, which = divmod(window, self.per_epoch)
        if self._held[0] != epoch:
            random = numpy_generator(self._seed, Stream.SHARDS, epoch)
            shuffled = random.permutation(len(self._names))
            self._held = epoch, np.array_split(shuffled, self.per_epoch)
        return self._held[1][which]
