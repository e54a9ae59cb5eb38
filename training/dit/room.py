"""Where what a run brings from addresses lies on this machine, and for how long."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir

from .config import DitTrainingConfig

_NAME = "davae_caches_"


def run_room(config: DitTrainingConfig) -> Path:
    """The folder of a run on this machine; the run that goes on finds there what a killed one left."""
    own = f"{socket.gethostname()} {Path(config.output.folder).expanduser().absolute()}".encode()
    return _downloads(config) / f"{_NAME}{hashlib.sha256(own).hexdigest()[:16]}"


def remove_room(config: DitTrainingConfig) -> None:
    """Remove what a run brought; the first process of each machine does so for all of them."""
    room = run_room(config)
    if os.environ.get("LOCAL_RANK", "0") == "0" and room.is_dir():
        # A thread that still brings something may add a file meanwhile.
        rmtree(room, ignore_errors=True)


@contextmanager
def passing_room(config: DitTrainingConfig) -> Iterator[Path]:
    """A folder for somebody who only looks."""
    with TemporaryDirectory(
        prefix=_NAME, dir=_downloads(config), ignore_cleanup_errors=True
    ) as name:
        yield Path(name)


def _downloads(config: DitTrainingConfig) -> Path:
    return Path(config.data.downloads or gettempdir()).expanduser()
