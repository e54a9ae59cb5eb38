"""Pictures in folders and in tar files: which there are, and decoding with an optional cache in memory."""

from __future__ import annotations

import hashlib
import io
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import torch
import torch.nn.functional as F
from torch import Tensor

from davae_core.images import decode_bytes, read_bytes

from .errors import TrainingError
from .folder_walk import files_below

_LOG = logging.getLogger(__name__)
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff"})
UNREAD_SUFFIXES = frozenset(
    {
        ".avif", ".gif", ".heic", ".heif", ".jxl", ".jp2", ".tga", ".psd", ".svg", ".exr", ".hdr",
        ".ppm", ".dds", ".cr2", ".nef", ".arw", ".dng",
    }
)  # fmt: skip
"""Pictures that are not trained on: of formats that are not read, or, as GIF, of too few colours."""


@dataclass(frozen=True)
class TarPicture:
    """A picture in a tar file, `size` bytes from `offset` on; its `name` begins with the tar's path or address.

    `height` and `width` in pixels, 0 where it cannot be read.
    """

    file: Path
    name: str
    offset: int
    size: int
    height: int
    width: int

    def __str__(self) -> str:
        return self.name


Picture = Path | TarPicture


@dataclass(frozen=True)
class PictureFolder:
    """All pictures below one folder, sorted by path; other files (captions among them) are ignored."""

    folder: Path
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """The folder, as settings name it."""
        return str(self.folder)

    @property
    def pictures(self) -> tuple[Path, ...]:
        """The paths."""
        return self.paths


@dataclass(frozen=True)
class TarSet:
    """All pictures of the tar files that one pattern or address, `name`, stands for, tar by tar."""

    name: str
    pictures: tuple[TarPicture, ...]


PictureSet = PictureFolder | TarSet


def scan_folders(folders: Sequence[str], key: str) -> tuple[PictureFolder, ...]:
    """The pictures below each folder, and a warning for those of formats that are not trained on.

    Hidden and system files are passed over, links to folders followed (folder_walk.py). Raises TrainingError, naming
    the configuration key, for a missing or empty one.
    """
    return tuple(_scan(Path(folder).expanduser(), key) for folder in folders)


def _scan(folder: Path, key: str) -> PictureFolder:
    if not folder.is_dir():
        raise TrainingError(f"{key} names {folder}, which is not a folder: check the path.")
    files = files_below(folder)
    warn_of_unread(files, f"{key} names {folder}")
    paths = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise TrainingError(
            f"{key} names {folder}, which holds no picture ({', '.join(sorted(SUFFIXES))}): check the path."
        )
    return PictureFolder(folder, tuple(paths))


def warn_of_unread(files: Iterable[PurePath], where: str) -> None:
    """Say once how many of the files are pictures of formats that are not trained on."""
    unread = [path for path in files if path.suffix.lower() in UNREAD_SUFFIXES]
    if unread:
        counts = Counter(path.suffix.lower() for path in unread)
        _LOG.warning(
            "%s, where pictures of formats that are not trained on are passed over (%s), the first is %s: convert them "
            "to PNG or JPEG",
            where,
            ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items())),
            spelled(unread[0]),
        )


def spelled(path: PurePath | TarPicture | str) -> str:
    """A path as text that can be written; bytes in a file's name that are no UTF-8 become such as \\xe9."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def sets_digest(sets: Sequence[PictureSet]) -> str:
    """A short hash of the picture names, to notice on resuming that the pictures changed."""
    names = "\n".join(name for part in sets for name in _names(part))
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def _names(part: PictureSet) -> Iterator[str]:
    if isinstance(part, TarSet):
        return (picture.name for picture in part.pictures)
    return (spelled(path.relative_to(part.folder)) for path in part.paths)


@dataclass(frozen=True)
class Unreadable:
    """A file that looked like a picture and could not be decoded."""

    path: Picture
    reason: str


class PictureStore:
    """Decodes pictures to uint8 [3, H, W], keeping up to `cache_mb` of them in memory."""

    def __init__(self, cache_mb: int) -> None:
        self._room = cache_mb * 2**20
        self._cache: dict[Picture, Tensor | Unreadable] = {}

    def read(self, path: Picture) -> Tensor | Unreadable:
        """The decoded picture, or why there is none."""
        if path in self._cache:
            return self._cache[path]
        found: Tensor | Unreadable
        try:
            found = _decoded(path)
        except (ValueError, OSError) as error:
            found = Unreadable(path, str(error))
        size = found.numel() if isinstance(found, Tensor) else 0
        if size <= self._room:
            self._room -= size
            self._cache[path] = found
        return found


def _decoded(picture: Picture) -> Tensor:
    if not isinstance(picture, TarPicture):
        return read_bytes(picture)
    with picture.file.open("rb") as file:
        # Python makes room for as many bytes as are asked for.
        whole = file.seek(0, io.SEEK_END)
        file.seek(picture.offset)
        held = file.read(min(picture.size, whole))
    return decode_bytes(io.BytesIO(held), picture.name)


def resize(picture: Tensor, height: int, width: int) -> Tensor:
    """uint8 [3, H, W] -> uint8 [3, height, width], bicubic with antialiasing."""
    scaled = F.interpolate(picture[None].float(), (height, width), mode="bicubic", antialias=True)
    return scaled[0].round_().clamp_(0, 255).to(torch.uint8)
