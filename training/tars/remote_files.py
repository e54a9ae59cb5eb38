"""Files at addresses (s3://, hf://, https://, …), through fsspec: which there are, whether they changed, and a copy."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from davae_core.disk.leftovers import beside
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
        found = {system.unstrip_protocol(one): _state_of(system.info(one)) for one in paths}
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


def bring(address: str, copy: Path, check: Callable[[Path], None], key: str) -> None:
    """Copy the file at an address, which has its name here once `check` raised nothing for it. Raises TrainingError."""
    part = beside(copy)
    try:
        with _one_sentence(address, key):
            system, path = _system_of(address)
            system.get_file(path, str(part))
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
        reason = plain(str(error).split("\n")[0].rstrip(".")) or type(error).__name__
        raise TrainingError(
            f"{address} in {key} cannot be read ({reason}): check the address, your access and the network, and run "
            "the same command again, which goes on."
        ) from error


def _kinds_of_errors() -> tuple[type[Exception], ...]:
    """What fsspec and the libraries that it uses here raise where something cannot be read."""
    own = (getattr(sys.modules.get(module), name, None) for module, name in _OWN_ERRORS)
    found = (kind for kind in own if kind is not None)
    return (ImportError, OSError, ValueError, RuntimeError, *found)
