"""Captioned pictures in a WebDataset shard, an uncompressed tar file that is read in place."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from davae_core.reading.plain_text import plain

from ..errors import TrainingError
from ..folder_walk import is_systems_own
from ..pictures import SUFFIXES, UNREAD_SUFFIXES, spelled, warn_of_unread
from .captions import CAPTION_SUFFIXES, CaptionedPicture, Place
from .class_names import CLASS_SUFFIX, class_of_member

LARGEST_HEADER = 2**20
"""Bytes of what a tar file says of one member; a long name has a few hundred."""
_KNOWN = {*SUFFIXES, *UNREAD_SUFFIXES, *CAPTION_SUFFIXES, CLASS_SUFFIX}
Members = dict[str, Place]
"""The files of one sample by suffix, in lower case."""


def scan_tar(
    shard: Path, label: str, its_class: str | None = None
) -> tuple[list[CaptionedPicture], list[str]]:
    """The samples of a shard whose pictures are called `label`/…, and the names of pictures without a caption.

    `its_class`: the class of pictures of which nothing else says one; then all captions are classes (class_names.py).
    A sample's members share the name up to its first dot. A picture whose name goes on after a dot (`v1.5_a.png`) is
    one too, if the sample of its first part has no picture, or a caption beside it has the same name up to its last.
    Raises TrainingError for a file that is no tar file, or not a whole one.
    """
    samples, dotted = _samples(shard)
    pictures, bare = [], []
    unread: list[PurePosixPath] = []
    for stem, members in sorted({**dotted, **samples}.items()):
        picture = next((suffix for suffix in members if suffix in SUFFIXES), None)
        if picture is None:
            unread += [
                PurePosixPath(stem + suffix) for suffix in members if suffix in UNREAD_SUFFIXES
            ]
            continue
        name = f"{label}/{stem}{picture}"
        if its_class is not None:
            said = members.get(CLASS_SUFFIX)
            told = class_of_member(said, PurePosixPath(stem), shard, its_class)
            pictures.append(CaptionedPicture(name, members[picture], *told))
            continue
        caption = next((suffix for suffix in CAPTION_SUFFIXES if suffix in members), None)
        if caption is None:
            bare.append(name)
        else:
            pictures.append(CaptionedPicture(name, members[picture], members[caption], caption))
    warn_of_unread(unread, f"source.shards names {shard}")
    return pictures, bare


def _samples(shard: Path) -> tuple[dict[str, Members], dict[str, Members]]:
    """The samples by WebDataset's rule, and those more whose pictures have dots within their names."""
    samples: dict[str, Members] = {}
    dotted: dict[str, Members] = {}
    for path, place in _members(shard):
        stem, _, suffix = path.name.partition(".")
        first = spelled(path.parent / stem)
        samples.setdefault(first, {})[f".{suffix.lower()}"] = place
        last = path.suffix.lower()
        if f".{suffix.lower()}" not in _KNOWN and last in _KNOWN:
            dotted.setdefault(spelled(path.with_suffix("")), {})[last] = place
    return samples, {
        stem: members
        for stem, members in dotted.items()
        if SUFFIXES & members.keys()
        and (set(CAPTION_SUFFIXES) & members.keys() or not _has_picture(samples, stem))
    }


def _has_picture(samples: dict[str, Members], stem: str) -> bool:
    """Whether the sample that a dotted name belongs to by WebDataset's rule, as a mask does, has a picture."""
    path = PurePosixPath(stem)
    return bool(SUFFIXES & samples[str(path.parent / path.name.partition(".")[0])].keys())


def _members(shard: Path) -> Iterator[tuple[PurePosixPath, Place]]:
    """The files that a user put into a tar file."""
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
