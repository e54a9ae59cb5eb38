"""Curves of a run: a JSONL file, and tensorboard and Weights & Biases where they are wanted."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from davae_core.files import write_text
from davae_core.reading.json_text import parse_json

from ..errors import TrainingError

_LONGEST = 2048
"""Pixels of the longer side that a picture has at most in tensorboard and wandb; its file is whole."""


class Tracker:
    """Appends one JSON object per record to `log.jsonl`; numbers also go to tensorboard and to a wandb project.

    Pictures and the configuration, by dotted name, go to these two alone.

    A number that is not finite is null in the file.
    A resumed run first forgets what was logged after the step it resumes from, so the file reads as one run.
    """

    def __init__(
        self,
        folder: Path,
        tensorboard: bool,
        first_step: int,
        wandb: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._path = folder / "log.jsonl"
        _forget_after(self._path, first_step)
        self._writer = _summary_writer(folder, first_step) if tensorboard else None
        self._wandb = _wandb_run(folder, wandb) if wandb else None
        if config and self._writer is not None:
            lines = (f"    {name}: {value}" for name, value in config.items())
            self._writer.add_text("configuration", "\n".join(lines), first_step)
        if config and self._wandb is not None:
            # A run that goes on may have other settings, such as a greater length.
            self._wandb.config.update(dict(config), allow_val_change=True)

    def write(self, event: str, step: int, values: dict[str, Any]) -> None:
        """Log `values` of an `event` (train, validation, ...) after `step` steps."""
        record = {"event": event, "step": step, **values}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json_text(record) + "\n")
        except OSError as error:
            raise TrainingError(
                f"{self._path} could not be written ({error.strerror}): free some room and run the same command again."
            ) from error
        numbers = {
            f"{event}/{name}": value
            for name, value in values.items()
            if isinstance(value, (int, float))
        }
        if self._writer is not None:
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=step)

    def show(self, step: int, pictures: Mapping[str, Path]) -> None:
        """Show picture files, by what is in them, where there is something to show them in."""
        if self._writer is None and self._wandb is None:
            return
        for name, path in pictures.items():
            with Image.open(path) as file:
                picture = file.convert("RGB")
            picture.thumbnail((_LONGEST, _LONGEST))
            if self._writer is not None:
                tag = f"pictures/{name}"
                self._writer.add_image(tag, np.asarray(picture), step, dataformats="HWC")
            if self._wandb is not None:
                self._wandb.log({f"pictures/{name}": _wandb_picture(picture)}, step=step)

    def replace(self, event: str, step: int, values: dict[str, Any]) -> None:
        """Log what a finished run writes again each time it is started, in place of the record before."""
        if self.has(event, step):
            _keep(self._path, lambda record: (record["event"], record["step"]) != (event, step))
        self.write(event, step, values)

    def has(self, event: str, step: int) -> bool:
        """Whether an `event` after `step` steps is in the log."""
        return self._path.exists() and any(
            record["step"] == step for record in read_log(self._path.parent, event)
        )

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()
        if self._wandb is not None:
            self._wandb.finish()


def read_log(folder: Path, event: str) -> list[dict[str, Any]]:
    """The records of one kind in a run's log, in order."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(parse_json, lines) if record["event"] == event]


def json_text(value: Any, indent: int | None = None) -> str:
    """`value` as JSON, which has no NaN and no infinity: null stands for them."""
    return json.dumps(_without_infinities(value), indent=indent, allow_nan=False)


def _without_infinities(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_infinities(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_infinities(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _forget_after(path: Path, step: int) -> None:
    if path.exists():
        _keep(path, lambda record: float(record["step"]) <= step)


def _keep(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    write_text(path, "".join(line + "\n" for line in lines if _is_wanted(line, wanted)))


def _is_wanted(line: str, wanted: Callable[[dict[str, Any]], bool]) -> bool:
    try:
        return wanted(parse_json(line))
    except (ValueError, LookupError, TypeError):
        # A line cut short by a kill belongs to a step that is done again.
        return False


def _summary_writer(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            "output.tensorboard is true, but the package tensorboard is not installed: pip install tensorboard, or set "
            "it to false."
        ) from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)


def _wandb_picture(picture: Image.Image) -> Any:
    import wandb

    return wandb.Image(picture)


def _wandb_run(folder: Path, project: str) -> Any:
    """A run named after the folder; a folder's run goes on under the id it got at first."""
    try:
        import wandb
    except ImportError as error:
        raise TrainingError(
            "output.wandb is set, but the package wandb is not installed: pip install wandb, or leave it empty."
        ) from error
    remembered = folder / "wandb_id.txt"
    if not remembered.exists():
        write_text(remembered, uuid.uuid4().hex)
    return wandb.init(
        project=project,
        name=folder.name,
        dir=str(folder),
        id=remembered.read_text(encoding="utf-8"),
        resume="allow",
    )
