"""Captions that are drawn to be judged: a text file's, or those of a cache with the text states it has of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files import CheckpointError, file_hash, open_safetensors, read_tensor, reason_of
from ..reading.json_text import read_json
from ..reading.plain_text import SentenceError, plain
from ..reading.typed import Limits, build, picked

HEAD, TEXTS, EMPTY = "cache.json", "texts.safetensors", "empty"
"""Names in a cache of `python -m training cache`, which docs/training.md describes."""
_NEWEST = 3
"""The newest format of a cache that is read: since 3 a picture may have several captions."""
_LARGEST = 64 * 2**20
"""Bytes of a text file of captions."""


@dataclass(frozen=True)
class CachedStates:
    """The text states that a cache holds: by caption, the shard and the number in it. `""` is the empty caption."""

    places: Mapping[str, tuple[Path, str]]
    has_t5: bool

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Context [B, N, width] and pooled vectors [B, p], float32: what davae_core/pipeline.py asks of an encoder.

        Raises CheckpointError where the cache does not hold them.
        """
        found = [self._states(prompt) for prompt in prompts]
        return torch.cat([context for context, _ in found]), torch.cat([p for _, p in found])

    def _states(self, prompt: str) -> tuple[Tensor, Tensor]:
        """Of one prompt. A picture's tensors have a row for each of its captions, the first is this one."""
        path, number = self.places[prompt]
        with open_safetensors(path) as file:
            names = set(file.keys())
            parts = ("clip", "pooled", "t5") if self.has_t5 else ("clip", "pooled")
            if not names >= {f"{part}.{number}" for part in parts}:
                raise CheckpointError(
                    f"{path} holds no text states of {plain(prompt)!r}: name the text encoders with --text."
                )
            found = {
                part: read_tensor(path, file, f"{part}.{number}")[:1].float()
                for part in (*parts, "t5_scale")
                if f"{part}.{number}" in names
            }
        if not self.has_t5:
            return found["clip"], found["pooled"]
        # States in 8 bits are whole numbers, each token's to be multiplied by a number of its own.
        t5 = found["t5"] * found.get("t5_scale", 1)
        clip = F.pad(found["clip"], (0, t5.shape[-1] - found["clip"].shape[-1]))
        return torch.cat([clip, t5], dim=1), found["pooled"]


@dataclass(frozen=True)
class Captions:
    """Captions in order, and their text states where a cache holds them."""

    texts: tuple[str, ...]
    states: CachedStates | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the captions and their order."""
        return hashlib.sha256(json.dumps(self.texts).encode()).hexdigest()


@dataclass(frozen=True)
class _Head:
    """What is asked of a cache's head."""

    format_version: int
    shards: Annotated[int, Limits(0, 99_999)]
    settings: dict[str, Any]


@dataclass(frozen=True)
class _Shard:
    """What is asked of a shard's index."""

    sha256: str
    pictures: tuple[dict[str, Any], ...]


def read_captions(path: Path) -> Captions:
    """The captions of a text file, one a line, or of a cache's folder. Raises SentenceError, CheckpointError."""
    if path.is_dir():
        return _of_cache(path)
    if not path.is_file():
        raise SentenceError(f"{path} does not exist: name a text file of captions, or a cache.")
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except ValueError as error:
        raise SentenceError(
            f"{path} is no text in UTF-8 of at most {_LARGEST >> 20} MiB: write one caption a line."
        ) from error
    texts = tuple(" ".join(line.split()) for line in lines if line.strip())
    if not texts:
        raise SentenceError(f"{path} holds no caption: write one a line.")
    return Captions(texts)


def _of_cache(folder: Path) -> Captions:
    if not (folder / HEAD).is_file():
        raise SentenceError(
            f"{folder} is no cache of `python -m training cache` ({HEAD} is missing): name one, or a text file of "
            "captions."
        )
    head = _told(_Head, folder / HEAD)
    if head.format_version > _NEWEST:
        raise CheckpointError(
            f"{folder / HEAD} was written by a newer version of this project: update, or make the cache again."
        )
    texts: list[str] = []
    places: dict[str, tuple[Path, str]] = {"": (folder / TEXTS, EMPTY)}
    for shard in range(head.shards):
        path = folder / f"shard_{shard:05d}.safetensors"
        index = _told(_Shard, path.with_suffix(".json"))
        if path.is_file() and index.pictures and file_hash(path) != index.sha256:
            raise CheckpointError(f"{path} is damaged: run `python -m training cache` again.")
        for number, picture in enumerate(index.pictures):
            caption = _first_caption(picture)
            if not caption:
                raise CheckpointError(
                    f"{path.with_suffix('.json')} has a picture without a caption: make the cache again."
                )
            texts.append(caption)
            places[caption] = (path, str(number))
    if not texts:
        raise SentenceError(
            f"The cache {folder} holds no picture, and so no caption: name another one."
        )
    # States that are made while training are in no cache: the user's encoders make them.
    if head.settings.get("text.states") == "live":
        return Captions(tuple(texts))
    return Captions(tuple(texts), CachedStates(places, bool(head.settings.get("text.t5_tokens"))))


def _first_caption(picture: Mapping[str, Any]) -> str:
    """The caption of a picture, of several the first; empty where there is none."""
    told = picture.get("captions", [picture.get("caption")])
    first = told[0] if isinstance(told, list) and told else None
    return first if isinstance(first, str) else ""


def _told(cls: Any, path: Path) -> Any:
    try:
        return build(cls, picked(cls, read_json(path)))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}): run `python -m training cache` again to finish the cache."
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged ({reason_of(error)}): make the cache again."
        ) from error
