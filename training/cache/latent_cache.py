"""A cache of latents and text states: safetensors shards, a JSON index beside each, and what made them.

    cache.json             what the cache was made with: settings, VAE, text encoders, latent layout (head.py)
    texts.safetensors      text states of the empty caption and of the prompts to draw during training
    index.safetensors      names, captions and sizes of all pictures, written when the cache is finished (table_file.py)
    shard_00000.safetensors, shard_00000.json, ...

In a shard picture i has `latent.i` [variants, channels, h, w] in VAE space and, unless its text states are made while
training, of its K captions `clip.i` [K, ...], `pooled.i` and, with T5, `t5.i`; in 8 bits `t5_scale.i` too.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Container, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from davae_core.files import CheckpointError, read_safetensors, read_shapes, write_safetensors

from ..errors import TrainingError
from .head import TEXTS, CacheHead, read_head
from .open_shards import OpenShards
from .picture_check import UNKNOWN, checksum
from .remote_cache import RemoteCache, bring_shard, let_go
from .shard_check import ShardCheck, other_than_written
from .shard_files import check_text, shard_path
from .table_file import TABLE, Pictures, pictures_of_shards, read_table, read_table_alone
from .text_states import TextStates

_LOG = logging.getLogger(__name__)
EMPTY = "empty"
_PROMPTS = "prompts"


def write_texts(
    folder: Path, empty: TextStates, states: Sequence[TextStates], prompts: Sequence[str] = ()
) -> None:
    """Write the text states that belong to no picture, of the prompts those in `states`. Raises CheckpointError."""
    tensors = empty.tensors(EMPTY)
    for number, prompt in enumerate(states):
        tensors |= prompt.tensors(str(number))
    write_safetensors(folder / TEXTS, tensors, {_PROMPTS: json.dumps(list(prompts))})


def check_texts(folder: Path, prompts: int) -> None:
    """Raise TrainingError or CheckpointError unless the texts that belong to no picture are there."""
    held, _ = read_shapes(folder / TEXTS)
    for name in (EMPTY, *map(str, range(prompts))):
        check_text(folder / TEXTS, held, name, 1)


def has_texts_of(folder: Path, prompts: Sequence[str]) -> bool:
    """Whether the texts that belong to no picture are there, and are these prompts'."""
    try:
        check_texts(folder, len(prompts))
    except (TrainingError, CheckpointError):
        return False
    return read_shapes(folder / TEXTS)[1].get(_PROMPTS) == json.dumps(list(prompts))


