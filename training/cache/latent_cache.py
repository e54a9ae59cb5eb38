"""A cache of latents and text states: safetensors shards, a JSON index beside each, and what made them.

    cache.json             what the cache was made with: settings, VAE, text encoders, latent layout
    texts.safetensors      text states of the empty caption and of the prompts to draw during training
    shard_00000.safetensors, shard_00000.json, ...

In a shard picture i has `latent.i` [variants, channels, h, w] in VAE space, `clip.i`, `pooled.i` and, with T5, `t5.i`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from davae_core.files import (
    CheckpointError,
    file_hash,
    open_safetensors,
    read_safetensors,
    read_shapes,
    reason_of,
    write_safetensors,
    write_text,
)
from davae_core.latents import Channels, LatentLayout, Number
from davae_core.reading.json_text import read_json
from davae_core.reading.plain_text import shown
from davae_core.reading.typed import Limits, build, check_limits, picked

from ..errors import TrainingError
from .marks import RULES
from .shard_check import ShardCheck
from .text_states import TextStates

FORMAT_VERSION = 2
"""2: a shard's index has marks and rules (marks.py)."""
HEAD, TEXTS = "cache.json", "texts.safetensors"
EMPTY = "empty"
Held = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape and type of each tensor of a file."""
_WEIGHTS = ("F64", "F32", "F16", "BF16")
_IN_SPACE = ("layout", "vae", "vae_hash")


Side = Annotated[int, Limits(1, 10**5)]
"""Latent cells."""
Shards = Annotated[int, Limits(0, 99_999)]


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
    shards: Shards
    pictures: str
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        check_limits(self)

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
    height: Side
    width: Side
    variants: Annotated[int, Limits(1, 10**4)]


@dataclass(frozen=True)
class ShardIndex:
    """A shard's pictures, pictures left out with the reason, and the hash of its tensor file.

    `marks`: what each picture, left out or not, was made of (marks.py), by name; `rules`: of which version the rules
    were by which it was read. Caches of format 1 have neither.
    """

    sha256: str
    pictures: tuple[CachedPicture, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    rules: Annotated[int, Limits(0)] = 0


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


@dataclass(frozen=True)
class _Space:
    """What `_space_of` tells."""

    channels: Channels
    factor: Annotated[int, Limits(1, 4096)]
    shift: Number
    scale: Number
    vae: str
    vae_hash: str
    layout: LatentLayout | None

    def whole_layout(self) -> LatentLayout:
        if self.layout is not None:
            return self.layout
        return LatentLayout(self.channels, 0, self.factor, 1, self.shift, self.scale)


@dataclass(frozen=True)
class _Version:
    format_version: int


@dataclass(frozen=True)
class _Told:
    """What `write_head` writes."""

    space: _Space
    settings: dict[str, Any]
    prompts: tuple[str, ...]
    shards: Shards
    pictures: str
    format_version: int


def read_head(folder: Path) -> CacheHead | None:
    """What the cache in `folder` was made with; None when there is none. Raises TrainingError when it is damaged."""
    path = folder / HEAD
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        version = build(_Version, picked(_Version, values)).format_version
        if version > FORMAT_VERSION:
            raise TrainingError(
                f"{path} was written by a newer version of this project: update, or make the cache again."
            )
        told = build(_Told, values)
        space = told.space
        return CacheHead(
            space.whole_layout(),
            space.vae,
            space.vae_hash,
            told.settings,
            told.prompts,
            told.shards,
            told.pictures,
            version,
        )
    except TrainingError:
        raise
    except ValueError as error:
        raise TrainingError(
            f"{path} is damaged: make the cache again in an empty folder ({reason_of(error)})."
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
    marks: Mapping[str, str] | None = None,
) -> None:
    """Write a shard, then its index, which makes it count. Raises CheckpointError."""
    tensors: dict[str, Tensor] = {}
    for number, (latent, text) in enumerate(zip(latents, texts, strict=True)):
        tensors[f"latent.{number}"] = latent
        tensors |= text.tensors(str(number))
    write_safetensors(path, tensors, {})
    made_of = dict(marks or {})
    write_index(
        path, ShardIndex(file_hash(path), tuple(pictures), left_out, made_of, RULES if marks else 0)
    )


def write_index(path: Path, index: ShardIndex) -> None:
    """Write the index of the shard at `path`. Raises CheckpointError."""
    write_text(path.with_suffix(".json"), json.dumps(asdict(index), indent=1))


def read_index(path: Path) -> ShardIndex | None:
    """The index of the shard at `path`, None when it has none. Raises TrainingError when it is damaged."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    try:
        return build(ShardIndex, read_json(beside))
    except ValueError as error:
        raise TrainingError(
            f"{beside} is damaged ({reason_of(error)}): remove it and run `python -m training cache` again."
        ) from error


