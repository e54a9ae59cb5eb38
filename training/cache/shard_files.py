"""The shards of a cache: safetensors, a JSON index beside each, and how both are checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from davae_core.files import (
    CheckpointError,
    file_hash,
    read_shapes,
    reason_of,
    write_safetensors,
    write_text,
)
from davae_core.latents import LatentLayout
from davae_core.reading.json_text import read_json
from davae_core.reading.plain_text import shown
from davae_core.reading.typed import Length, Limits, build

from ..errors import TrainingError
from .captions import MOST_CAPTIONS
from .marks import RULES
from .picture_check import UNKNOWN, checksum
from .text_states import TextStates

Held = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape and type of each tensor of a file."""
_WEIGHTS = ("F64", "F32", "F16", "BF16")
Side = Annotated[int, Limits(1, 10**5)]
"""Latent cells."""


@dataclass(frozen=True)
class CachedPicture:
    """A picture in a shard: its name, its captions, the latent's height, width and number of variants.

    `crc`: a checksum of what the shard holds of it (picture_check.py), which `write_shard` fills in.
    """

    name: str
    captions: Annotated[tuple[str, ...], Length(MOST_CAPTIONS)]
    height: Side
    width: Side
    variants: Annotated[int, Limits(1, 10**4)]
    crc: Annotated[int, Limits(UNKNOWN, 2**32 - 1)] = UNKNOWN


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

    @property
    def names(self) -> set[str]:
        """Of the pictures that are in it and of those that were left out."""
        return {entry.name for entry in self.pictures} | set(self.left_out)


def shard_path(folder: Path, number: int) -> Path:
    """The tensor file of a shard; its index lies beside it as .json."""
    return folder / f"shard_{number:05d}.safetensors"


def index_path(shard: Path) -> Path:
    """The index beside a shard."""
    return shard.with_suffix(".json")


def write_shard(
    path: Path,
    pictures: Sequence[CachedPicture],
    latents: Sequence[Tensor],
    texts: Sequence[TextStates | None],
    left_out: dict[str, str],
    marks: Mapping[str, str] | None = None,
) -> None:
    """Write a shard, then its index, which makes it count. Raises CheckpointError.

    Of each picture `latents` [variants, channels, h, w] and the states of its captions, None where the cache has none.
    """
    tensors: dict[str, Tensor] = {}
    entries = []
    for number, (entry, latent, text) in enumerate(zip(pictures, latents, texts, strict=True)):
        tensors[f"latent.{number}"] = latent
        tensors |= {} if text is None else text.tensors(str(number))
        entries.append(replace(entry, crc=checksum(latent, text)))
    write_safetensors(path, tensors, {})
    made_of = dict(marks or {})
    write_index(
        path, ShardIndex(file_hash(path), tuple(entries), left_out, made_of, RULES if marks else 0)
    )


def write_index(path: Path, index: ShardIndex) -> None:
    """Write the index of the shard at `path`. Raises CheckpointError."""
    write_text(index_path(path), json.dumps(asdict(index), indent=1))


def read_index(path: Path) -> ShardIndex | None:
    """The index of the shard at `path`, None when it has none. Raises TrainingError when it is damaged."""
    beside = index_path(path)
    if not beside.is_file():
        return None
    try:
        return build(ShardIndex, _as_today(read_json(beside)))
    except ValueError as error:
        raise TrainingError(
            f"{beside} is damaged ({reason_of(error)}): remove it and run `python -m training cache` again."
        ) from error


def _as_today(values: Any) -> Any:
    """An index as format 3 has it; before, a picture had one `caption`."""
    if not isinstance(values, dict) or not isinstance(values.get("pictures"), list):
        return values
    return {**values, "pictures": [_with_captions(entry) for entry in values["pictures"]]}


def _with_captions(entry: Any) -> Any:
    if not isinstance(entry, dict) or "caption" not in entry or "captions" in entry:
        return entry
    rest = {key: value for key, value in entry.items() if key != "caption"}
    return {**rest, "captions": [entry["caption"]]}


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


def check_shard(
    path: Path, held: Held, index: ShardIndex, layout: LatentLayout, has_texts: bool
) -> None:
    """Raise TrainingError unless a shard's tensors are those that its index tells of."""
    for number, picture in enumerate(index.pictures):
        wanted = (picture.variants, layout.channels, picture.height, picture.width)
        shape, dtype = held.get(f"latent.{number}", ((), ""))
        if shape != wanted or dtype not in _WEIGHTS:
            raise _other_than_told(path, f"latent.{number} is {dtype} {shown(list(shape))}")
        if not picture.captions:
            raise _other_than_told(path, f"picture {number} has no caption")
        if has_texts:
            check_text(path, held, str(number), len(picture.captions))


def check_text(path: Path, held: Held, name: str, captions: int) -> None:
    """Raise TrainingError unless the text states of so many captions are there under a name."""
    t5, scale = held.get(f"t5.{name}", ((), "")), held.get(f"t5_scale.{name}")
    parts: dict[str, tuple[int, tuple[str, ...]]]
    parts = {"clip": (3, _WEIGHTS), "pooled": (2, _WEIGHTS), "t5": (3, _WEIGHTS)}
    if scale is not None:
        parts |= {"t5": (3, ("I8",)), "t5_scale": (3, _WEIGHTS)}
        if scale[0] != (*t5[0][:2], 1):
            raise _other_than_told(path, f"t5_scale.{name} is {shown(list(scale[0]))}")
    for part, (rank, dtypes) in parts.items():
        shape, dtype = held.get(f"{part}.{name}", ((), ""))
        if part == "t5" and not dtype:
            continue
        if len(shape) != rank or shape[0] != captions or dtype not in dtypes:
            raise _other_than_told(path, f"{part}.{name} is {dtype} {shown(list(shape))}")


def _other_than_told(path: Path, reason: str) -> TrainingError:
    return TrainingError(
        f"{path} does not hold what the cache says of it ({reason}): remove it and run `python -m training cache` "
        "again."
    )
