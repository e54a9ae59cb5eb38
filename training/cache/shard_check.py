"""Whether a cache's shards hold what was written: each is compared with its hash once, before it is first read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from davae_core.files import file_hash

from ..errors import TrainingError


class ShardCheck:
    """The hashes of a cache's shards, and which were compared; processes that read ahead know it of each other."""

    def __init__(self, folder: Path, hashes: Mapping[Path, str]) -> None:
        self._folder, self._hashes = folder, dict(hashes)
        self._number = {path: number for number, path in enumerate(hashes)}
        self._compared = torch.zeros(len(hashes), dtype=torch.bool).share_memory_()

    def __call__(self, shard: Path) -> None:
        """Raise TrainingError, the first time, when the shard's bytes are not those that were written."""
        number = self._number[shard]
        if self._compared[number]:
            return
        if file_hash(shard) != self._hashes[shard]:
            raise TrainingError(
                f"The cache {self._folder} has a damaged {shard.name}, which does not hold what was written: run "
                "`python -m training cache` again, which makes it anew."
            )
        self._compared[number] = True