def is_whole(path: Path) -> bool:
    """Whether a shard is there with its index, has the bytes that were written, and can be opened."""
    index = read_index(path)
    if index is None or not path.is_file() or file_hash(path) != index.sha256:
        return False
    try:
        # An older version wrote shards without any picture that nobody could open.
        read_shapes(path)
    except CheckpointError:
        return False
    return True


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
                f"{folder} holds no cache: make one with `python -m training cache`, or correct data.caches or "
                "validation.cache."
            )
        self.head = head
        self.pictures: list[CachedPicture] = []
        self._places: list[tuple[Path, int]] = []
        hashes: dict[Path, str] = {}
        filled: list[Path] = []
        for path in (shard_path(folder, number) for number in range(head.shards)):
            index = read_index(path)
            if index is None or not path.is_file():
                raise TrainingError(
                    f"The cache {folder} lacks {path.name}: run `python -m training cache` again to finish it."
                )
            if not index.pictures:
                # Nothing will be read from it, and an older version's cannot be.
                continue
            try:
                # A shard that was cut short is found now, and not hours later in a process that reads ahead.
                held, _ = read_shapes(path)
            except CheckpointError as error:
                raise TrainingError(
                    f"The cache {folder} has a damaged {path.name}: run `python -m training cache` again, which makes "
                    "it anew."
                ) from error
            _check_shard(path, held, index, head.layout)
            hashes[path] = index.sha256
            filled.append(path)
            self.pictures += index.pictures
            self._places += [(path, number) for number in range(len(index.pictures))]
        if not self.pictures:
            raise TrainingError(
                f"The cache {folder} holds no picture: look at what its shard_*.json files left out."
            )
        self._texts, _ = read_safetensors(folder / TEXTS)
        told, _ = read_shapes(folder / TEXTS)
        for name in (EMPTY, *map(str, range(len(head.prompts)))):
            _check_text(folder / TEXTS, told, name)
        self._check = ShardCheck(folder, hashes)
        self._held = {path: self._read_whole(path) for path in filled if in_memory}

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


def _check_shard(path: Path, held: Held, index: ShardIndex, layout: LatentLayout) -> None:
    """Raise TrainingError unless a shard's tensors are those that its index tells of."""
    for number, picture in enumerate(index.pictures):
        wanted = (picture.variants, layout.channels, picture.height, picture.width)
        shape, dtype = held.get(f"latent.{number}", ((), ""))
        if shape != wanted or dtype not in _WEIGHTS:
            raise _other_than_told(path, f"latent.{number} is {dtype} {shown(list(shape))}")
        _check_text(path, held, str(number))


def _check_text(path: Path, held: Held, name: str) -> None:
    """Raise TrainingError unless the text states of one caption are there, a batch of one."""
    for part, rank in (("clip", 3), ("pooled", 2), ("t5", 3)):
        shape, dtype = held.get(f"{part}.{name}", ((), ""))
        if part == "t5" and not dtype:
            continue
        if len(shape) != rank or shape[0] != 1 or dtype not in _WEIGHTS:
            raise _other_than_told(path, f"{part}.{name} is {dtype} {shown(list(shape))}")


def _other_than_told(path: Path, reason: str) -> TrainingError:
    return TrainingError(
        f"{path} does not hold what the cache says of it ({reason}): remove it and run `python -m training cache` "
        "again."
    )


def _picture_of(get: Any, names: Any, number: str) -> tuple[Tensor, TextStates]:
    return get(f"latent.{number}").float(), _text_of(get, names, number)


def _text_of(get: Any, names: Any, number: str) -> TextStates:
    t5 = f"t5.{number}"
    return TextStates(
        get(f"clip.{number}"), get(t5) if t5 in names else None, get(f"pooled.{number}")
    ).to("cpu", torch.float32)
