"""JSON from files: the one place where it is parsed."""

import json
from pathlib import Path
from typing import Any

LARGEST = 64 * 2**20
"""Bytes of a JSON file that is read; a shard's index of ten thousand captions has 5 MB."""
DEEPEST = 32
"""Values within values. Nothing of ours has more than five."""


def parse_json(text: str | bytes) -> Any:
    """What a JSON text holds. Raises ValueError, with the reason, when it is damaged or nested beyond all sense."""
    try:
        found = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no valid JSON") from error
    _check_depth(found)
    return found


def read_json(path: Path) -> Any:
    """`parse_json` of a file in UTF-8. Raises ValueError, and OSError when it cannot be read."""
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(
            f"it has {size >> 20} MiB, where {LARGEST >> 20} would be more than enough"
        )
    return parse_json(path.read_bytes())


def _check_depth(value: Any) -> None:
    """Raise ValueError beyond DEEPEST: what Python just managed to parse can still be too deep to compare or write."""
    level = [value]
    for _ in range(DEEPEST):
        inner = [part for part in level if isinstance(part, (dict, list))]
        level = [
            part
            for holder in inner
            for part in (holder.values() if isinstance(holder, dict) else holder)
        ]
        if not level:
            return
    raise ValueError(f"its values are nested more than {DEEPEST} deep")
