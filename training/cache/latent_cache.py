"""A cache of latents and text states: safetensors shards, a JSON index beside each, and what made them.

    cache.json             what the cache was made with: settings, VAE, text encoders, latent layout
    texts.safetensors      text states of the empty caption and of the prompts to draw during training
    shard_00000.safetensors, shard_00000.json, ...

In a shard picture i has `latent.i` [variants, channels, h, w] in VAE space, `clip.i`, `pooled.i` and, with T5, `t5.i`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from davae_core.files import (
    CheckpointError,
    file_hash,
    open_safetensors,
    read_safetensors,
    write_safetensors,
    write_text,
)
from davae_core.latents import LatentLayout

from ..errors import TrainingError
from .shard_check import ShardCheck
from .text_states import TextStates

FORMAT_VERSION = 1
HEAD, TEXTS = "cache.json", "texts.safetensors"
EMPTY = "empty"
_IN_SPACE = ("layout", "vae", "vae_hash")


@dataclass(frozen=True)
class CacheHead:
    """What a cache was made with.

    `vae` names the VAE's file, `vae_hash` is of its encoding weights. `settings` are the cache configuration's leaves
    by dotted name.
    """

    layout: LatentLayout
    vae: str
    vae_hash: str
    settings: dict[str, Any]
    prompts: tuple[str, ...]
    shards: int
    pictures: str
    format_version: int = FORMAT_VERSION

    def provenance(self) -> dict[str, Any]:
        """What decides the numbers in a cache of given pictures, wherever its files lie."""
        space = {name: value for name, value in _space_of(self).items() if name != "vae"}
        settings = {
            name: value
            for name, value in self.settings.items()
            if not name.startswith("source.") and name != "vae.file"
        }
        return {"vae": space, **settings}


@dataclass(frozen=True)
class CachedPicture:
    """A picture in a shard: its name, its caption, the latent's height, width and number of variants."""

    name: str
    caption: str
    height: int
    width: int
    variants: int


@dataclass(frozen=True)
class ShardIndex:
    """A shard's pictures, pictures left out with the reason, and the hash of its tensor file."""

    sha256: str
    pictures: tuple[CachedPicture, ...]
    left_out: dict[str, str] = field(default_factory=dict)


def write_head(folder: Path, head: CacheHead) -> None:
    """Write `cache.json`. Raises CheckpointError."""
    rest = {name: value for name, value in vars(head).items() if name not in _IN_SPACE}
    write_text(folder / HEAD, json.dumps({"space": _space_of(head), **rest}, indent=1))


def _space_of(head: CacheHead) -> dict[str, Any]:
    """What `cache.json` says of the latents; a plain VAE's have no layout there, only sizes, shift and scale."""
    layout = head.layout
    return {
        "channels": layout.channels,
        "factor": layout.factor,
        "shift": layout.base_shift,
        "scale": layout.base_scale,
        "vae": head.vae,
        "vae_hash": head.vae_hash,
        "layout": asdict(layout) if layout.detail_channels else None,
    }


def _layout_of(space: dict[str, Any]) -> LatentLayout:
    """The layout that `_space_of` told."""
    if space["layout"]:
        return LatentLayout(**space["layout"])
    return LatentLayout(space["channels"], 0, space["factor"], 1, space["shift"], space["scale"])


def read_head(folder: Path) -> CacheHead | None:
    """What the cache in `folder` was made with; None when there is none. Raises TrainingError when it is damaged."""
    path = folder / HEAD
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format_version"] > FORMAT_VERSION:
            raise TrainingError(
                f"{path} was written by a newer version of this project: update, or make the cache again."
            )
        space, prompts = values.pop("space"), tuple(values.pop("prompts"))
        return CacheHead(
            _layout_of(space), space["vae"], space["vae_hash"], prompts=prompts, **values
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, TrainingError):
            raise
        raise TrainingError(
            f"{path} is damaged: make the cache again in an empty folder."
        ) from error


def shard_path(folder: Path, number: int) -> Path:
    """The tensor file of a shard; its index lies beside it as .json."""
    return folder / f"shard_{number:05d}.safetensors"


def write_shard(
    path: Path,
    pictures: Sequence[CachedPicture],
    latents: Sequence[Tensor],
    texts: Sequence[TextStates],
    left_out: dict[str, str],
) -> None:
    """Write a shard, then its index, which makes it count. Raises CheckpointError."""
    tensors: dict[str, Tensor] = {}
    for number, (latent, text) in enumerate(zip(latents, texts, strict=True)):
        tensors[f"latent.{number}"] = latent
        tensors |= text.tensors(str(number))
    write_safetensors(path, tensors, {})
    write_index(path, ShardIndex(file_hash(path), tuple(pictures), left_out))


