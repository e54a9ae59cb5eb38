"""Captioned pictures: folders with .txt or .json files beside the pictures, and WebDataset tar shards."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from torch import Tensor

from davae_core.images import decode_image, read_image, to_bytes

from ..errors import TrainingError
from ..pictures import SUFFIXES, scan_folders

CAPTION_SUFFIXES = (".txt", ".json")


@dataclass(frozen=True)
class Member:
    """A file inside a tar shard: where its bytes begin and how many they are."""

    offset: int
    size: int


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture and its caption, not read yet.

    `name` is unique in the set and stays the same from run to run. `file` is the picture itself with its caption file
    in `caption`, or the tar shard that has both, at `picture_at` and `caption_at`.
    """

    name: str
    file: Path
    caption: Path | None = None
    picture_at: Member | None = None
    caption_at: Member | None = None
    caption_suffix: str = ".txt"

    def read_picture(self) -> Tensor:
        """uint8 [3, H, W]. Raises ValueError or OSError when it cannot be decoded."""
        if self.picture_at is None:
            image = read_image(self.file)[0]
        else:
            packed = io.BytesIO(self._bytes(self.picture_at))
            image = decode_image(packed, f"{self.name} in {self.file}")[0]
        return to_bytes(image)

    def read_caption(self, key: str) -> str:
        """The caption, whitespace trimmed; `key` is where a .json file has it. Raises TrainingError."""
        if self.caption_at is not None:
            text = self._bytes(self.caption_at)
        else:
            assert self.caption is not None
            text = self.caption.read_bytes()
        return _caption_in(text, self.caption_suffix, key, self.name)

    def _bytes(self, member: Member) -> bytes:
        with self.file.open("rb") as file:
            file.seek(member.offset)
            return file.read(member.size)


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
            caption = _caption_beside(path)
            if caption is None:
                uncaptioned.append(str(path))
            else:
                pictures.append(
                    CaptionedPicture(name, path, caption, caption_suffix=caption.suffix)
                )
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


def _caption_beside(path: Path) -> Path | None:
    for suffix in CAPTION_SUFFIXES:
        if (found := path.with_suffix(suffix)).is_file():
            return found
    return None


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
    samples: dict[str, dict[str, Member]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for info in tar:
                if info.isfile():
                    path = PurePosixPath(info.name)
                    stem, _, suffix = path.name.partition(".")
                    member = Member(info.offset_data, info.size)
                    samples.setdefault(str(path.parent / stem), {})[f".{suffix.lower()}"] = member
            _check_end(shard, tar.offset)
    except (tarfile.TarError, OSError) as error:
        raise TrainingError(
            f"{shard} is no readable, uncompressed tar file ({error}): download it again, or unpack it."
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
            continue
        pictures.append(
            CaptionedPicture(
                name,
                shard,
                picture_at=members[picture],
                caption_at=members[caption],
                caption_suffix=caption,
            )
        )
    return pictures, bare


def _check_end(shard: Path, offset: int) -> None:
    """Raise TarError unless the empty block that ends a whole tar file is where its last member ends.

    tarfile takes a file that is cut within a header, or between two members, for a shorter one.
    """
    with shard.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it is cut short")


def _caption_in(data: bytes, suffix: str, key: str, name: str) -> str:
    try:
        text = data.decode("utf-8")
        if suffix == ".json":
            found = json.loads(text)
            text = found[key] if isinstance(found, dict) else found
        if not isinstance(text, str):
            raise TypeError
    except (UnicodeDecodeError, ValueError) as error:
        raise TrainingError(
            f"The caption of {name} is no text in UTF-8{' or no JSON' if suffix == '.json' else ''}: mend that file."
        ) from error
    except (KeyError, TypeError) as error:
        raise TrainingError(
            f"The caption file of {name} has no text under the key {key!r}: set source.caption_key."
        ) from error
    return " ".join(text.split())
