"""Files at addresses (s3://, hf://, https://, …), through fsspec: which there are, whether they changed, and a copy."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from davae_core.disk.leftovers import beside
from davae_core.disk.locking import in_turn
from davae_core.files import reason_of
from davae_core.reading.plain_text import plain

from ..errors import TrainingError
from .patterns import MOST, in_braces

_TELLING = (
    "size", "ETag", "etag", "md5", "generation", "Last-Modified", "last_modified", "LastModified", "mtime", "created",
    "oid", "blob_id",
)  # fmt: skip
"""What file systems call that which changes with a file."""
_AT_ONCE = 16
"""Addresses that are asked for at once."""
_THIS_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What a disk of this machine says, and nothing at an address."""
_OWN_ERRORS = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
)
"""What libraries of file systems raise that is none of Python's own kinds; only of those that are in use."""


def files_at(patterns: Sequence[str], key: str) -> dict[str, str]:
    """The files that addresses stand for, and for each what another one there would not have; `key` is the setting.

    Lists in braces are known, and * as far as the file system knows it. Raises TrainingError.
    """
    listed = list(islice((one for pattern in patterns for one in in_braces(pattern)), MOST + 1))
    if len(listed) > MOST:
        raise TrainingError(f"{key} names more than {MOST} addresses: check the braces.")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = list(pool.map(partial(_files_at, key=key), listed))
    return {address: state for part in parts for address, state in part.items()}


def _files_at(address: str, key: str) -> dict[str, str]:
    with _one_sentence(address, key):
        system, path = _system_of(address)
        paths = sorted(system.glob(path)) if "*" in path else [path]
        infos = {system.unstrip_protocol(one): system.info(one) for one in paths}
    for found_at, info in infos.items():
        if info.get("type") == "directory":
            raise TrainingError(
                f"{key} names {found_at}, which is a folder at an address: name the files in it, as in "
                f"{found_at.rstrip('/')}/*.tar."
            )
    found = {found_at: _state_of(info) for found_at, info in infos.items()}
    if not found:
        raise TrainingError(f"{key} names {address}, which matches no file: check it.")
    return found


def state_at(address: str, key: str) -> str:
    """What another file at an address, which the setting `key` names, would not have. Raises TrainingError."""
    with _one_sentence(address, key):
        system, path = _system_of(address)
        return _state_of(system.info(path))


def fetch(address: str, state: str, copy: Path, key: str) -> None:
    """Copy the file at an address, which must still be what it was found to be. Raises TrainingError."""

    def check(_: Path) -> None:
        if state_at(address, key) != state:
            raise TrainingError(f"{address} changed meanwhile: run the same command again.")

    check(copy)
    bring(address, copy, check, key)


def bring_once(address: str, copy: Path, check: Callable[[Path], None], key: str) -> None:
    """`bring`, unless the copy is here; every process and thread of this machine may ask. Raises TrainingError."""
    if copy.is_file():
        return
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with in_turn(copy.with_name(f".{copy.name}.lock")):
            if not copy.is_file():
                bring(address, copy, check, key)
    except OSError as error:
        raise _no_room(address, key, error) from error


def bring(address: str, copy: Path, check: Callable[[Path], None], key: str) -> None:
    """Copy the file at an address, which has its name here once `check` raised nothing for it. Raises TrainingError."""
    part = beside(copy)
    try:
        with _one_sentence(address, key):
            system, path = _system_of(address)
            system.get_file(path, str(part))
            # A file that has its name is believed later, after a power failure too.
            with part.open("rb+") as written:
                os.fsync(written.fileno())
        check(part)
        part.replace(copy)
    finally:
        part.unlink(missing_ok=True)


def _system_of(address: str) -> tuple[Any, str]:
    import fsspec

    system, path = fsspec.core.url_to_fs(address)
    # A listing that was kept would hide that a file changed.
    system.invalidate_cache()
    return system, path


def _state_of(info: dict[str, Any]) -> str:
    told = {name: str(info[name]) for name in _TELLING if info.get(name) is not None}
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@contextmanager
def _one_sentence(address: str, key: str) -> Iterator[None]:
    """Whatever fsspec says of an address as one sentence."""
    try:
        yield
    except TrainingError:
        raise
    except _kinds_of_errors() as error:
        if isinstance(error, OSError) and error.errno in _THIS_DISK:
            raise _no_room(address, key, error) from error
        reason = plain(str(error).split("\n")[0].rstrip(".")) or type(error).__name__
        raise TrainingError(
            f"{address} in {key} cannot be read ({reason}): check the address, your access and the network, and run "
            "the same command again, which goes on."
        ) from error


def _no_room(address: str, key: str, error: OSError) -> TrainingError:
    return TrainingError(
        f"{address} in {key} cannot be copied to this machine ({reason_of(error)}): free room on its disk, or choose "
        "another folder for what is brought, and run the same command again, which goes on."
    )


def _kinds_of_errors() -> tuple[type[Exception], ...]:
    """What fsspec and the libraries that it uses here raise where something cannot be read."""
    own = (getattr(sys.modules.get(module), name, None) for module, name in _OWN_ERRORS)
    found = (kind for kind in own if kind is not None)
    return (ImportError, OSError, ValueError, RuntimeError, *found)
