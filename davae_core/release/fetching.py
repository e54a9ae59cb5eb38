"""`davae fetch`: published files into ComfyUI's folders, each checked before it gets its name there."""

from __future__ import annotations

import errno
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..files import CheckpointError, file_hash, reason_of, write_atomically
from ..reading.plain_text import SentenceError
from .manifest import FOLDERS, PublishedFile, kind_of, read_manifest
from .sources import LocalFolder, Source, remove_staging

STAGING = ".davae_fetch"
"""The folder in ComfyUI's models, none that ComfyUI lists, where parts of downloads lie until they are whole."""


@dataclass(frozen=True)
class Placed:
    """Where a file is now; `fetched`: whether it was not there before."""

    path: Path
    fetched: bool


def fetch(source: Source, comfyui: Path, replace: bool) -> list[Placed]:
    """Put every file of the source's manifest into its folder below `comfyui`/models.

    A file that is there already with the same bytes stays; another one of its name is replaced only with `replace`.
    Stopped, the same call goes on where it was. Raises SentenceError or CheckpointError, one sentence each, and puts no
    file that is not what the manifest says, in size, hash and kind.
    """
    models = comfyui / "models"
    if not models.is_dir():
        raise SentenceError(
            f"{comfyui} is no ComfyUI: it has no folder models, so name ComfyUI's own folder with --comfyui."
        )
    staging = models / STAGING / hashlib.sha256(source.name.encode()).hexdigest()[:16]
    manifest = read_manifest(source.manifest(staging), source.name)
    places = {file: models / FOLDERS[file.kind] / file.name for file in manifest.files}
    missing = [file for file in manifest.files if not _is_there(file, places[file], replace)]
    _require_room(models, missing)
    for file in missing:
        places[file].parent.mkdir(exist_ok=True)
        _place(source, file, places[file], staging)
    remove_staging(staging)
    return [Placed(path, file in missing) for file, path in places.items()]


def _is_there(file: PublishedFile, place: Path, replace: bool) -> bool:
    """Whether the very file is there. Raises SentenceError for another one that is not to be replaced."""
    if not place.exists():
        return False
    if place.is_file() and place.stat().st_size == file.bytes and file_hash(place) == file.sha256:
        return True
    if not replace or not place.is_file():
        raise SentenceError(
            f"{place} is there already and is another file: rename it, or replace it with --replace."
        )
    return False


def _require_room(models: Path, missing: list[PublishedFile]) -> None:
    needed, free = sum(file.bytes for file in missing), shutil.disk_usage(models).free
    if needed > free:
        raise SentenceError(
            f"{models} has {free / 1e9:.1f} GB free, but {needed / 1e9:.1f} GB are to be fetched: free some room."
        )


def _place(source: Source, file: PublishedFile, place: Path, staging: Path) -> None:
    brought = source.bring(file, staging)
    own = not isinstance(source, LocalFolder)

    def fill(part: Path) -> None:
        _move(brought, part) if own else shutil.copyfile(brought, part)
        _require_right(part, file, source.name)

    write_atomically(place, fill)


def _move(brought: Path, part: Path) -> None:
    """Rename, or where the folders lie on different disks copy."""
    try:
        brought.replace(part)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copyfile(brought, part)


def _require_right(part: Path, file: PublishedFile, source: str) -> None:
    """Raise SentenceError unless a file has the size, the hash and the kind that the manifest says."""
    if part.stat().st_size != file.bytes or file_hash(part) != file.sha256:
        raise SentenceError(
            f"{file.name} from {source} is not the file that its manifest tells of (size or SHA-256 differ), so it was "
            "thrown away: run this again, and if it stays so ask whoever published it."
        )
    try:
        kind = kind_of(part)
    except CheckpointError as error:
        reason = reason_of(error).replace(str(part), "it")
        raise SentenceError(
            f"{file.name} from {source} was thrown away ({reason}): ask whoever published it."
        ) from error
    if kind != file.kind:
        raise SentenceError(
            f"{file.name} from {source} says that it is of the kind {kind}, its manifest {file.kind}, so it was thrown "
            "away: ask whoever published it."
        )
