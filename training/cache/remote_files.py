"""Files at addresses (s3://, hf://, https://, …), through fsspec: which there are, whether they changed, and a copy."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from davae_core.reading.plain_text import plain

from ..errors import TrainingError

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://")
_TELLING = (
    "size", "ETag", "etag", "md5", "generation", "Last-Modified", "last_modified", "LastModified", "mtime", "created",
    "oid", "blob_id",
)  # fmt: skip
"""What file systems call that which changes with a file."""


def is_address(pattern: str) -> bool:
    """Whether a setting means an address and no path."""
    return bool(_ADDRESS.match(pattern))


def files_at(address: str) -> dict[str, str]:
    """The files that an address, which may have a *, stands for, and for each what another one there would not have.

    Raises TrainingError.
    """
    with _one_sentence(address):
        system, path = _system_of(address)
        paths = sorted(system.glob(path)) if "*" in path else [path]
        found = {system.unstrip_protocol(one): _state_of(system.info(one)) for one in paths}
    if not found:
        raise TrainingError(f"source.shards names {address}, which matches no file: check it.")
    return found


def fetch(address: str, state: str, copy: Path) -> None:
    """Copy the file at an address, which must still be what `files_at` found it to be. Raises TrainingError."""
    part = copy.with_suffix(".part")
    with _one_sentence(address):
        system, path = _system_of(address)
        if _state_of(system.info(path)) != state:
            raise TrainingError(f"{address} changed meanwhile: run the same command again.")
        system.get_file(path, str(part))
    part.replace(copy)


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
def _one_sentence(address: str) -> Iterator[None]:
    """Whatever fsspec says of an address as one sentence."""
    try:
        yield
    except TrainingError:
        raise
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        reason = plain(str(error).split("\n")[0].rstrip(".")) or type(error).__name__
        raise TrainingError(
            f"{address} in source.shards cannot be read ({reason}): check the address, your access and the network, "
            "and run the same command again, which goes on."
        ) from error
