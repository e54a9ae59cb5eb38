"""The first half of a cache job: the text encoders read every caption, before the VAE is loaded.

The states of a shard's captions wait beside it in `shard_00000_texts.safetensors` until its pictures are encoded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from davae_core.files import CheckpointError, read_safetensors, write_safetensors
from davae_core.reading.json_text import parse_json

from ..engine.progress import progress_bar
from ..errors import TrainingError
from .captions import CaptionedPicture
from .config import CacheConfig
from .encoding import load_caption_encoder
from .latent_cache import has_texts_of, write_texts
from .shard_files import shard_path
from .shard_plan import ShardWork
from .text_states import TextStates, stack

EncodeCaptions = Callable[[Sequence[str]], TextStates]
_TOLD = "captions"
Captions = tuple[str, ...]


@dataclass(frozen=True)
class CaptionPass:
    """The captions of a process's shards."""

    config: CacheConfig
    folder: Path
    device: torch.device

    def run(self, works: Sequence[ShardWork], free_texts: bool, shown: bool) -> None:
        """Encode what is not there yet; with `free_texts` also the empty caption and the prompts.

        The text encoders are in memory only meanwhile, and not at all where nothing is missing. `shown`: whether a bar
        is. Raises TrainingError or CheckpointError.
        """
        wanted = [work for work in works if self._is_wanted(work)]
        prompts = self.config.prompts
        missing = free_texts and not has_texts_of(self.folder, prompts)
        if not (wanted or missing):
            return
        encode = load_caption_encoder(self.config.text, self.device)
        if missing:
            storage = self.config.text.t5_storage
            empty, *others = (encode([text]).stored_as(storage) for text in ("", *prompts))
            write_texts(self.folder, empty, others, prompts)
        with progress_bar(
            sum(len(work.fresh) for work in wanted), "captions", "picture", shown
        ) as bar:
            for work in wanted:
                self._write(work, encode)
                bar.update(len(work.fresh))

    def _is_wanted(self, work: ShardWork) -> bool:
        if self.config.text.states == "live" or not work.fresh:
            return False
        waiting = read_waiting(shard_path(self.folder, work.number))
        return waiting is None or waiting.captions != self._captions(work.fresh)

    def _captions(self, pictures: Sequence[CaptionedPicture]) -> dict[str, Captions]:
        """By the picture's name; without those that the second half will leave out for their captions."""
        found = {}
        for picture in pictures:
            try:
                found[picture.name] = picture.read_captions(self.config.source.caption_key)
            except (TrainingError, OSError):
                continue
        return found

    def _write(self, work: ShardWork, encode: EncodeCaptions) -> None:
        captions = self._captions(work.fresh)
        states = self._states([text for several in captions.values() for text in several], encode)
        tensors: dict[str, Tensor] = {}
        if states is not None:
            tensors = states.tensors("all")
        told = json.dumps(list(captions.items()))
        write_safetensors(
            waiting_path(shard_path(self.folder, work.number)), tensors, {_TOLD: told}
        )

    def _states(self, texts: Sequence[str], encode: EncodeCaptions) -> TextStates | None:
        size, storage = self.config.work.batch_size, self.config.text.t5_storage
        parts = [
            encode(texts[start : start + size]).stored_as(storage)
            for start in range(0, len(texts), size)
        ]
        return stack(parts) if parts else None


@dataclass(frozen=True)
class Waiting:
    """The states of a shard's captions, one after the other, and the captions of each picture by its name."""

    captions: dict[str, Captions]
    states: TextStates | None

    def by_name(self) -> Iterator[tuple[str, TextStates]]:
        """The states of each picture's captions."""
        start = 0
        for name, captions in self.captions.items():
            end = start + len(captions)
            if self.states is not None:
                yield name, self.states.rows(start, end)
            start = end


def waiting_path(shard: Path) -> Path:
    """Where the states of a shard's captions wait for its pictures."""
    return shard.with_name(f"{shard.stem}_texts.safetensors")


def read_waiting(shard: Path) -> Waiting | None:
    """What waits for the pictures of a shard; None where nothing does, or nothing that can be used."""
    path = waiting_path(shard)
    if not path.is_file():
        return None
    try:
        tensors, told = read_safetensors(path)
        captions = {name: tuple(texts) for name, texts in parse_json(told[_TOLD])}
    except (CheckpointError, KeyError, TypeError, ValueError):
        return None
    if not tensors:
        return Waiting(captions, None)
    parts = [tensors.get(f"{part}.all") for part in ("clip", "t5", "pooled", "t5_scale")]
    clip, t5, pooled, scale = parts
    count = sum(map(len, captions.values()))
    if clip is None or pooled is None or any(len(p) != count for p in parts if p is not None):
        return None
    return Waiting(captions, TextStates(clip, t5, pooled, scale))
