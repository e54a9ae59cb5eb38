"""A picture with its caption where they lie, in files or in a tar file, not read yet."""

from __future__ import annotations

import io
from dataclasses import dataclass

from torch import Tensor

from davae_core.images import decode_bytes, read_bytes
from davae_core.reading.json_text import parse_json

from ..errors import TrainingError
from ..tars.place import Place

CAPTION_SUFFIXES = (".txt", ".json", ".caption")
"""What holds a caption, the first one that is there: plain text, JSON, or plain text as some captioners name it."""
LARGEST_CAPTION = 2**20
"""Bytes of a caption's file; a text encoder reads a few hundred."""
MOST_CAPTIONS = 100
"""Captions of one picture."""


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture and its caption, not read yet; `name` is unique in the set and stays the same from run to run."""

    name: str
    picture: Place
    caption: Place
    caption_suffix: str

    def read_picture(self) -> Tensor:
        """uint8 [3, H, W]. Raises ValueError or OSError when it cannot be decoded."""
        file = self.picture.file
        if self.picture == Place(file):
            return read_bytes(file)
        packed = io.BytesIO(self.picture.read())
        return decode_bytes(packed, f"{self.name} in {file}")

    def read_captions(self, key: str) -> tuple[str, ...]:
        """Its captions, whitespace and byte order marks trimmed; `key` is where a .json file has it, or a list of them.

        Raises TrainingError when one is empty or no text.
        """
        is_json = self.caption_suffix == ".json"
        try:
            held = self.caption.read(LARGEST_CAPTION)
            if len(held) > LARGEST_CAPTION:
                raise ValueError
            found = (
                _found_in(held.decode("utf-8-sig"), key) if is_json else [held.decode("utf-8-sig")]
            )
            for text in found:
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
        captions = tuple(" ".join(text.lstrip("\ufeff").split()) for text in found)
        if not captions or not all(captions):
            raise TrainingError(
                f"The caption of {self.name} is empty: write one, or take the picture out of the source."
            )
        if len(captions) > MOST_CAPTIONS:
            raise TrainingError(
                f"{self.name} has {len(captions)} captions, more than {MOST_CAPTIONS}: keep the best of them."
            )
        return captions


def _found_in(text: str, key: str) -> list[str]:
    """The texts in a JSON: under the key of an object, else itself. Raises ValueError, KeyError or TypeError."""
    found = parse_json(text)
    found = found[key] if isinstance(found, dict) else found
    several = found if isinstance(found, list) else [found]
    if not all(isinstance(part, str) for part in several):
        raise TypeError
    return several
