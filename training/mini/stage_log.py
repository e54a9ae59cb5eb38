"""`stages.json`: which stages of a longer job are done, what each was begun with, and the time each has taken."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from davae_core.files import write_text
from davae_core.reading.json_text import read_json
from davae_core.reading.typed import build

from ..errors import TrainingError


@dataclass
class StageRecord:
    """A stage that was begun: the seconds of all its runs together, and its settings by dotted name.

    A run that is killed outright adds no seconds.
    """

    name: str
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    finished: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


class StageLog:
    """The records in `path`, in the order in which the stages were begun. Raises TrainingError when it is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records = {record.name: record for record in _read(path)}

    def begin(self, name: str, settings: dict[str, Any]) -> StageRecord:
        """The record of a stage, a new one if need be.

        Raises TrainingError, naming the key, when the stage was begun with another setting.
        """
        record = self._records.setdefault(name, StageRecord(name, settings=settings))
        for key, value in settings.items():
            before = record.settings.get(key, value)
            if before != value:
                raise TrainingError(
                    f"{name}:{key} is {value!r}, but the stage was begun with {before!r}: put it back, or choose "
                    f"another folder than {self.path.parent}."
                )
        return record

    def reopen(self, names: Iterable[str]) -> None:
        """Count these stages as unfinished, because one that they build on is done again."""
        for name in names:
            if name in self._records:
                self._records[name].finished = False

    def charge(self, record: StageRecord, cpu: float, wall: float, finished: bool) -> None:
        """Add a run's seconds to its stage and write the file. Raises CheckpointError."""
        record.cpu_seconds = round(record.cpu_seconds + cpu, 3)
        record.wall_seconds = round(record.wall_seconds + wall, 3)
        record.finished = finished
        self.write()

    def write(self) -> None:
        """Write the file. Raises CheckpointError."""
        records = [asdict(record) for record in self._records.values()]
        write_text(self.path, json.dumps(records, indent=1) + "\n")

    def total(self) -> tuple[float, float]:
        """Processor and wall seconds of all stages."""
        records = self._records.values()
        return sum(r.cpu_seconds for r in records), sum(r.wall_seconds for r in records)


def _read(path: Path) -> list[StageRecord]:
    if not path.is_file():
        return []
    try:
        told = read_json(path)
        if not isinstance(told, list):
            raise ValueError("it is no list")
        return [build(StageRecord, values) for values in told]
    except ValueError as error:
        raise TrainingError(
            f"{path} is damaged: remove it, and the stages are gone through again; what they left is used."
        ) from error