def write_index(path: Path, index: ShardIndex) -> None:
    """Write the index of the shard at `path`. Raises CheckpointError."""
    write_text(path.with_suffix(".json"), json.dumps(asdict(index), indent=1))


def read_index(path: Path) -> ShardIndex | None:
    """The index of the shard at `path`, None when it has none. Raises TrainingError when it is damaged."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    try:
        values = json.loads(beside.read_text(encoding="utf-8"))
        pictures = tuple(CachedPicture(**part) for part in values["pictures"])
        return ShardIndex(values["sha256"], pictures, dict(values["left_out"]))
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"{beside} is damaged: remove it and run `python -m training cache` again."
        ) from error


def is_whole(path: Path) -> bool:
    """Whether a shard is there with its index and has the bytes that were written."""
    index = read_index(path)
    return index is not None and path.is_file() and file_hash(path) == index.sha256


def write_texts(folder: Path, empty: TextStates, prompts: Sequence[TextStates]) -> None:
    """Write the text states that belong to no picture. Raises CheckpointError."""
    tensors = empty.tensors(EMPTY)
    for number, prompt in enumerate(prompts):
        tensors |= prompt.tensors(str(number))
    write_safetensors(folder / TEXTS, tensors, {})


class LatentCache:
    """A finished cache: how many pictures it has, and each one's latent and text.

    Tensors are read from the shards one by one, or all at once into memory with `in_memory`; before the first read a
    shard is compared with its hash. Raises TrainingError or CheckpointError for a folder without a complete cache.
    """

    def __init__(self, folder: Path, in_memory: bool) -> None:
        self.folder = folder
        head = read_head(folder)
        if head is None:
            raise TrainingError(
                f"{folder} holds no cache: make one with `python -m training cache`, or correct data.caches."
            )
        self.head = head
        self.pictures: list[CachedPicture] = []
        self._places: list[tuple[Path, int]] = []
        hashes: dict[Path, str] = {}
        shards = [shard_path(folder, number) for number in range(head.shards)]
        for path in shards:
            index = read_index(path)
            if index is None or not path.is_file():
                raise TrainingError(
                    f"The cache {folder} lacks {path.name}: run `python -m training cache` again to finish it."
                )
            try:
                # A shard that was cut short is found now, and not hours later in a process that reads ahead.
                with open_safetensors(path):
                    pass
            except CheckpointError as error:
                raise TrainingError(
                    f"The cache {folder} has a damaged {path.name}: run `python -m training cache` again, which makes "
                    "it anew."
                ) from error
            hashes[path] = index.sha256
            self.pictures += index.pictures
            self._places += [(path, number) for number in range(len(index.pictures))]
        if not self.pictures:
            raise TrainingError(
                f"The cache {folder} holds no picture: look at what its shard_*.json files left out."
            )
        self._texts, _ = read_safetensors(folder / TEXTS)
        self._check = ShardCheck(folder, hashes)
        self._held = {path: self._read_whole(path) for path in shards if in_memory}

    def read(self, number: int) -> tuple[Tensor, TextStates]:
        """Latents [variants, C, h, w] in VAE space and the text (batch of one) of picture `number`, float32.

        Raises TrainingError when its shard is damaged.
        """
        path, inside = self._places[number]
        if path in self._held:
            return _picture_of(self._held[path].__getitem__, self._held[path], str(inside))
        self._check(path)
        with open_safetensors(path) as file:
            return _picture_of(file.get_tensor, file.keys(), str(inside))

    def _read_whole(self, shard: Path) -> dict[str, Tensor]:
        self._check(shard)
        return read_safetensors(shard)[0]

    def empty_text(self) -> TextStates:
        """The empty caption's."""
        return _text_of(self._texts.__getitem__, self._texts, EMPTY)

    def prompts(self) -> list[tuple[str, TextStates]]:
        """The prompts to draw during training and their texts."""
        return [
            (prompt, _text_of(self._texts.__getitem__, self._texts, str(number)))
            for number, prompt in enumerate(self.head.prompts)
        ]


def _picture_of(get: Any, names: Any, number: str) -> tuple[Tensor, TextStates]:
    return get(f"latent.{number}").float(), _text_of(get, names, number)


def _text_of(get: Any, names: Any, number: str) -> TextStates:
    t5 = f"t5.{number}"
    return TextStates(
        get(f"clip.{number}"), get(t5) if t5 in names else None, get(f"pooled.{number}")
    ).to("cpu", torch.float32)
