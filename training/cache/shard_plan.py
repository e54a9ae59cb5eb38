"""Which pictures each shard of a cache holds, also after the source grew, and which shards must be made again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import TrainingError
from .captions import CaptionedPicture
from .marks import RULES, mark_of
from .shard_files import ShardIndex, is_whole, read_index, shard_path

_LOG = logging.getLogger(__name__)
Planned = tuple[CaptionedPicture, ...]


def plan_shards(
    pictures: Sequence[CaptionedPicture], indices: Sequence[ShardIndex | None], most: int
) -> tuple[Planned, ...]:
    """The pictures of every shard: those that a shard has already stay in it, others fill shards of `most`.

    `indices`: of the shards that the cache should have so far, None for one that is not there yet; that, and one that
    lost all its pictures, is filled first. Order is that of `pictures`. What stays empty is kept unless it is the last.
    """
    homes = {name: number for number, index in enumerate(indices) if index for name in index.names}
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


@dataclass(frozen=True)
class ShardWork:
    """A shard that must be made: all its pictures, and the rows of the present shard that are taken over, by name."""

    number: int
    pictures: Planned
    kept: Mapping[str, int]

    @property
    def fresh(self) -> Planned:
        """The pictures that are encoded."""
        return tuple(picture for picture in self.pictures if picture.name not in self.kept)


def work_on(folder: Path, number: int, pictures: Planned, caption_key: str) -> ShardWork | None:
    """What is to be done for a shard: nothing, where it is whole and made of these very pictures by today's rules.

    Of one that is whole, what did not change is kept; then the log says what changed.
    """
    path = shard_path(folder, number)
    if not is_whole(path):
        return ShardWork(number, pictures, {})
    index = read_index(path)
    assert index is not None
    planned = {picture.name: picture for picture in pictures}
    gone = index.names - planned.keys()
    changed = list(_changed(index, pictures, caption_key))
    if changed:
        _LOG.info(
            "making %s again: %d of its %d pictures or captions changed, the first is %s",
            path.name,
            len(changed),
            len(pictures),
            changed[0],
        )
    elif gone:
        _LOG.info("making %s again: pictures of it are gone from the source", path.name)
    else:
        return None
    others = planned.keys() - set(changed)
    kept = {entry.name: row for row, entry in enumerate(index.pictures) if entry.name in others}
    return ShardWork(number, pictures, kept)


def _changed(index: ShardIndex, pictures: Planned, caption_key: str) -> Iterator[str]:
    """The names of what is not, or no longer, what the shard was made of, or was left out by other rules."""
    captions = {entry.name: entry.captions for entry in index.pictures}
    for picture in pictures:
        name, mark = picture.name, index.marks.get(picture.name)
        if name not in captions and index.rules != RULES:
            yield name
        elif mark is None:
            # A cache from before there were marks tells of captions alone.
            if name not in captions or captions[name] != _captions_now(picture, caption_key):
                yield name
        elif mark != mark_of(picture, caption_key):
            yield name


def _captions_now(picture: CaptionedPicture, key: str) -> tuple[str, ...] | None:
    try:
        return picture.read_captions(key)
    except (TrainingError, OSError):
        return None
