"""Tar files at addresses (s3://, hf://, https://, …): listed once, and on this disk only while they are read.

A tar is fetched to be listed, and its members are noted in `sources/` of the cache's folder with their captions and the
hashes of their bytes; so a later run that finds the tar unchanged has no need of it. To encode its pictures it is
fetched again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from shutil import rmtree

from davae_core.files import write_text
from davae_core.reading.json_text import read_json
from davae_core.reading.typed import build

from ..errors import TrainingError
from ..tars.members import check_note
from ..tars.place import Place
from ..tars.remote_files import fetch, files_at
from .captions import LARGEST_CAPTION, CaptionedPicture
from .marks import hash_of
from .tar_samples import scan_tar

_LOG = logging.getLogger(__name__)
_KEY = "source.shards"


@dataclass(frozen=True)
class RemoteTar:
    """A tar file at an address, the name its pictures have before theirs, and what tells that it changed."""

    address: str
    label: str
    state: str


@dataclass(frozen=True)
class _Member:
    """A picture and its caption in a tar: name within it, where it lies, hashes, and the caption's bytes in base64."""

    name: str
    offset: int
    size: int
    sha256: str
    suffix: str
    caption: str
    caption_sha256: str


@dataclass(frozen=True)
class _Listing:
    """What is noted of a tar in `sources/`."""

    address: str
    state: str
    members: tuple[_Member, ...]
    bare: tuple[str, ...]
    version: int = field(default=1)
    by_class: bool = field(default=False)


def find_tars(patterns: Sequence[str], others: Iterable[str]) -> tuple[RemoteTar, ...]:
    """The files at addresses, with lists in braces and * as far as their file system knows them.

    `others`: names of tars on this disk, which a label must not repeat. Raises TrainingError.
    """
    found = files_at(patterns, _KEY)
    names = [address.rpartition("/")[2] for address in found] + list(others)
    return tuple(
        RemoteTar(address, name if names.count(name) == 1 else address, state)
        for (address, state), name in zip(found.items(), names, strict=False)
    )


@dataclass(frozen=True)
class RemoteTars:
    """The remote tars of a cache in `folder`; copies of them lie in `room`, this process's own, meanwhile.

    `by_class`: the captions of their pictures are their classes (class_names.py).
    """

    tars: tuple[RemoteTar, ...]
    folder: Path
    room: Path
    by_class: bool = False

    def note(self, part: slice) -> None:
        """Note the members of those tars of `part` that are not noted yet, or changed since."""
        for tar in self.tars[part]:
            if self._noted(tar) is None:
                _LOG.info("listing %s", tar.address)
                with self._fetched(tar) as copy:
                    self._note(tar, copy)

    def pictures(self) -> tuple[list[CaptionedPicture], list[str]]:
        """The captioned pictures of all tars, and the names of pictures without a caption; all must be noted."""
        found: list[CaptionedPicture] = []
        bare: list[str] = []
        for tar in self.tars:
            listing = self._noted(tar)
            if listing is None:
                raise TrainingError(f"{tar.address} changed meanwhile: run the same command again.")
            found += [self._picture(tar, member) for member in listing.members]
            bare += [f"{tar.label}/{name}" for name in listing.bare]
        return found, bare

    @contextmanager
    def holding(self, pictures: Iterable[CaptionedPicture]) -> Iterator[None]:
        """While it lasts, the tars that the pictures are in are on this disk; copies of others go."""
        wanted = {picture.picture.file for picture in pictures}
        for tar in self.tars:
            copy = self._copy(tar)
            if copy not in wanted:
                copy.unlink(missing_ok=True)
            elif not copy.is_file():
                self._fetch(tar, copy)
        yield

    def release(self) -> None:
        """Remove every copy, those of a job that was killed too."""
        if self.room.is_dir():
            rmtree(self.room)

    def _picture(self, tar: RemoteTar, member: _Member) -> CaptionedPicture:
        copy = self._copy(tar)
        caption = base64.b64decode(member.caption)
        return CaptionedPicture(
            f"{tar.label}/{member.name}",
            Place(copy, member.offset, member.size, member.sha256),
            Place(copy, 0, len(caption), member.caption_sha256, caption),
            member.suffix,
        )

    def _note(self, tar: RemoteTar, copy: Path) -> None:
        # The copy has another name.
        its_class = PurePosixPath(tar.address).stem if self.by_class else None
        pictures, bare = scan_tar(copy, "", its_class)
        members = []
        for picture in pictures:
            place, caption = picture.picture, picture.caption
            text = base64.b64encode(caption.read(LARGEST_CAPTION)).decode()
            hashes = hash_of(place).hex(), hash_of(caption).hex()
            members.append(
                _Member(
                    picture.name.removeprefix("/"), place.offset, place.size, hashes[0],
                    picture.caption_suffix, text, hashes[1],
                )
            )  # fmt: skip
        listing = {
            "address": tar.address,
            "state": tar.state,
            "members": [vars(member) for member in members],
            "bare": [name.removeprefix("/") for name in bare],
            "by_class": self.by_class,
        }
        told = json.dumps(listing)
        check_note(tar.address, _KEY, len(members), told)
        path = self._listing(tar)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, told)

    def _noted(self, tar: RemoteTar) -> _Listing | None:
        path = self._listing(tar)
        if not path.is_file():
            return None
        try:
            listing = build(_Listing, read_json(path))
            for member in listing.members:
                base64.b64decode(member.caption, validate=True)
                bytes.fromhex(member.sha256 + member.caption_sha256)
        except ValueError:
            return None
        told = (listing.address, listing.state, listing.by_class)
        return listing if told == (tar.address, tar.state, self.by_class) else None

    def _listing(self, tar: RemoteTar) -> Path:
        return self.folder / "sources" / f"{_short(tar.address)}.json"

    def _copy(self, tar: RemoteTar) -> Path:
        return self.room / f"{_short(tar.address + tar.state)}.tar"

    @contextmanager
    def _fetched(self, tar: RemoteTar) -> Iterator[Path]:
        copy = self._copy(tar)
        try:
            if not copy.is_file():
                self._fetch(tar, copy)
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def _fetch(self, tar: RemoteTar, copy: Path) -> None:
        self.room.mkdir(parents=True, exist_ok=True)
        fetch(tar.address, tar.state, copy, _KEY)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
