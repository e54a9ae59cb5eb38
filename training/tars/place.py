"""Where bytes are: in a file, or in a part of a tar file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
