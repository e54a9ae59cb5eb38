"""A cache at an address (s3://, hf://, https://, …): its index lies on this disk, of its shards those that are read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from davae_core.disk.leftovers import remove_left_overs
from davae_core.disk.locking import in_turn
from davae_core.files import file_hash, write_text

from ..engine.room import make_room
from ..errors import TrainingError
from ..tars.remote_files import bring_once, fetch, state_at
from .head import HEAD, TEXTS
from .table_file import TABLE

_STATE = "state.txt"
_SHARD = re.compile(r"shard_\d{5}\.safetensors")


@dataclass(frozen=True)
class RemoteCache:
    """A cache at `address`, which the setting `key` names, and the folder of this machine that it is brought to.

    `state`: what another version of it would not have.
    """

    address: str
    key: str
    folder: Path
    state: str


def bring_index(address: str, key: str, room: Path) -> RemoteCache:
    """Bring all of a cache but its shards into a folder of its own in `room`. Raises TrainingError.

    What a killed run left there is kept, shards too, as long as the cache at the address is the same.
    """
    address = address.rstrip("/")
    folder = room / hashlib.sha256(address.encode()).hexdigest()[:16]
    make_room(room)
    folder.mkdir(exist_ok=True)
    remove_left_overs(folder)
    with in_turn(folder / ".lock"):
        states = {name: state_at(f"{address}/{name}", key) for name in (HEAD, TEXTS, TABLE)}
        state = hashlib.sha256(json.dumps(states).encode()).hexdigest()
        told = folder / _STATE
        if not told.is_file() or told.read_text(encoding="utf-8") != state:
            told.unlink(missing_ok=True)
            let_go(folder, ())
            for name, one in states.items():
                fetch(f"{address}/{name}", one, folder / name, key)
            write_text(told, state)
    return RemoteCache(address, key, folder, state)


def bring_shard(remote: RemoteCache, hashes: Mapping[Path, str], shard: Path) -> None:
    """Bring a shard, unless it is here; every process and thread of this machine may ask. Raises TrainingError.

    `hashes`: what the index tells of the shards. One with other bytes is not taken.
    """
    address = f"{remote.address}/{shard.name}"

    def check(copy: Path) -> None:
        if file_hash(copy) != hashes[shard]:
            raise TrainingError(
                f"{address} in {remote.key} is not what {TABLE} there tells of it, so it changed since the cache was "
                "made or came here damaged: run the same command again, or `python -m training cache` for that cache."
            )

    bring_once(address, shard, check, remote.key)


def let_go(folder: Path, kept: Collection[Path]) -> None:
    """Remove the shards in `folder` but those to be `kept`; who has one open can read it till it is closed."""
    for path in folder.iterdir():
        if _SHARD.fullmatch(path.name) and path not in kept:
            path.unlink(missing_ok=True)
