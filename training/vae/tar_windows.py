"""The windows of tar files in which the pictures of stage 1 come."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..engine.order import BatchOrder
from ..engine.shard_windows import ShardWindows
from ..pictures import Picture, TarPicture
from .tar_sets import BroughtTars


class TarWindows:
    """Which picture sample n of the run is where every epoch goes through windows of `window` shuffled tar files.

    A pure function of the seed, n and the pictures. Made for a `window` of 0 too, and then asked for nothing.
    """

    def __init__(
        self, pictures: Sequence[Picture], seed: int, window: int, tars: BroughtTars
    ) -> None:
        self.tars = tars
        self._files: list[Path] = []
        if not window:
            return
        of = [picture.file for picture in pictures if isinstance(picture, TarPicture)]
        self._files = list(dict.fromkeys(of))
        number = {file: n for n, file in enumerate(self._files)}
        rows = np.arange(len(of))
        self._windows = ShardWindows([rows], np.array([number[file] for file in of]), seed, window)
        self._order = BatchOrder([rows], 1, seed, self._windows)

    def picture(self, sample: int) -> int:
        """The place of a sample's picture among all."""
        return int(self._order.rows(sample)[0])

    def window_of(self, sample: int) -> int:
        """In which window, counted over the whole run, a sample is."""
        return self._order.window_of(sample)

    def files_of(self, window: int) -> list[Path]:
        """Where on this disk the tar files of a window belong that lie at addresses."""
        files = (self._files[number] for number in self._windows.shards(window))
        return [file for file in files if file in self.tars.origins]


@dataclass(frozen=True)
class BatchWindows:
    """The windows by numbers of batches, of `whole` samples each (engine/ahead.py)."""

    windows: TarWindows
    whole: int

    def window_of(self, number: int) -> int:
        """That in which a batch begins."""
        return self.windows.window_of(number * self.whole)

    def files_of(self, window: int) -> list[Path]:
        """Where on this disk its tar files belong that lie at addresses."""
        return self.windows.files_of(window)

    def bring(self, file: Path) -> None:
        """See to it that a tar file is here. Raises TrainingError."""
        self.windows.tars.bring(file)

    def let_go(self, kept: Collection[Path]) -> None:
        """Remove the tar files that were brought, but those to be `kept`."""
        self.windows.tars.let_go(kept)
