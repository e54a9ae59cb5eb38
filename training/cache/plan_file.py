"""The plan of a cache in one file, so that only one process of a job looks through the source; the others map it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import overload

import torch

from davae_core.files import CheckpointError, read_safetensors, reason_of, write_safetensors
from davae_core.reading.json_text import parse_json
from davae_core.reading.typed import build

from ..errors import TrainingError
from ..tars.place import Place
from .captions import CaptionedPicture
from .shard_plan import Planned

_TEXT, _ENDS = "text", "ends"


@dataclass(frozen=True)
class _Place:
    """A place as it is written: `held` in base64, of what a process brings to a room of its own only the name.

    `file` has a letter for each byte of the path, which need be no text.
    """

    file: str
    brought: bool
    offset: int
    size: int
    sha256: str
    held: str | None


@dataclass(frozen=True)
class _Row:
    name: str
    picture: _Place
    caption: _Place
    suffix: str


@dataclass(frozen=True)
class _Shard:
    rows: tuple[_Row, ...]


def write_plan(path: Path, shards: Sequence[Planned], room: Path) -> None:
    """Write the pictures of every shard; `room` is where this process brings tar files. Raises CheckpointError."""
    text, ends = bytearray(), [0]
    for pictures in shards:
        rows = tuple(
            _Row(
                picture.name,
                _written(picture.picture, room),
                _written(picture.caption, room),
                picture.caption_suffix,
            )
            for picture in pictures
        )
        text += json.dumps(asdict(_Shard(rows))).encode()
        ends.append(len(text))
    columns = {_TEXT: torch.frombuffer(text, dtype=torch.uint8), _ENDS: torch.tensor(ends)}
    write_safetensors(path, columns, {})


class PlanFile(Sequence[Planned]):
    """What `write_plan` wrote, read shard by shard; tar files of addresses are looked for in this process's `room`.

    Raises TrainingError when it is damaged.
    """

    def __init__(self, path: Path, room: Path) -> None:
        self._path, self._room = path, room
        try:
            held = read_safetensors(path)[0]
            text, ends = held[_TEXT], held[_ENDS]
            if (text.ndim, text.dtype, ends.ndim, ends.dtype) != (1, torch.uint8, 1, torch.int64):
                raise ValueError("its columns are of other types")
        except (CheckpointError, KeyError, ValueError) as error:
            raise self._damaged(error) from error
        self._text, self._ends = text.numpy(), ends.numpy()

    def __len__(self) -> int:
        return max(0, len(self._ends) - 1)

    @overload
    def __getitem__(self, wanted: int) -> Planned: ...
    @overload
    def __getitem__(self, wanted: slice) -> list[Planned]: ...
    def __getitem__(self, wanted: int | slice) -> Planned | list[Planned]:
        places = range(len(self))[wanted]
        if isinstance(places, range):
            return [self._shard(place) for place in places]
        return self._shard(places)

    def _shard(self, number: int) -> Planned:
        text = self._text[self._ends[number] : self._ends[number + 1]].tobytes()
        try:
            rows = build(_Shard, parse_json(text)).rows
            return tuple(
                CaptionedPicture(row.name, self._place(row.picture), self._place(row.caption), row.suffix)
                for row in rows
            )  # fmt: skip
        except ValueError as error:
            raise self._damaged(error) from error

    def _place(self, told: _Place) -> Place:
        path = Path(os.fsdecode(told.file.encode("latin-1")))
        file = self._room / path if told.brought else path
        held = None if told.held is None else base64.b64decode(told.held, validate=True)
        return Place(file, told.offset, told.size, told.sha256, held)

    def _damaged(self, error: Exception) -> TrainingError:
        return TrainingError(
            f"{self._path} is damaged ({reason_of(error)}): run the same command again, which writes it anew."
        )


def _written(place: Place, room: Path) -> _Place:
    brought = place.file.parent == room
    held = None if place.held is None else base64.b64encode(place.held).decode("ascii")
    path = place.file.name if brought else place.file
    file = os.fsencode(path).decode("latin-1")
    return _Place(file, brought, place.offset, place.size, place.sha256, held)
