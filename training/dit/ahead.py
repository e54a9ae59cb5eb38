"""Shards of caches at addresses are brought before their turn, and removed after it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from ..cache.latent_cache import LatentCache
from ..errors import TrainingError
from .batches import LatentBatches

_LOG = logging.getLogger(__name__)
_AT_ONCE = 4
"""Shards that are brought at once."""
Batch = TypeVar("Batch")


class ShardsAhead:
    """Brings the shards of the window that is read and of the next, and removes all others, for all of this machine.

    Whoever needs a shard before it is here waits for it, or brings it (remote_cache.py); so nothing depends on this.
    """

    def __init__(self, data: LatentBatches) -> None:
        self._data = data
        self._window = -1
        self._wanted: SimpleQueue[tuple[LatentCache, Path] | None] = SimpleQueue()
        self._kept: frozenset[Path] = frozenset()

    def follow(self, batches: Iterator[Batch], first: int, behind: int) -> Iterator[Batch]:
        """The batches, of which the first has the number `first`; the window is that of the batch `behind` earlier."""
        for _ in range(_AT_ONCE):
            # A daemon, so that nobody waits for gigabytes when the run ends.
            Thread(target=self._bring, daemon=True).start()
        try:
            self._enter(self._data.order.window_of(first))
            for number, batch in enumerate(batches, first):
                self._enter(self._data.order.window_of(max(first, number - behind)))
                yield batch
        finally:
            self._kept = frozenset()
            for _ in range(_AT_ONCE):
                self._wanted.put(None)

    def _enter(self, window: int) -> None:
        if window == self._window:
            return
        self._window = window
        wanted = [*self._data.shards_of(window), *self._data.shards_of(window + 1)]
        self._kept = frozenset(path for _, path in wanted)
        for cache in self._data.caches:
            cache.let_go(self._kept)
        for cache, path in wanted:
            if cache.remote is not None:
                self._wanted.put((cache, path))

    def _bring(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            cache, path = wanted
            if path not in self._kept:
                continue
            try:
                cache.bring(path)
            except TrainingError as error:
                # Whoever reads it tries once more, and fails with this sentence in the run itself.
                _LOG.warning("not brought ahead: %s", error)
