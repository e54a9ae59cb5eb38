"""Pictures that are judged or judged by: which files a folder holds, and how they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..fit import fill_square
from ..images import ImageError, read_bytes
from ..latents import crop_to_multiple
from ..reading.plain_text import SentenceError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
"""What counts as a picture in a folder."""


@dataclass(frozen=True)
class PictureSet:
    """Files by name, in order.

    `square`: pictures are brought to that many pixels a side, their middle. `multiple`: they are then cropped centrally
    to sides that are multiples of it.
    """

    files: Mapping[str, Path]
    multiple: int = 1
    square: int | None = None

    def read(self, name: str) -> Tensor:
        """uint8 [3, H, W]. Raises ImageError."""
        picture = read_bytes(self.files[name])[None]
        if self.square is not None:
            picture = fill_square(picture.float(), self.square).round_().to(torch.uint8)
        try:
            return crop_to_multiple(picture, self.multiple)[0]
        except ValueError as error:
            raise ImageError(
                f"{self.files[name]} is too small to be judged here: {error}"
            ) from error

    def batches(self, names: Iterable[str], most: int) -> Iterator[Tensor]:
        """The pictures, uint8 [B, 3, H, W] with B at most `most`: those beside each other that have one size."""
        waiting: list[Tensor] = []
        for name in names:
            picture = self.read(name)
            if waiting and (len(waiting) == most or waiting[0].shape != picture.shape):
                yield torch.stack(waiting)
                waiting = []
            waiting.append(picture)
        if waiting:
            yield torch.stack(waiting)


def pictures_below(folder: Path) -> PictureSet:
    """The pictures in and below a folder by their path in it without its suffix, in order of the names.

    Files and folders whose name begins with a dot are passed over. Raises SentenceError for a folder that is not there,
    that holds no picture, or where two pictures differ in their suffix alone.
    """
    if not folder.is_dir():
        raise SentenceError(f"{folder} is no folder: name the folder that holds the pictures.")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        name = inside.with_suffix("").as_posix()
        if name in found:
            raise SentenceError(
                f"{found[name]} and {path} have one name but for the suffix: rename or remove one."
            )
        found[name] = path
    if not found:
        raise SentenceError(
            f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))}): name the folder that does."
        )
    return PictureSet(dict(sorted(found.items())))


def captions_beside(pictures: PictureSet) -> dict[str, str] | None:
    """The caption in the .txt file beside each picture, None where not every picture has one with words in it.

    Raises SentenceError for a caption that is no text in UTF-8.
    """
    found = {}
    for name, path in pictures.files.items():
        beside = path.with_suffix(".txt")
        if not beside.is_file():
            return None
        try:
            caption = " ".join(beside.read_text(encoding="utf-8-sig").split())
        except UnicodeDecodeError as error:
            raise SentenceError(f"{beside} is no text in UTF-8: save it as such.") from error
        if not caption:
            return None
        found[name] = caption
    return found