class LatentCache:
    """A finished cache: how many pictures it has, and each one's latent and text.

    Tensors are read from the shards one by one, or all at once into memory with `in_memory`. A picture is compared with
    its checksum when a process first reads it; a shard that an older version wrote, with its hash before that. Of a
    `remote` cache, which `folder` is the place of, a shard is brought here when it is read. Raises TrainingError or
    CheckpointError for a folder without a complete cache.
    """

    def __init__(self, folder: Path, in_memory: bool, remote: RemoteCache | None = None) -> None:
        self.folder, self.remote = folder, remote
        self.name = str(folder) if remote is None else remote.address
        head = read_head(folder)
        if head is None:
            raise TrainingError(
                f"{folder} holds no cache: make one with `python -m training cache`, or correct data.caches or "
                "validation.cache."
            )
        self.head = head
        self.has_texts = head.setting("text.states") == "cached"
        found = _pictures_of(folder, head) if remote is None else _brought_pictures(remote, head)
        self.pictures = found.table
        if not self.pictures:
            raise TrainingError(
                f"The cache {self.name} holds no picture: look at what its shard_*.json files left out."
            )
        check_texts(folder, len(head.prompts))
        self._texts, _ = read_safetensors(folder / TEXTS)
        self._hashes = found.hashes
        self._check = ShardCheck(folder, found.hashes)
        self._compared = np.zeros(len(self.pictures), dtype=bool)
        self._shards = OpenShards()
        self._held = {path: self._read_whole(path) for path in found.hashes if in_memory}

    def read(self, number: int) -> tuple[Tensor, TextStates | None]:
        """Latents [variants, C, h, w] in VAE space and the states of all captions of picture `number`, as stored.

        None where captions are encoded while training. Raises TrainingError when its shard or the index is damaged.
        """
        path = shard_path(self.folder, int(self.pictures.shards[number]))
        row = str(self.pictures.rows[number])
        if path in self._held:
            held = self._held[path]
            found = self._found(held.__getitem__, held, row)
        else:
            if self.remote is not None and path not in self._shards:
                self._shards.close_removed()
                self.bring(path)
            if self.pictures.crcs[number] == UNKNOWN:
                self._check(path)
            shard = self._shards[path]
            found = self._found(shard.tensor, shard.names, row)
            self._compare(number, path, *found)
        if not self._is_told(number, *found):
            raise TrainingError(
                f"The index of {self.folder} tells of another picture than {path.name} holds: remove {TABLE} there and "
                "run `python -m training cache` again."
            )
        return found

    def bring(self, shard: Path) -> None:
        """See to it that the shard of a remote cache is here. Raises TrainingError when it is not what was written."""
        if self.remote is not None:
            bring_shard(self.remote, self._hashes, shard)

    def let_go(self, kept: Collection[Path]) -> None:
        """Remove the shards of a remote cache that are here, but those to be `kept`."""
        if self.remote is not None:
            let_go(self.folder, kept)

    def _compare(self, number: int, path: Path, latents: Tensor, text: TextStates | None) -> None:
        """Raise TrainingError, the first time in this process, when a picture is not what was written."""
        wanted = self.pictures.crcs[number]
        if wanted == UNKNOWN or self._compared[number]:
            return
        if checksum(latents, text) != wanted:
            raise other_than_written(self.folder, path)
        self._compared[number] = True

    def _found(
        self, get: Callable[[str], Tensor], names: Container[str], row: str
    ) -> tuple[Tensor, TextStates | None]:
        return get(f"latent.{row}"), text_of(get, names, row) if self.has_texts else None

    def _is_told(self, number: int, latents: Tensor, text: TextStates | None) -> bool:
        """Whether a picture is what the index tells of it."""
        table = self.pictures
        told = (table.variants[number], table.heights[number], table.widths[number])
        captions = table.captions(number)
        return (len(latents), *latents.shape[2:]) == told and (
            text is None or len(text.pooled) == captions
        )

    def _read_whole(self, shard: Path) -> dict[str, Tensor]:
        self._check(shard)
        return read_safetensors(shard)[0]

    def empty_text(self) -> TextStates:
        """The empty caption's."""
        return text_of(self._texts.__getitem__, self._texts, EMPTY)

    def prompts(self) -> list[tuple[str, TextStates]]:
        """The prompts to draw during training and their texts."""
        return [
            (prompt, text_of(self._texts.__getitem__, self._texts, str(number)))
            for number, prompt in enumerate(self.head.prompts)
        ]


def _pictures_of(folder: Path, head: CacheHead) -> Pictures:
    found = read_table(folder, head)
    if found is not None:
        return found
    if head.shards > 1:
        _LOG.info("reading the index of every shard of %s, for it has none of the whole", folder)
    return pictures_of_shards(folder, head)


def _brought_pictures(remote: RemoteCache, head: CacheHead) -> Pictures:
    found = read_table_alone(remote.folder, head)
    if found is None:
        raise TrainingError(
            f"{remote.address}/{TABLE} in {remote.key} is damaged or of another version: run `python -m training "
            "cache` again for that cache."
        )
    return found


def text_of(get: Callable[[str], Tensor], names: Container[str], row: str) -> TextStates:
    """The states of the captions that are stored under `row`."""

    def optional(part: str) -> Tensor | None:
        return get(f"{part}.{row}") if f"{part}.{row}" in names else None

    return TextStates(
        get(f"clip.{row}"), optional("t5"), get(f"pooled.{row}"), optional("t5_scale")
    )
