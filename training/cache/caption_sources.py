"""Captioned pictures: folders with .txt or .json files beside the pictures, and WebDataset tar shards."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from torch import Tensor

from davae_core.images import decode_bytes, read_bytes
from davae_core.reading.json_text import parse_json
from davae_core.reading.plain_text import plain

from ..errors import TrainingError
from ..pictures import SUFFIXES, scan_folders

CAPTION_SUFFIXES = (".txt", ".json")
LARGEST_CAPTION = 2**20
"""Bytes of a caption's file; a text encoder reads a few hundred."""


LARGEST_HEADER = 2**20
"""Bytes of what a tar file says of one member; a long name has a few hundred."""


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

    def read_caption(self, key: str) -> str:
        """The caption, whitespace trimmed; `key` is where a .json file has it. Raises TrainingError."""
        is_json = self.caption_suffix == ".json"
        try:
            held = self.caption.read(LARGEST_CAPTION)
            if len(held) > LARGEST_CAPTION:
                raise ValueError
            text = held.decode("utf-8")
            if is_json:
                found = parse_json(text)
                text = found[key] if isinstance(found, dict) else found
            if not isinstance(text, str):
                raise TypeError
            # JSON can spell halves of characters, which no text encoder takes.
            text.encode("utf-8")
        except ValueError as error:
            raise TrainingError(
                f"The caption of {self.name} is no text in UTF-8{' or no JSON' if is_json else ''}: mend that file."
            ) from error
        except (KeyError, TypeError) as error:
            raise TrainingError(
                f"The caption file of {self.name} has no text under the key {key!r}: set source.caption_key."
            ) from error
        return " ".join(text.split())


@dataclass(frozen=True)
class CaptionedSet:
    """All captioned pictures of a source in a fixed order, and the names of pictures without a caption."""

    pictures: tuple[CaptionedPicture, ...]
    uncaptioned: tuple[str, ...]

    @property
    def digest(self) -> str:
        """A hash of the names, to notice that the set changed."""
        return hashlib.sha256("\n".join(part.name for part in self.pictures).encode()).hexdigest()


def scan_captioned(folders: Sequence[str], shards: Sequence[str]) -> CaptionedSet:
    """The captioned pictures below the folders, then those in the tar files, each sorted by name.

    Raises TrainingError for a missing or empty folder, a tar file that cannot be read, and when nothing has a caption.
    """
    pictures: list[CaptionedPicture] = []
    uncaptioned: list[str] = []
    for number, folder in enumerate(scan_folders(folders, "source.folders")):
        for path in folder.paths:
            name = f"{number}/{path.relative_to(folder.folder).as_posix()}"
            beside = (path.with_suffix(suffix) for suffix in CAPTION_SUFFIXES)
            caption = next((file for file in beside if file.is_file()), None)
            if caption is None:
                uncaptioned.append(str(path))
            else:
                pictures.append(CaptionedPicture(name, Place(path), Place(caption), caption.suffix))
    for shard in _tar_files(shards):
        found, bare = _scan_tar(shard)
        pictures += found
        uncaptioned += bare
    if not pictures:
        raise TrainingError(
            f"None of the {len(uncaptioned)} pictures has a caption: put a .txt or .json file of the same name beside "
            "each of them."
        )
    return CaptionedSet(tuple(pictures), tuple(uncaptioned))


def _tar_files(patterns: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern).expanduser()
        matches = sorted(path.parent.glob(path.name))
        if not matches:
            raise TrainingError(f"source.shards names {pattern}, which matches no file: check it.")
        found += matches
    return found


def _scan_tar(shard: Path) -> tuple[list[CaptionedPicture], list[str]]:
    """The samples of a WebDataset shard: members that share the name up to its first dot."""
    samples: dict[str, dict[str, Place]] = {}
    try:
        whole = shard.stat().st_size
        with _Headers(io.FileIO(shard)) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                if info.isfile():
                    path = PurePosixPath(info.name)
                    stem, _, suffix = path.name.partition(".")
                    # What is longer than the shard is found at its end, below; a size must be one to read by.
                    member = Place(shard, info.offset_data, min(info.size, whole))
                    samples.setdefault(str(path.parent / stem), {})[f".{suffix.lower()}"] = member
            _check_end(shard, tar.offset)
    # A header may ask tarfile to read more bytes than any machine has, which is no lack of memory here.
    except (
        tarfile.TarError, ArithmeticError, EOFError, LookupError, MemoryError, OSError, ValueError,
    ) as error:  # fmt: skip
        raise TrainingError(
            f"{shard} is no readable, uncompressed tar file ({plain(str(error))}): download it again, or unpack it."
        ) from error
    pictures, bare = [], []
    for stem, members in sorted(samples.items()):
        picture = next((suffix for suffix in members if suffix in SUFFIXES), None)
        if picture is None:
            continue
        name = f"{shard.name}/{stem}{picture}"
        caption = next((suffix for suffix in CAPTION_SUFFIXES if suffix in members), None)
        if caption is None:
            bare.append(name)
        else:
            pictures.append(CaptionedPicture(name, members[picture], members[caption], caption))
    return pictures, bare


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
