"""A YAML of settings, some of them changed by keyword."""

from pathlib import Path
from typing import Any

import yaml


def write_settings_file(path: Path, settings: dict[str, Any], changes: dict[str, Any]) -> Path:
    """Write nested `settings` to `path`; each of `changes` is `section__key=value`."""
    for dotted, value in changes.items():
        *sections, key = dotted.split("__")
        place = settings
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path
