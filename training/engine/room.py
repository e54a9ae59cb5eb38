"""Where what a run brings from addresses lies on this machine, and for how long."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir

from ..errors import TrainingError

_NAME = "davae_brought_"
_TRIES, _PAUSE = 5, 0.2


def run_room(output: str, downloads: str | None) -> Path:
    """The folder on this machine of the run in `output`; the run that goes on finds there what a killed one left."""
    own = f"{socket.gethostname()} {Path(output).expanduser().absolute()}".encode()
    return _place(downloads) / f"{_NAME}{hashlib.sha256(own).hexdigest()[:16]}"


def make_room(room: Path) -> None:
    """Make the folder, for this user alone. Raises TrainingError where somebody else made it before.

    The system's folder for temporary files is everybody's, and what lies in a room is believed.
    """
    room.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid") and room.stat().st_uid != os.getuid():
        raise TrainingError(
            f"{room} belongs to another user: name a folder of your own with data.downloads."
        )


def remove_room(output: str, downloads: str | None) -> None:
    """Remove what a run brought; the first process of each machine does so for all of them."""
    room = run_room(output, downloads)
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    for _ in range(_TRIES):
        # Somebody who still brings something may add a file meanwhile.
        rmtree(room, ignore_errors=True)
        if not room.exists():
            return
        time.sleep(_PAUSE)


@contextmanager
def passing_room(downloads: str | None) -> Iterator[Path]:
    """A folder for somebody who only looks."""
    place = _place(downloads)
    with TemporaryDirectory(prefix=_NAME, dir=place, ignore_cleanup_errors=True) as name:
        yield Path(name)


def _place(downloads: str | None) -> Path:
    return Path(downloads or gettempdir()).expanduser()
