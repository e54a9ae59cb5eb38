"""The captioned pictures of a source: folders with a caption's file beside each picture, and WebDataset tar files."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import TrainingError
from ..pictures import SUFFIXES, PictureFolder, scan_folders, spelled
from ..tars.patterns import tar_files
from ..tars.place import Place
from .captions import CAPTION_SUFFIXES, CaptionedPicture
from .class_names import class_of_file
from .remote_tars import RemoteTars
from .tar_samples import scan_tar


@dataclass(frozen=True)
class CaptionedSet:
    """All captioned pictures of a source in a fixed order, and the names of pictures without a caption."""

    pictures: tuple[CaptionedPicture, ...]
    uncaptioned: tuple[str, ...]

    @property
    def digest(self) -> str:
        """A hash of the names, to notice that the set changed."""
        return hashlib.sha256("\n".join(part.name for part in self.pictures).encode()).hexdigest()


def scan_captioned(
    folders: Sequence[str],
    shards: Sequence[str],
    remote: RemoteTars | None = None,
    by_class: bool = False,
) -> CaptionedSet:
    """The captioned pictures below the folders, in the tar files and in `remote` ones, each of these sorted by name.

    `by_class`: their captions are their classes (class_names.py), as `remote` is told itself.

    Raises TrainingError for a missing or empty folder, a tar file that cannot be read, and when nothing has a caption.
    """
    pictures: list[CaptionedPicture] = []
    uncaptioned: list[str] = []
    for number, folder in enumerate(scan_folders(folders, "source.folders")):
        for path, caption in _with_captions(folder, by_class):
            name = f"{number}/{spelled(path.relative_to(folder.folder).as_posix())}"
            if by_class:
                pictures.append(CaptionedPicture(name, Place(path), *class_of_file(path)))
            elif caption is None:
                uncaptioned.append(spelled(path))
            else:
                suffix = caption.suffix.lower()
                pictures.append(CaptionedPicture(name, Place(path), Place(caption), suffix))
    for shard, label in tar_files(shards, "source.shards").items():
        found, bare = scan_tar(shard, label, shard.stem if by_class else None)
        pictures += found
        uncaptioned += bare
    if remote is not None:
        found, bare = remote.pictures()
        pictures += found
        uncaptioned += bare
    if not pictures and not uncaptioned:
        raise TrainingError(
            f"The tar files of source.shards hold no picture ({', '.join(sorted(SUFFIXES))}): check which they are."
        )
    if not pictures:
        raise TrainingError(
            f"None of the {len(uncaptioned)} pictures has a caption: put a .txt or .json file of the same name beside "
            "each of them."
        )
    return CaptionedSet(tuple(pictures), tuple(uncaptioned))


def _with_captions(folder: PictureFolder, by_class: bool) -> Iterator[tuple[Path, Path | None]]:
    """Every picture and its caption's file: of the same name, however its suffix and its accents are written."""
    if by_class:
        yield from ((path, None) for path in folder.paths)
        return
    captions_in = cache(_captions_in)
    for path in folder.paths:
        beside = captions_in(path.parent)
        names = (path.stem, unicodedata.normalize("NFC", path.stem))
        places = ((name, suffix) for suffix in CAPTION_SUFFIXES for name in names)
        yield path, next((beside[place] for place in places if place in beside), None)


def _captions_in(folder: Path) -> dict[tuple[str, str], Path]:
    """The captions' files in a folder by name and suffix; the name once as it is and once in Unicode's NFC."""
    found: dict[tuple[str, str], Path] = {}
    composed: dict[tuple[str, str], Path] = {}
    with os.scandir(folder) as entries:
        # Backwards: of a.TXT and a.txt the latter comes first.
        for entry in sorted(entries, key=lambda entry: entry.name, reverse=True):
            path = folder / entry.name
            suffix = path.suffix.lower()
            if suffix in CAPTION_SUFFIXES and entry.is_file():
                found.setdefault((path.stem, suffix), path)
                composed.setdefault((unicodedata.normalize("NFC", path.stem), suffix), path)
    return {**composed, **found}
