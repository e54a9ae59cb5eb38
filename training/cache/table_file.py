"""`index.safetensors`: the pictures of a whole cache in one file, which every process maps into memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from davae_core.files import (
    CheckpointError,
    file_hash,
    read_safetensors,
    read_shapes,
    write_safetensors,
)

from ..errors import TrainingError
from .head import CacheHead
from .picture_table import COLUMNS, PictureTable, is_sound, table_of
from .shard_files import ShardIndex, check_shard, index_path, read_index, shard_path

TABLE = "index.safetensors"
_VERSION = {"index_version": "1"}


@dataclass(frozen=True)
class Pictures:
    """The pictures of a cache, and the SHA-256 of every shard that has some."""

    table: PictureTable
    hashes: Mapping[Path, str]


def read_table(folder: Path, head: CacheHead) -> Pictures | None:
    """What `index.safetensors` tells; None when there is none, or when it is not of the shards that are there.

    Their own indices are hashed, not parsed, and of the shards the sizes are compared. Raises TrainingError for a shard
    that is missing or has another size.
    """
    arrays = _arrays(folder, head)
    if arrays is None or arrays["of"].tobytes() != _indices_hash(folder, head.shards):
        return None
    found = _pictures(folder, head, arrays)
    if found is None:
        return None
    for number, shard in zip(np.unique(found.table.shards).tolist(), found.hashes, strict=True):
        if not shard.is_file():
            raise _lacking(folder, shard)
        if shard.stat().st_size != arrays["sizes"][number]:
            raise damaged(folder, shard)
    return found


def read_table_alone(folder: Path, head: CacheHead) -> Pictures | None:
    """What `index.safetensors` tells of shards that are elsewhere; None when there is none that holds together."""
    arrays = _arrays(folder, head)
    return None if arrays is None else _pictures(folder, head, arrays)


def _arrays(folder: Path, head: CacheHead) -> dict[str, NDArray[Any]] | None:
    """The columns as they are mapped; None unless all are there and of their types."""
    path = folder / TABLE
    if not path.is_file():
        return None
    try:
        tensors, told = read_safetensors(path)
    except CheckpointError:
        return None
    columns = {name: tensors.get(name) for name in (*COLUMNS, "sizes", "hashes", "of")}
    if told != _VERSION or not _are_columns(columns, head.shards):
        return None
    return {name: held.numpy() for name, held in columns.items() if held is not None}


def _pictures(folder: Path, head: CacheHead, arrays: Mapping[str, NDArray[Any]]) -> Pictures | None:
    """The table and the shards' hashes, None when they do not hold together."""
    table = PictureTable(**{name: arrays[name] for name in COLUMNS})
    if not is_sound(table) or int(table.shards.max(initial=0)) >= max(head.shards, 1):
        return None
    numbers = np.unique(table.shards).tolist()
    hashes = {shard_path(folder, n): arrays["hashes"][n].tobytes().hex() for n in numbers}
    return Pictures(table, hashes)


def _are_columns(columns: Mapping[str, Tensor | None], shards: int) -> bool:
    """Whether all are there, one-dimensional and of their types."""
    types = {**COLUMNS, "sizes": np.int64, "of": np.uint8}
    for name, dtype in types.items():
        held = columns[name]
        # Not asked of NumPy, which knows fewer types.
        if (
            held is None
            or held.ndim != 1
            or held.dtype != torch.from_numpy(np.zeros(0, dtype)).dtype
        ):
            return False
    hashes, sizes = columns["hashes"], columns["sizes"]
    assert sizes is not None
    right = hashes is not None and hashes.dtype == torch.uint8 and hashes.shape == (shards, 32)
    return right and len(sizes) == shards


def pictures_of_shards(folder: Path, head: CacheHead) -> Pictures:
    """The pictures as the indices of the shards tell them, each compared with what its shard holds.

    Raises TrainingError for a shard that is missing, damaged or holds something else.
    """
    found: list[tuple[int, ShardIndex]] = []
    hashes: dict[Path, str] = {}
    has_texts = head.setting("text.states") == "cached"
    for number in range(head.shards):
        path = shard_path(folder, number)
        index = read_index(path)
        if index is None or not path.is_file():
            raise _lacking(folder, path)
        if not index.pictures:
            # Nothing will be read from it, and an older version's cannot be.
            continue
        try:
            # A shard that was cut short is found now, and not hours later in a process that reads ahead.
            held, _ = read_shapes(path)
        except CheckpointError as error:
            raise damaged(folder, path) from error
        check_shard(path, held, index, head.layout, has_texts)
        hashes[path] = index.sha256
        found.append((number, index))
    return Pictures(table_of(found), hashes)


def write_table(folder: Path, head: CacheHead) -> None:
    """Write `index.safetensors`, unless it is there and of these shards. Raises TrainingError or CheckpointError."""
    if read_table(folder, head) is not None:
        return
    pictures = pictures_of_shards(folder, head)
    if not pictures.table:
        # Nobody can train on it, and of nothing there is no file.
        (folder / TABLE).unlink(missing_ok=True)
        return
    paths = [shard_path(folder, number) for number in range(head.shards)]
    hashes = b"".join(_digest(folder, path, pictures.hashes.get(path)) for path in paths)
    columns = {name: _tensor(getattr(pictures.table, name)) for name in COLUMNS}
    columns |= {
        "hashes": _tensor(np.frombuffer(hashes, np.uint8).reshape(len(paths), 32)),
        "sizes": torch.tensor([path.stat().st_size for path in paths], dtype=torch.int64),
        "of": _tensor(np.frombuffer(_indices_hash(folder, head.shards), np.uint8)),
    }
    write_safetensors(folder / TABLE, columns, _VERSION)


def _digest(folder: Path, shard: Path, told: str | None) -> bytes:
    """A shard's hash in bytes, zeros for one without pictures."""
    try:
        digest = bytes(32) if told is None else bytes.fromhex(told)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise damaged(folder, shard)
    return digest


def _tensor(array: np.ndarray) -> Tensor:  # type: ignore[type-arg]
    return torch.from_numpy(np.array(array))


def _indices_hash(folder: Path, shards: int) -> bytes:
    """One hash of the JSON indices of all shards."""
    whole = sha256()
    for number in range(shards):
        path = index_path(shard_path(folder, number))
        if not path.is_file():
            raise _lacking(folder, shard_path(folder, number))
        whole.update(bytes.fromhex(file_hash(path)))
    return whole.digest()


def _lacking(folder: Path, shard: Path) -> TrainingError:
    return TrainingError(
        f"The cache {folder} lacks {shard.name}: run `python -m training cache` again to finish it."
    )


def damaged(folder: Path, shard: Path) -> TrainingError:
    """The sentence for a shard that cannot be opened."""
    return TrainingError(
        f"The cache {folder} has a damaged {shard.name}: run `python -m training cache` again, which makes it anew."
    )
