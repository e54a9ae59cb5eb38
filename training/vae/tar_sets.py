"""Tar files of training pictures: listed once, and those at addresses on this disk only while they are read."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from accelerate import Accelerator

from davae_core.disk.leftovers import remove_left_overs
from davae_core.files import file_hash, write_text
from davae_core.images import ImageError, size_of
from davae_core.reading.json_text import read_json
from davae_core.reading.typed import Limits, build

from ..engine.processes import as_main_finds
from ..engine.room import make_room
from ..engine.unhurried import unhurried
from ..errors import TrainingError
from ..pictures import (
    SUFFIXES,
    PictureSet,
    TarPicture,
    TarSet,
    scan_folders,
    spelled,
    warn_of_unread,
)
from ..tars.members import check_note, members_of
from ..tars.patterns import is_address, is_tars, tar_files
from ..tars.remote_files import bring_once, fetch, files_at

_LOG = logging.getLogger(__name__)
_KEY = "data.train"
_NOTES = "sources"
_Count = Annotated[int, Limits(0)]


@dataclass(frozen=True)
class _Tar:
    """A tar file by its path or address, and what another one there would not have."""

    where: str
    state: str


@dataclass(frozen=True)
class _Member:
    """A picture in a tar; its size in pixels is 0 where it cannot be read."""

    name: str
    offset: _Count
    size: _Count
    height: _Count
    width: _Count


@dataclass(frozen=True)
class _Listing:
    """What is noted of a tar: its pictures and, where it is at an address, its SHA-256."""

    where: str
    state: str
    sha256: str
    members: tuple[_Member, ...]
    version: int = 1


@dataclass(frozen=True)
class BroughtTars:
    """Where tar files at addresses belong on this disk: their addresses and hashes, which are noted in `notes`."""

    notes: Path
    origins: Mapping[Path, tuple[str, str]]

    def bring(self, file: Path) -> None:
        """See to it that a tar file is here. Raises TrainingError when it is not the one that was listed."""
        origin = self.origins.get(file)
        if origin is None:
            return
        address, sha256 = origin

        def check(copy: Path) -> None:
            if file_hash(copy) != sha256:
                raise TrainingError(
                    f"{address} in {_KEY} changed since the run listed it, or came here damaged: run the same command "
                    f"again, and where that does not help remove {self.notes}, which has it listed anew."
                )

        bring_once(address, file, check, _KEY)

    def let_go(self, kept: Collection[Path]) -> None:
        """Remove the tar files that were brought, but those to be `kept`."""
        for file in self.origins:
            if file not in kept:
                file.unlink(missing_ok=True)


NO_TARS = BroughtTars(Path(), {})
"""Where no tar file is at an address."""


def find_pictures(
    entries: Sequence[str], output: Path, room: Path, accelerator: Accelerator
) -> tuple[list[PictureSet], BroughtTars]:
    """The pictures of each entry of data.train, in folders and in tar files; all processes must call this.

    Raises TrainingError, as `scan_folders` and `find_tar_sets` do.
    """
    packed = list(dict.fromkeys(filter(is_tars, entries)))
    found, tars = find_tar_sets(packed, output, room, accelerator)
    sets = dict(zip(packed, found, strict=True))
    return [sets.get(entry) or scan_folders([entry], _KEY)[0] for entry in entries], tars


def find_tar_sets(
    entries: Sequence[str], output: Path, room: Path, accelerator: Accelerator
) -> tuple[list[TarSet], BroughtTars]:
    """The pictures of each entry, tar by tar, and where tars at addresses are brought; all processes must call this.

    The processes share the listing, and note what they find in `output`/sources for themselves and for later runs; an
    address is fetched for it. Raises TrainingError for what cannot be read, and for an entry without a picture.
    """
    found = as_main_finds(accelerator, lambda: [_tars_of(entry) for entry in entries])
    notes = output / _NOTES
    rank, processes = accelerator.process_index, accelerator.num_processes
    with unhurried():
        for tar in [tar for tars in found for tar in tars][rank::processes]:
            if _noted(notes, tar) is None:
                _list(notes, tar, room)
    origins: dict[Path, tuple[str, str]] = {}
    sets = []
    for entry, tars in zip(entries, found, strict=True):
        pictures: list[TarPicture] = []
        for tar in tars:
            listing = _noted(notes, tar)
            if listing is None:
                raise TrainingError(f"{tar.where} changed meanwhile: run the same command again.")
            file = Path(tar.where)
            if is_address(tar.where):
                file = room / f"{_short(tar.where + listing.sha256)}.tar"
                origins[file] = tar.where, listing.sha256
            pictures += [_picture(tar, file, member) for member in listing.members]
        if not pictures:
            raise TrainingError(
                f"{_KEY} names {entry}, whose tar files hold no picture ({', '.join(sorted(SUFFIXES))}): check which "
                "they are."
            )
        sets.append(TarSet(entry, tuple(pictures)))
    if origins:
        make_room(room)
        remove_left_overs(room)
    return sets, BroughtTars(notes, origins)


def _tars_of(entry: str) -> list[_Tar]:
    if is_address(entry):
        return [_Tar(where, state) for where, state in files_at([entry], _KEY).items()]
    tars = []
    for path in tar_files([entry], _KEY):
        told = path.stat()
        tars.append(_Tar(str(path.absolute()), f"{told.st_size} {told.st_mtime_ns}"))
    return tars


def _list(notes: Path, tar: _Tar, room: Path) -> None:
    _LOG.info("listing %s", tar.where)
    with _here(tar, room) as file:
        members, unread = [], []
        for path, place in members_of(file):
            if path.suffix.lower() not in SUFFIXES:
                unread.append(path)
                continue
            name = spelled(path)
            try:
                with place.open() as picture:
                    height, width = size_of(picture, name)
            except (ImageError, OSError):
                height, width = 0, 0
            members.append(_Member(name, place.offset, place.size, height, width))
        warn_of_unread(unread, f"{_KEY} names {tar.where}")
        members.sort(key=lambda member: member.name)
        sha256 = file_hash(file) if is_address(tar.where) else ""
    notes.mkdir(parents=True, exist_ok=True)
    listing = _Listing(tar.where, tar.state, sha256, tuple(members))
    told = json.dumps(asdict(listing))
    check_note(tar.where, _KEY, len(members), told)
    write_text(_note(notes, tar), told)


@contextmanager
def _here(tar: _Tar, room: Path) -> Iterator[Path]:
    """A tar file on this disk while it is listed."""
    if not is_address(tar.where):
        yield Path(tar.where)
        return
    make_room(room)
    copy = room / f"{_short(tar.where)}.listed"
    try:
        fetch(tar.where, tar.state, copy, _KEY)
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _noted(notes: Path, tar: _Tar) -> _Listing | None:
    path = _note(notes, tar)
    if not path.is_file():
        return None
    try:
        listing = build(_Listing, read_json(path))
    except ValueError:
        return None
    return listing if (listing.where, listing.state) == (tar.where, tar.state) else None


def _note(notes: Path, tar: _Tar) -> Path:
    return notes / f"{_short(tar.where)}.json"


def _picture(tar: _Tar, file: Path, member: _Member) -> TarPicture:
    return TarPicture(
        file,
        f"{spelled(tar.where)}/{member.name}",
        member.offset,
        member.size,
        member.height,
        member.width,
    )


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]
