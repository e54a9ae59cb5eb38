"""A folder that only one process may write into; the system itself lets go when the process ends, however it ends."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOG = logging.getLogger(__name__)
LOCK = ".lock"
"""The file that is locked. It goes with the lock; one that a killed process leaves locks nothing."""
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_LOOK = 0.05
"""Seconds between two looks at a lock that is waited for."""
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
    path = folder / LOCK
    descriptor = _taken(path)
    try:
        yield
    finally:
        # Closing gives the lock back. Windows removes no open file, the others none that somebody took in between.
        if sys.platform == "win32":
            os.close(descriptor)
            with suppress(OSError):
                path.unlink()
        else:
            path.unlink(missing_ok=True)
            os.close(descriptor)


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Be the only process and thread of this machine in here with the same `path`, a file that is made and stays.

    Raises OSError when it cannot be made.
    """
    # Each thread has a descriptor of its own, which the locks below tell apart.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        while not _took_turn(descriptor):
            time.sleep(_LOOK)
        try:
            yield
        finally:
            _give_turn(descriptor)
    finally:
        os.close(descriptor)


def _took_turn(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def _give_turn(descriptor: int) -> None:
    # Said, not left to closing: a process that was forked off meanwhile has the descriptor too.
    if sys.platform == "win32":
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _taken(path: Path) -> int:
    """The descriptor of the lock's file, locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(descriptor, path.parent)
            if _is_still(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the locked file is still the folder's: whoever had it may have removed it just before letting go."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


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
