"""The tar files that a setting names: paths, with * and ** in any part of them and lists in braces."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from os.path import commonpath
from pathlib import Path

from davae_core.reading.plain_text import shown

from ..errors import TrainingError
from ..pictures import spelled

MOST = 100_000
"""Files that one pattern may name."""
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://")
_BRACES = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}|\{([^{}]*,[^{}]*)\}")


def is_address(pattern: str) -> bool:
    """Whether a setting means an address (s3://, hf://, https://, …) and no path."""
    return bool(_ADDRESS.match(pattern))


def is_tars(entry: str) -> bool:
    """Whether a setting that may name folders means tar files: by an address, or a pattern that ends with .tar."""
    return is_address(entry) or entry.lower().endswith(".tar")


def tar_files(patterns: Sequence[str], key: str) -> dict[Path, str]:
    """The files of each pattern in order, sorted within it, and the name by which each is known.

    `key` is the setting.

    That is the file's own or, where another has the same, its path from the folder that all files share. Raises
    TrainingError for a pattern, or one in a list of braces, that matches no file.
    """
    found = list(dict.fromkeys(path for pattern in patterns for path in _matches(pattern, key)))
    count = Counter(path.name for path in found)
    shared = commonpath([path.absolute().parent for path in found]) if found else ""

    def label(path: Path) -> str:
        own = count[path.name] == 1
        return spelled(path.name if own else path.absolute().relative_to(shared).as_posix())

    return {path: label(path) for path in found}


def _matches(pattern: str, key: str) -> list[Path]:
    whole = Path(pattern).expanduser()
    if whole.is_file():
        # A file may have brackets or braces in its own name.
        return [whole]
    listed = list(islice(in_braces(pattern), MOST + 1))
    if len(listed) > MOST:
        raise TrainingError(
            f"{key} names more than {MOST} files in {shown(pattern)}: check its braces."
        )
    return [path for one in listed for path in _globbed(one, pattern, key)]


def _globbed(one: str, pattern: str, key: str) -> list[Path]:
    names = sorted(glob.glob(str(Path(one).expanduser()), recursive=True))
    files = [path for path in map(Path, names) if path.is_file()]
    if not files:
        listed = "" if one == pattern else f" (from {pattern})"
        raise TrainingError(f"{key} names {one}{listed}, which matches no file: check it.")
    return files


def in_braces(pattern: str) -> Iterator[str]:
    """What a shell makes of {000..012} and {a,b}: each in turn, with leading zeros where they are written."""
    found = _BRACES.search(pattern)
    if found is None:
        yield pattern
        return
    first, last, listed = found.groups()
    for part in _numbers(first, last) if listed is None else listed.split(","):
        yield from in_braces(pattern[: found.start()] + part + pattern[found.end() :])


def _numbers(first: str, last: str) -> Iterator[str]:
    padded = first != str(int(first)) or last != str(int(last))
    width = max(len(first), len(last)) if padded else 0
    return (str(number).zfill(width) for number in range(int(first), int(last) + 1))
