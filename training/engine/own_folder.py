"""One training in a folder at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from davae_core.disk.locking import FolderTaken, locked

from ..errors import TrainingError


@contextmanager
def own_folder(folder: str | Path, key: str) -> Iterator[None]:
    """Keep other trainings out of `folder`, which the setting `key` names; a run's main process does so for all of it.

    Raises TrainingError when there is one in it, OSError when the folder cannot be made.
    """
    # From the launcher itself: accelerate does not know yet which device and precision it is for.
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    path = Path(folder).expanduser()
    try:
        with locked(path):
            yield
    except FolderTaken as error:
        process = f" (process {error.process})" if error.process else ""
        raise TrainingError(
            f"Another training{process} is writing into {path}: wait for its end, or choose another {key}."
        ) from error
