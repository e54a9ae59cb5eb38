"""Files that are being written, and what is left of them when their writer is killed.

They lie beside their place as `.NAME.WRITER-PROCESS-RANDOM.part`. A writer that was killed cannot remove its own, which
may have gigabytes: whoever writes into the folder next does.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import shutil
import socket
import time
from functools import cache
from pathlib import Path

_LOG = logging.getLogger(__name__)
_NAME = re.compile(
    r"\..+\.(?:(?P<writer>[0-9a-f]{8})-(?P<process>\d+)-)?[0-9a-f]{16}\.part|\.step_\d{8}\.part"
)
"""The name of such a file or folder; before it said the writer, files had the random part alone and folders nothing."""
_LOOKED_AT: set[Path] = set()
_LONGEST_WRITE = 24 * 3600.0
"""Seconds without a byte after which a file is left over whoever wrote it."""


def beside(path: Path) -> Path:
    """A name beside `path` that nobody else takes, for what is to be renamed to it."""
    return path.with_name(f".{path.name}.{_here()}-{os.getpid()}-{secrets.token_hex(8)}.part")


def remove_left_overs(folder: Path) -> None:
    """Remove the files and folders in `folder` that were never finished and no longer will be, and say so in the log.

    A process looks at a folder once: some have a file for each of ten thousand pictures.
    """
    if folder in _LOOKED_AT:
        return
    _LOOKED_AT.add(folder)
    try:
        for found in folder.iterdir():
            if (match := _NAME.fullmatch(found.name)) and _is_left_over(found, match):
                _remove(found)
                _LOG.warning("removed %s, which a write that was killed had left", found)
    except OSError as error:
        # Somebody else's, perhaps; it is in nobody's way.
        _LOG.warning("%s may hold left-over files (%s)", folder, error.strerror or error)


def _is_left_over(path: Path, match: re.Match[str]) -> bool:
    if match["writer"] == _here() and not _may_live(int(match["process"])):
        return True
    try:
        return time.time() - path.stat().st_mtime > _LONGEST_WRITE
    except FileNotFoundError:
        # Finished, or removed by another process, in this very moment.
        return False


@cache
def _here() -> str:
    """This machine and, in a container, its own numbering of processes: elsewhere the same number is another one."""
    try:
        numbering = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbering = ""
    return hashlib.sha256(f"{socket.gethostname()} {numbering}".encode()).hexdigest()[:8]


def _may_live(process: int) -> bool:
    # Elsewhere there is no harmless signal: Windows would end the process.
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
