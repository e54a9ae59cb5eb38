"""Which pictures each shard of a cache holds, also after the source grew, and which shards must be made again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import TrainingError
from .captions import CaptionedPicture
from .latent_cache import ShardIndex, is_whole, read_index
from .marks import RULES, mark_of

_LOG = logging.getLogger(__name__)
Planned = tuple[CaptionedPicture, ...]


def plan_shards(
    pictures: Sequence[CaptionedPicture], indices: Sequence[ShardIndex | None], most: int
) -> tuple[Planned, ...]:
    """The pictures of every shard: those that a shard has already stay in it, others fill shards of `most`.

    `indices`: of the shards that the cache should have so far, None for one that is not there yet; that, and one that
    lost all its pictures, is filled first. Order is that of `pictures`. What stays empty is kept unless it is the last.
    """
    homes = {
        name: number for number, index in enumerate(indices) if index for name in _names(index)
    }
    shards: list[list[CaptionedPicture]] = [[] for _ in indices]
    rest: list[CaptionedPicture] = []
    for picture in pictures:
        home = homes.get(picture.name)
        (rest if home is None else shards[home]).append(picture)
    empty = [number for number, shard in enumerate(shards) if not shard]
    for start in range(0, len(rest), most):
        chunk = rest[start : start + most]
        if empty:
            shards[empty.pop(0)] = chunk
        else:
            shards.append(chunk)
    while shards and not shards[-1]:
        shards.pop()
    return tuple(map(tuple, shards))


def is_current(path: Path, pictures: Planned, caption_key: str) -> bool:
    """Whether the shard at `path` is whole and was made of these very pictures and captions, read by the same rules.

    Otherwise the log says what changed, unless the shard is not there.
    """
    if not is_whole(path):
        return False
    index = read_index(path)
    assert index is not None
    if _names(index) != {picture.name for picture in pictures}:
        _LOG.info("making %s again: pictures of it are gone from the source", path.name)
        return False
    changed = list(_changed(index, pictures, caption_key))
    if changed:
        _LOG.info(
            "making %s again: %d of its %d pictures or captions changed, the first is %s",
            path.name,
            len(changed),
            len(pictures),
            changed[0],
        )
    return not changed


def _changed(index: ShardIndex, pictures: Planned, caption_key: str) -> Iterator[str]:
    """The names of what is no longer what the shard was made of, or was left out by other rules than today's."""
    captions = {entry.name: entry.caption for entry in index.pictures}
    for picture in pictures:
        name, mark = picture.name, index.marks.get(picture.name)
        if name not in captions and index.rules != RULES:
            yield name
        elif mark is None:
            # A cache from before there were marks tells of captions alone.
            if name not in captions or captions[name] != _caption_now(picture, caption_key):
                yield name
        elif mark != mark_of(picture, caption_key):
            yield name


def _caption_now(picture: CaptionedPicture, key: str) -> str | None:
    try:
        return picture.read_caption(key)
    except (TrainingError, OSError):
        return None


def _names(index: ShardIndex) -> set[str]:
    return {entry.name for entry in index.pictures} | set(index.left_out)
