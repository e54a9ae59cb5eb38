"""A cache made by independent jobs: part k of n has every n-th shard, and whoever is last makes one cache of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from davae_core.files import reason_of, write_text
from davae_core.reading.json_text import read_json
from davae_core.reading.plain_text import shown
from davae_core.reading.typed import build

from ..errors import TrainingError
from ..hub import same_source
from .head import TEXTS, CacheHead, head_of, head_values, write_head
from .table_file import write_table

MOST_PARTS = 10_000
_WRITTEN = re.compile(r"([1-9]\d{0,4})/([1-9]\d{0,4})")


@dataclass(frozen=True)
class Part:
    """Part `number`, from 1, of `count`."""

    number: int = 1
    count: int = 1

    @property
    def whole(self) -> bool:
        """Whether this is all of the cache."""
        return self.count == 1

    def file(self, folder: Path) -> Path:
        """What the part tells of itself, until all are there."""
        return folder / f"part_{self.number:05d}_of_{self.count:05d}.json"


def part_of(written: str) -> Part:
    """The part that is written as k/n. Raises ValueError."""
    found = _WRITTEN.fullmatch(written)
    if found is None or not int(found[1]) <= int(found[2]) <= MOST_PARTS:
        raise ValueError(
            f"{shown(written)} is no part: write 3/8 for the third of eight, of at most {MOST_PARTS}."
        )
    return Part(int(found[1]), int(found[2]))


@dataclass(frozen=True)
class _Told:
    """What a part tells: the head that the whole cache would have, and whether all of its shards are written."""

    head: dict[str, Any]
    done: bool


def check_same(folder: Path, before: CacheHead, now: CacheHead) -> None:
    """Raise TrainingError, naming the setting, when a cache in `folder` was begun with others than now."""
    for name, value in now.settings.items():
        if name.startswith("source."):
            continue
        if not same_source(before.setting(name), value):
            raise TrainingError(
                f"The cache {folder} was made with {name} = {shown(before.setting(name))}, not {shown(value)}: "
                "put it back, or choose another output.folder."
            )
    if before.vae_hash != now.vae_hash:
        raise TrainingError(
            f"The cache {folder} was made with another VAE than {now.vae}, whatever its name: choose another "
            "output.folder."
        )


def begin_part(folder: Path, part: Part, head: CacheHead) -> None:
    """Say that a part is begun. Raises TrainingError when another one in `folder` was begun otherwise."""
    _check_others(folder, part, head)
    _tell(folder, part, head, done=False)


def end_part(folder: Path, part: Part, head: CacheHead) -> str:
    """Say that a part is done, and make one cache of all parts where it was the last; which it was, in words."""
    _tell(folder, part, head, done=True)
    done = f"part {part.number} of {part.count} is done"
    files = _files(folder)
    try:
        if (part.number, part.count) not in files:
            raise FileNotFoundError
        if missing := _missing(files, part.count):
            return f"{done}, {len(missing)} more are not, the first is {missing[0]}"
        _join(folder, files, part.count)
    except FileNotFoundError:
        # One that ended at the same time joined all, and removed what they told.
        return f"{done}, and another one made the cache whole"
    return f"{done}, the last of all: the cache is whole"


def join_parts(folder: Path) -> CacheHead:
    """Make one cache of the parts that lie in `folder`, wherever they were made.

    Raises TrainingError when one is missing, was not finished or does not go with the others, CheckpointError when
    something cannot be written.
    """
    files = _files(folder)
    counts = {of for _, of in files}
    if len(counts) != 1:
        parts = f"parts of {min(counts)} and of {max(counts)}" if counts else "no part_*.json"
        raise TrainingError(
            f"{folder} has {parts}: run `python -m training cache CONFIG --part k/n` for each of n parts, and copy "
            "what all of them wrote here."
        )
    (count,) = counts
    if missing := _missing(files, count):
        raise TrainingError(
            f"{folder} has {count - len(missing)} of {count} parts, without {', '.join(map(str, missing[:5]))}"
            f"{' and more' if len(missing) > 5 else ''}: run those, or copy what they wrote here."
        )
    return _join(folder, files, count)


def _join(folder: Path, files: Mapping[tuple[int, int], Path], count: int) -> CacheHead:
    """One cache of parts that are all done. Raises FileNotFoundError where another process did it meanwhile."""
    head, _ = _read(files[1, count])
    for number in range(2, count + 1):
        _check_alike(folder, 1, head, number, _read(files[number, count])[0])
    if not (folder / TEXTS).is_file():
        raise TrainingError(
            f"{folder} lacks {TEXTS}, which part 1 wrote: copy it here, or run part 1 again."
        )
    write_table(folder, head)
    write_head(folder, head)
    for path in files.values():
        path.unlink(missing_ok=True)
    return head


def _missing(files: Mapping[tuple[int, int], Path], count: int) -> list[int]:
    """The numbers of the parts that are not there or not done."""
    return [
        number
        for number in range(1, count + 1)
        if (number, count) not in files or not _read(files[number, count])[1]
    ]


def _tell(folder: Path, part: Part, head: CacheHead, done: bool) -> None:
    write_text(part.file(folder), json.dumps({"head": head_values(head), "done": done}, indent=1))


def _files(folder: Path) -> dict[tuple[int, int], Path]:
    """The parts' files in `folder`, by number and count."""
    found = {}
    for path in sorted(folder.glob("part_*.json")):
        name = re.fullmatch(r"part_(\d{5})_of_(\d{5})", path.stem)
        if name is not None:
            found[int(name[1]), int(name[2])] = path
    return found


def _read(path: Path) -> tuple[CacheHead, bool]:
    try:
        told = build(_Told, read_json(path))
        return head_of(told.head, path), told.done
    except TrainingError:
        raise
    except ValueError as error:
        raise TrainingError(
            f"{path} is damaged ({reason_of(error)}): remove it and run that part again."
        ) from error


def _check_others(folder: Path, part: Part, head: CacheHead) -> None:
    for (number, count), path in _files(folder).items():
        if count != part.count:
            raise TrainingError(
                f"{folder} holds {path.name}, but this is part {part.number} of {part.count}: let all parts be of one "
                "number, or remove that file."
            )
        if number != part.number:
            _check_alike(folder, number, _read(path)[0], part.number, head)


def _check_alike(folder: Path, one: int, ones: CacheHead, other: int, others: CacheHead) -> None:
    """Raise TrainingError when two parts do not belong to one cache."""
    check_same(folder, ones, others)
    if (ones.pictures, ones.shards, ones.prompts) != (
        others.pictures,
        others.shards,
        others.prompts,
    ):
        raise TrainingError(
            f"Parts {one} and {other} of the cache {folder} are of other pictures, shards or prompts: let all parts "
            "see the same source and configuration, and run them again."
        )
