"""The pictures of a cache as columns: ten million of them take a few hundred bytes each, and no Python object."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .shard_files import CachedPicture, ShardIndex


@dataclass(frozen=True, eq=False)
class PictureTable(Sequence[CachedPicture]):
    """N pictures in the order of their shards.

    `shards`, `rows`: number of the shard and place in it; `heights`, `widths` of the latents; `variants`; `crcs`: the
    checksums; `looks`: a hash of name, captions and size. Texts are UTF-8 in `text`, text j from ends[j] to
    ends[j + 1]: of picture i they are its name, number first[i], and its captions, up to before first[i + 1].
    """

    shards: NDArray[np.int32]
    rows: NDArray[np.int32]
    heights: NDArray[np.int32]
    widths: NDArray[np.int32]
    variants: NDArray[np.int32]
    crcs: NDArray[np.int64]
    looks: NDArray[np.int64]
    first: NDArray[np.int64]
    ends: NDArray[np.int64]
    text: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, wanted: int) -> CachedPicture: ...
    @overload
    def __getitem__(self, wanted: slice) -> list[CachedPicture]: ...
    def __getitem__(self, wanted: int | slice) -> CachedPicture | list[CachedPicture]:
        places = range(len(self))[wanted]
        if isinstance(places, range):
            return [self._picture(place) for place in places]
        return self._picture(places)

    def __iter__(self) -> Iterator[CachedPicture]:
        return map(self._picture, range(len(self)))

    def _picture(self, place: int) -> CachedPicture:
        name, *captions = (self._text(n) for n in range(self.first[place], self.first[place + 1]))
        height, width = int(self.heights[place]), int(self.widths[place])
        variants, crc = int(self.variants[place]), int(self.crcs[place])
        return CachedPicture(name, tuple(captions), height, width, variants, crc)

    def captions(self, place: int) -> int:
        """How many captions a picture has."""
        return int(self.first[place + 1] - self.first[place]) - 1

    def caption(self, place: int, which: int) -> str:
        """One of a picture's captions."""
        return self._text(int(self.first[place]) + 1 + which)

    def _text(self, number: int) -> str:
        return (
            self.text[self.ends[number] : self.ends[number + 1]]
            .tobytes()
            .decode("utf-8", "backslashreplace")
        )


COLUMNS: dict[str, Any] = {
    "shards": np.int32, "rows": np.int32, "heights": np.int32, "widths": np.int32, "variants": np.int32,
    "crcs": np.int64, "looks": np.int64, "first": np.int64, "ends": np.int64, "text": np.uint8,
}  # fmt: skip
"""The type of each column."""


def table_of(indices: Iterable[tuple[int, ShardIndex]]) -> PictureTable:
    """The pictures of shards, each given with its number."""
    columns = {name: array("q") for name in COLUMNS if name != "text"}
    columns["first"].append(0)
    columns["ends"].append(0)
    text = bytearray()
    for number, index in indices:
        for row, picture in enumerate(index.pictures):
            for part in (picture.name, *picture.captions):
                text += part.encode("utf-8")
                columns["ends"].append(len(text))
            columns["first"].append(len(columns["ends"]) - 1)
            told = (
                number,
                row,
                picture.height,
                picture.width,
                picture.variants,
                picture.crc,
                _looks(picture),
            )
            for name, value in zip(COLUMNS, told, strict=False):
                columns[name].append(value)
    arrays = {
        name: np.frombuffer(column, np.int64).astype(COLUMNS[name])
        for name, column in columns.items()
    }
    return PictureTable(**arrays, text=np.frombuffer(bytes(text), np.uint8))


def _looks(picture: CachedPicture) -> int:
    size = f"{picture.height} {picture.width}"
    told = "\0".join((picture.name, *picture.captions, size)).encode("utf-8")
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big", signed=True)


def is_sound(table: PictureTable) -> bool:
    """Whether the columns fit one another, so that every picture and text can be read."""
    count, texts = len(table.rows), len(table.ends) - 1
    counted = (table.shards, table.heights, table.widths, table.variants, table.crcs, table.looks)
    return (
        all(len(column) == count for column in counted)
        and len(table.first) == count + 1
        and texts >= 0
        and table.first[0] == table.ends[0] == 0
        and table.first[-1] == texts
        and table.ends[-1] == len(table.text)
        # A name and at least one caption each.
        and bool((np.diff(table.first) >= 2).all())
        and bool((np.diff(table.ends) >= 0).all())
        and all(
            bool((column >= least).all())
            for least, columns in ((0, (table.shards, table.rows)), (1, counted[1:4]))
            for column in columns
        )
    )
