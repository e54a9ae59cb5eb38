"""Folders of pictures that a judgement made: kept for the next time, and known by what they were made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import write_text
from ..reading.json_text import read_json
from ..reading.plain_text import SentenceError, plain

MADE_WITH = "made_with.json"


def open_folder(folder: Path, made_with: Mapping[str, Any]) -> None:
    """Make `folder` and note in it what its pictures are made with, or see that the pictures there were made with that.

    Raises SentenceError where they were not, naming what differs, and where something else lies in the folder.
    """
    told = folder / MADE_WITH
    if not told.is_file():
        if folder.exists() and any(folder.iterdir()):
            raise SentenceError(
                f"{folder} holds something else than pictures to judge: name another folder with -o."
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_text(told, json.dumps(made_with, indent=1) + "\n")
        return
    try:
        found = read_json(told)
        changed = [name for name, value in made_with.items() if found.get(name) != value]
    except (ValueError, AttributeError) as error:
        raise SentenceError(f"{told} is damaged: remove the folder {folder}.") from error
    if changed:
        raise SentenceError(
            f"{folder} holds pictures that were made otherwise ({plain(changed[0])} differs): remove that folder, "
            "or name another one with -o."
        )
