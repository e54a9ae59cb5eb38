"""Files of a training that lie at addresses are brought before their turn, and removed after it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Protocol, TypeVar

from ..errors import TrainingError

_LOG = logging.getLogger(__name__)
_AT_ONCE = 4
"""Files that are brought at once."""
_LAST_WAIT = 2.0
"""Seconds that each is waited for at the end."""
Batch = TypeVar("Batch")


class Windowed(Protocol):
    """What is read window after window: which window batch m is in, and the files of each that must be brought."""

    def window_of(self, number: int) -> int:
        """In which window, counted over the whole run, batch `number` begins."""

    def files_of(self, window: int) -> list[Path]:
        """Where on this disk the files of a window belong that lie at addresses."""

    def bring(self, file: Path) -> None:
        """See to it that a file is here. Raises TrainingError."""

    def let_go(self, kept: Collection[Path]) -> None:
        """Remove what was brought, but what is to be `kept`."""


class FilesAhead:
    """Brings the files of the window that is read, of the next and of those that workers are at, for this machine.

    All others are removed.

    Whoever needs a file before it is here brings it, or waits for who does; so nothing depends on this.
    """

    def __init__(self, data: Windowed) -> None:
        self._data = data
        self._windows = (-1, -1)
        self._wanted: SimpleQueue[Path | None] = SimpleQueue()
        self._kept: frozenset[Path] = frozenset()

    def follow(
        self, batches: Iterator[Batch], first: int, behind: int, reach: int
    ) -> Iterator[Batch]:
        """The batches, of which the first has the number `first`; the window is that of the batch `behind` earlier.

        `reach`: how many batches workers read ahead; what those need stays.
        """
        # Daemons, so that nobody waits for gigabytes when the run ends.
        threads = [Thread(target=self._bring, name="ahead", daemon=True) for _ in range(_AT_ONCE)]
        for thread in threads:
            thread.start()
        try:
            self._enter(self._data.window_of(first), self._data.window_of(first + reach))
            for number, batch in enumerate(batches, first):
                window = self._data.window_of(max(first, number - behind))
                self._enter(window, self._data.window_of(number + reach))
                yield batch
        finally:
            self._kept = frozenset()
            for _ in threads:
                self._wanted.put(None)
            # Who is nearly done may end, and leaves nothing where others clear up.
            for thread in threads:
                thread.join(_LAST_WAIT)

    def _enter(self, window: int, farthest: int) -> None:
        windows = (window, max(window + 1, farthest))
        if windows == self._windows:
            return
        self._windows = windows
        first, last = windows
        wanted = [file for each in range(first, last + 1) for file in self._data.files_of(each)]
        self._kept = frozenset(wanted)
        self._data.let_go(self._kept)
        for file in wanted:
            self._wanted.put(file)

    def _bring(self) -> None:
        while (file := self._wanted.get()) is not None:
            if file not in self._kept:
                continue
            try:
                self._data.bring(file)
            except (TrainingError, OSError) as error:
                # Whoever reads it tries once more, and fails with this sentence in the run itself. At the end of a run
                # the folder may be gone.
                _LOG.warning("not brought ahead: %s", error)
