"""A folder that only one process may write into; the system itself lets go when the process ends, however it ends."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOG = logging.getLogger(__name__)
LOCK = ".lock"
"""The file that is locked; it stays, empty of meaning, when the folder is free again."""
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_FAR_BEHIND = 2**30
"""The byte that Windows locks, beyond what is in the file: its locks keep others from reading."""


class FolderTaken(RuntimeError):
    """Another process writes into the folder; `process` is its number where it is known."""

    def __init__(self, folder: Path, process: str) -> None:
        super().__init__(f"{folder} is in use")
        self.folder, self.process = folder, process


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of `folder`, which is made if need be.

    Raises FolderTaken when one is in there already, OSError when the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _take(descriptor, folder)
        yield
    finally:
        # Closing gives the lock back.
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno in _TAKEN:
            raise FolderTaken(folder, _written_in(descriptor)) from error
        # Some network drives know no locks; that is no reason not to train there.
        _LOG.warning(
            "%s cannot be locked (%s): see to it that nothing else trains there",
            folder,
            error.strerror or error,
        )
        return
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, _FAR_BEHIND, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        # Not flock, which processes forked to read ahead would hold for a while after this one was killed.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _written_in(descriptor: int) -> str:
    text = os.read(descriptor, 20).decode("ascii", "replace")
    return text if text.isdigit() else ""
