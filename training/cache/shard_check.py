"""Whether a whole shard holds what was written: it is compared with its hash once, before it is first read.

For pictures that have no checksum of their own (picture_check.py), and where shards are read whole anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from davae_core.files import file_hash

from ..errors import TrainingError


class ShardCheck:
    """The hashes of a cache's shards, and which were compared; processes that read ahead know it of each other."""

    def __init__(self, folder: Path, hashes: Mapping[Path, str]) -> None:
        self._folder, self._hashes = folder, dict(hashes)
        self._number = {path: number for number, path in enumerate(hashes)}
        compared = torch.zeros(len(hashes), dtype=torch.bool)
        self._compared: Tensor = compared.share_memory_()  # type: ignore[no-untyped-call]

    def __call__(self, shard: Path) -> None:
        """Raise TrainingError, the first time, when the shard's bytes are not those that were written."""
        number = self._number[shard]
        if self._compared[number]:
            return
        if file_hash(shard) != self._hashes[shard]:
            raise other_than_written(self._folder, shard)
        self._compared[number] = True


def other_than_written(folder: Path, shard: Path) -> TrainingError:
    """The sentence for a shard whose bytes are not those that were written."""
    return TrainingError(
        f"The cache {folder} has a damaged {shard.name}, which does not hold what was written: run "
        "`python -m training cache` again, which makes it anew."
    )
