"""Every file below a folder that a user put there: without hidden and system files, through links, and none twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

SYSTEM_FOLDERS = frozenset(
    {
        "__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "lost+found",
        "system volume information",
    }
)  # fmt: skip
"""Folders that macOS, NAS boxes and disks make by themselves, in lower case; some hold thumbnails of every picture."""


def is_systems_own(path: PurePath) -> bool:
    """Whether a relative path leads to a file that a user never sees: a name with a dot before it, a system folder."""
    return any(part.startswith(".") or part.lower() in SYSTEM_FOLDERS for part in path.parts)


def files_below(folder: Path) -> list[Path]:
    """Files in and below `folder`, sorted by path; links to folders are followed, each real folder is searched once.

    Raises OSError for a folder that cannot be searched.
    """
    return sorted(_search(folder)[0])


def links_below(folder: Path) -> list[Path]:
    """The links to folders that `files_below` follows; none where there is no folder. Raises OSError."""
    return _search(folder)[1] if folder.is_dir() else []


def _search(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files below a folder, and the links that lead to some of them."""
    found: list[Path] = []
    followed: list[Path] = []
    seen: set[tuple[int, int]] = set()
    # What lies below itself comes first, and keeps its own name where a link leads to it too.
    waiting = [folder]
    while waiting:
        links: list[Path] = []
        for start in waiting:
            found += _walk(start, seen, links)
        waiting = links
        followed += links
    return found, followed


def _walk(start: Path, seen: set[tuple[int, int]], links: list[Path]) -> Iterator[Path]:
    """The files below `start` in folders not `seen`; links to folders are added to `links`."""
    folders = [start]
    while folders:
        folder = folders.pop()
        told = folder.stat()
        if (told.st_dev, told.st_ino) in seen:
            continue
        seen.add((told.st_dev, told.st_ino))
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
        for entry in inside:
            if is_systems_own(PurePath(entry.name)):
                continue
            path = folder / entry.name
            if entry.is_file():
                yield path
            elif entry.is_dir():
                (links if entry.is_symlink() else folders).append(path)
