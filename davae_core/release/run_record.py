"""What a run's folder tells of it, without where it lay: settings, how far it came, curves, and its last pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..reading.json_text import parse_json, read_json
from ..reading.plain_text import SentenceError, plain

LOG = "log.jsonl"
CHECKPOINTS = "checkpoints"
_STATE = "state.json"
_TOLD = ("step", "samples_per_step", "wall_seconds", "skipped_steps")
"""What is told of a run's state; the rest says where its files lie."""
_DRAWN = re.compile(r"(step_\d{8})(_.+)?")
_HUB = "hf:"
"""Before the name of something on Hugging Face, which is no path."""


@dataclass(frozen=True)
class RunRecord:
    """A run by its folder's name.

    `settings`: the whole configuration by dotted name, paths as their last part; `state`: its steps, samples per step,
    seconds and steps left out; `records`: the numbers of its log, each with `event` and `step`; `pictures`: those it
    drew last.
    """

    name: str
    settings: dict[str, Any]
    state: dict[str, float]
    records: tuple[dict[str, Any], ...]
    pictures: tuple[Path, ...]


def run_of(file: Path) -> Path | None:
    """The folder of the run that left a file, its result or an adapter beside a checkpoint; None for any other."""
    file = file.resolve()
    above = file.parent
    if above.parent.name == CHECKPOINTS:
        above = above.parent.parent
    return above if (above / LOG).is_file() else None


def read_run(folder: Path) -> RunRecord:
    """What a run's folder tells. Raises SentenceError where it is none, or damaged."""
    if not (folder / LOG).is_file():
        raise SentenceError(f"{folder} has no {LOG}: name the output folder of a run with --run.")
    told = _summary(folder)
    state = {name: told["state"][name] for name in _TOLD if _is_number(told["state"].get(name))}
    return RunRecord(
        plain(folder.resolve().name),
        {name: without_place(value) for name, value in sorted(told["config"].items())},
        state,
        tuple(_records(folder / LOG)),
        tuple(_last_pictures(folder / "pictures")),
    )


def without_place(value: Any) -> Any:
    """A setting without where its files lie: of every path, be it in a list, the last part."""
    if isinstance(value, (list, tuple)):
        return [without_place(part) for part in value]
    if isinstance(value, dict):
        return {name: without_place(part) for name, part in value.items()}
    if not isinstance(value, str) or value.startswith(_HUB) or not re.search(r"[/\\]", value):
        return value
    return PurePosixPath(PureWindowsPath(value).as_posix()).name


def _summary(folder: Path) -> dict[str, Any]:
    """Configuration and state: of the result's summary, or of the newest checkpoint where there is no result yet."""
    states = sorted(folder.glob(f"{CHECKPOINTS}/step_*/{_STATE}"), reverse=True)
    for path in (*sorted(folder.glob("*.json")), *states):
        try:
            found = read_json(path)
        except ValueError as error:
            raise SentenceError(f"{path} is damaged: take it out of the run's folder.") from error
        if not isinstance(found, dict):
            continue
        state = found if path.name == _STATE else found.get("state")
        config = found.get("config")
        if isinstance(config, dict) and isinstance(state, dict):
            return {"config": config, "state": state}
    raise SentenceError(
        f"{folder} holds neither a result's summary nor a checkpoint: wait for the run's first checkpoint."
    )


def _records(path: Path) -> list[dict[str, Any]]:
    """The log's records, of each its event, its step and its finite numbers: nothing else is published."""
    found = []
    # A run that is going may have written half of its last line.
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):
            continue
        try:
            record = parse_json(line)
            kept = {"event": plain(record["event"]), "step": int(record["step"])}
        except (ValueError, LookupError, TypeError) as error:
            raise SentenceError(f"{path} is damaged: mend the line {plain(line)}.") from error
        numbers = {
            plain(name): value
            for name, value in record.items()
            if name not in kept and _is_number(value)
        }
        found.append({**kept, **numbers})
    return found


def log_text(record: RunRecord) -> str:
    """The log with its numbers alone, one JSON object a line."""
    return "".join(json.dumps(line) + "\n" for line in record.records)


def last_values(record: RunRecord, event: str) -> Mapping[str, Any]:
    """The last record of an event, {} when there is none."""
    return next((line for line in reversed(record.records) if line["event"] == event), {})


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _last_pictures(folder: Path) -> list[Path]:
    """The pictures of the newest step: files of stage 2, a folder of stage 1."""
    if not folder.is_dir():
        return []
    steps: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _DRAWN.fullmatch(path.stem if path.is_file() else path.name)
        if match is not None:
            found = sorted(path.glob("*.png")) if path.is_dir() else [path]
            steps.setdefault(match[1], []).extend(found)
    return steps[max(steps)] if steps else []
