"""A picture with its caption where they lie, in files or in a tar file, not read yet."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from davae_core.images import decode_bytes, read_bytes
from davae_core.reading.json_text import parse_json

from ..errors import TrainingError

CAPTION_SUFFIXES = (".txt", ".json", ".caption")
"""What holds a caption, the first one that is there: plain text, JSON, or plain text as some captioners name it."""
LARGEST_CAPTION = 2**20
"""Bytes of a caption's file; a text encoder reads a few hundred."""


@dataclass(frozen=True)
class Place:
    """Where bytes are: a whole file, or in a tar shard `size` of them from `offset` on."""

    file: Path
    offset: int = 0
    size: int = -1

    def read(self, most: int | None = None) -> bytes:
        """The bytes, at most `most` and one more. Raises OSError."""
        size = self.size
        if most is not None:
            size = most + 1 if size < 0 else min(size, most + 1)
        with self.file.open("rb") as file:
            file.seek(self.offset)
            return file.read(size)


@dataclass(frozen=True)
class Named:
    """A caption that stands in no file: the name of the class that a picture lies with."""

    name: str

    def read(self, most: int | None = None) -> bytes:
        """The name's bytes."""
        return self.name.encode()


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture and its caption, not read yet; `name` is unique in the set and stays the same from run to run."""

    name: str
    picture: Place
    caption: Place | Named
    caption_suffix: str

    def read_picture(self) -> Tensor:
        """uint8 [3, H, W]. Raises ValueError or OSError when it cannot be decoded."""
        file = self.picture.file
        if self.picture == Place(file):
            return read_bytes(file)
        packed = io.BytesIO(self.picture.read())
        return decode_bytes(packed, f"{self.name} in {file}")

    def read_caption(self, key: str) -> str:
        """The caption, whitespace and byte order mark trimmed; `key` is where a .json file has it.

        Raises TrainingError when it is empty or no text.
        """
        is_json = self.caption_suffix == ".json"
        try:
            held = self.caption.read(LARGEST_CAPTION)
            if len(held) > LARGEST_CAPTION:
                raise ValueError
            text = held.decode("utf-8-sig")
            if is_json:
                found = parse_json(text)
                text = found[key] if isinstance(found, dict) else found
            if not isinstance(text, str):
                raise TypeError
            # JSON can spell halves of characters, which no text encoder takes.
            text.encode("utf-8")
            if "\0" in text:
                # As UTF-16 read as UTF-8 has between its letters.
                raise ValueError
        except ValueError as error:
            raise TrainingError(
                f"The caption of {self.name} is no text in UTF-8{' or no JSON' if is_json else ''}: mend that file."
            ) from error
        except (KeyError, TypeError) as error:
            raise TrainingError(
                f"The caption file of {self.name} has no text under the key {key!r}: set source.caption_key."
            ) from error
        caption = " ".join(text.lstrip("\ufeff").split())
        if not caption:
            raise TrainingError(
                f"The caption of {self.name} is empty: write one, or take the picture out of the source."
            )
        return caption
