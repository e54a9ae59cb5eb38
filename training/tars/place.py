"""Where bytes are: in a file, or in a part of a tar file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass(frozen=True)
class Place:
    """Where bytes are: a whole file, or in a tar shard `size` of them from `offset` on.

    `sha256` and `held`: their hash in hexadecimal and the bytes themselves, where they are known without the file.
    """

    file: Path
    offset: int = 0
    size: int = -1
    sha256: str = ""
    held: bytes | None = None

    def read(self, most: int | None = None) -> bytes:
        """The bytes, at most `most` and one more. Raises OSError."""
        if self.held is not None:
            return self.held
        size = self.size
        if most is not None:
            size = most + 1 if size < 0 else min(size, most + 1)
        with self.file.open("rb") as file:
            file.seek(self.offset)
            return file.read(size)

    def open(self) -> BinaryIO:
        """The bytes of a part of a tar file as a file of its own, for who needs few of them. Raises OSError."""
        return io.BufferedReader(_Part(self.file, self.offset, self.size))


class _Part(io.RawIOBase):
    """A part of a file, which begins at 0."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._offset, self._size, self._at = offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        wanted = memoryview(buffer)[: max(0, self._size - self._at)]
        self._file.seek(self._offset + self._at)
        count = self._file.readinto(wanted)
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
