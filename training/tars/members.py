"""What a user put into an uncompressed tar file, which is read in place."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from davae_core.reading.json_text import LARGEST as LARGEST_NOTE
from davae_core.reading.plain_text import plain

from ..errors import TrainingError
from ..folder_walk import is_systems_own
from .place import Place

LARGEST_HEADER = 2**20
"""Bytes of what a tar file says of one member; a long name has a few hundred."""


def check_note(where: str, key: str, pictures: int, note: str) -> None:
    """Raise TrainingError for a tar file of so many pictures that the note of them could not be read again."""
    if len(note.encode()) > LARGEST_NOTE:
        raise TrainingError(
            f"{where} in {key} holds {pictures:,} pictures, which is more than can be noted of one tar file: cut it "
            "into several."
        )


def members_of(shard: Path) -> Iterator[tuple[PurePosixPath, Place]]:
    """The files that a user put into a tar file, without hidden and system files (folder_walk.py).

    Raises TrainingError for a file that is no tar file, or not a whole one.
    """
    try:
        whole = shard.stat().st_size
        with _Headers(io.FileIO(shard)) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                path = PurePosixPath(info.name)
                if info.isfile() and not is_systems_own(path):
                    # What is longer than the shard is found at its end, below; a size must be one to read by.
                    yield path, Place(shard, info.offset_data, min(info.size, whole))
            _check_end(shard, tar.offset)
    # A header may ask tarfile to read more bytes than any machine has, which is no lack of memory here.
    except (
        tarfile.TarError, ArithmeticError, EOFError, LookupError, MemoryError, OSError, ValueError,
    ) as error:  # fmt: skip
        raise TrainingError(
            f"{shard} is no readable, uncompressed tar file ({plain(str(error))}): download it again, or unpack it."
        ) from error


class _Headers(io.BufferedReader):
    """A tar file that is read for its headers: tarfile makes room for as many bytes as one of them claims to have."""

    def read(self, size: int | None = -1, /) -> bytes:
        """As any file's. Raises ReadError for more bytes than a header has."""
        if size is None or not 0 <= size <= LARGEST_HEADER:
            raise tarfile.ReadError("a header claims more bytes than any has")
        return super().read(size)


def _check_end(shard: Path, offset: int) -> None:
    """Raise TarError unless the empty block that ends a whole tar file is where its last member ends.

    tarfile takes a file that is cut within a header, or between two members, for a shorter one.
    """
    with shard.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it is cut short")
