"""What all trainings are: parts that learn, a share of every batch, checkpoints, validations, a result at the end."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic

from davae_core.files import CheckpointError, write_text

from ..errors import TrainingError
from ..settings.run_config import RunSettings
from ..settings.yaml_config import flatten
from .checkpointing import MODEL, CheckpointFolder, Contents, RunState, Trained, collect
from .ema import WeightAverage
from .processes import any_process, as_main_finds, make_accelerator
from .resuming import resume_or_start
from .sharding import release
from .share import Share
from .tracking import Tracker, json_text
from .unhurried import unhurried
from .updates import Batch, Parts, Updates

_LOG = logging.getLogger(__name__)


class Run(ABC, Generic[Batch]):
    """A training as engine/loop.py takes it through its steps.

    A stage builds its model, calls `start` with it, and says what is left abstract here.
    """

    shown_term: ClassVar[str]
    """The loss term that the progress bar shows beside the loss."""

    def __init__(self, settings: RunSettings, config: Any) -> None:
        """`config`: the dataclass of the YAML file, which a checkpoint keeps; `settings`: its common sections."""
        train, output = settings.train, settings.output
        self.settings, self._flat_config = settings, flatten(config)
        self.folder = Path(output.folder).expanduser()
        self.accelerator = make_accelerator(train.device, train.precision)
        self.share = Share(
            train.batch_size,
            train.accumulate,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        self.checkpoints = CheckpointFolder(self.folder / "checkpoints", output.keep)

    def start(
        self, parts: Mapping[str, Trained], fresh: RunState, frozen_key: str, pictures_key: str
    ) -> None:
        """Take in what learns, and the newest whole checkpoint where there is one, else the `fresh` state.

        `frozen_key` and `pictures_key`: settings that name what is not trained and what is trained on, for sentences.
        """
        self.parts, self.module = parts, parts[MODEL].module
        self.average = WeightAverage(self.module, self.settings.optimizer.ema)
        fresh.samples_per_step, fresh.config = self.share.per_step, self._flat_config
        latest = as_main_finds(self.accelerator, self.checkpoints.newest_whole)
        self.state = resume_or_start(latest, fresh, self.average, parts, frozen_key, pictures_key)
        self.updates = Updates(self.accelerator, self.settings.optimizer, self.steps, parts)
        if self.accelerator.scaler is not None and self.state.scaler:
            self.accelerator.scaler.load_state_dict(self.state.scaler)
        self._batches: Iterator[Batch] = iter(())

    @abstractmethod
    def batches(self, first_step: int, stop_at: int) -> Iterator[Batch]:
        """This process's micro-batches from `first_step` (0-based) to before `stop_at`."""

    @abstractmethod
    def backward(self, step: int, batch: Batch, last: bool) -> Parts:
        """Add the gradients of a micro-batch, the step's `last` or not; its loss terms, detached."""

    @abstractmethod
    def write_result(self, target: Path, contents: Contents) -> dict[str, object]:
        """Write the result, in the main process alone; what was measured for it. Raises CheckpointError."""

    @property
    def pictures(self) -> int | None:
        """How many pictures are trained on, where that is known."""
        return None

    @property
    def looks_at_start(self) -> bool:
        """Whether what the first step begins with is validated and drawn, if there is anything to."""
        return False

    def notes(self) -> dict[str, float]:
        """What else a line of the log says."""
        return {}

    def validates_at(self, step: int) -> bool:
        """Whether held-out data is measured after `step` steps."""
        return False

    def draws_at(self, step: int) -> bool:
        """Whether pictures are drawn after `step` steps."""
        return False

    def validate(self) -> dict[str, float]:
        """Measure held-out data with the weights in place; all processes call this together."""
        return {}

    def draw(self) -> None:
        """Draw pictures with the weights in place; all processes call this together."""

    def has_drawn(self, step: int) -> bool:
        """Whether `draw` came to its end after `step` steps."""
        return True

    def drawn(self, step: int) -> dict[str, Path]:
        """The files that `draw` wrote after `step` steps, by what is shown in them."""
        prefix = f"step_{step:08d}"
        files = (
            *self.pictures_folder.glob(f"{prefix}_*.png"),
            *(self.pictures_folder / prefix).glob("*.png"),
        )
        return {path.stem.removeprefix(f"{prefix}_"): path for path in sorted(files)}

    def contents(self) -> Contents:
        """What a checkpoint and the result are made of; all processes call this together."""
        return collect(self.average, self.parts, self.accelerator.is_main_process)

    def write_beside(self, checkpoint: Path, contents: Contents) -> None:
        """Write into the folder of a new checkpoint, in the main process alone. Raises CheckpointError."""

    def lacks(self, checkpoint: Path) -> bool:
        """Whether something that `write_beside` writes is not in a checkpoint's folder."""
        return False

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.settings.train.steps

    @property
    def pictures_folder(self) -> Path:
        """Where `draw` puts what begins with `step_` and the step in eight digits."""
        return self.folder / "pictures"

    @property
    def target(self) -> Path:
        """Where the result goes."""
        return self.folder / f"{self.settings.output.name}.safetensors"

    def begin(self, stop_at: int, tracker: Tracker | None) -> None:
        """Look at the start or make up for what the run was stopped before; read for the steps up to `stop_at`."""
        step = self.state.step
        if step:
            self._complete_checkpoint()
        if (step or self.looks_at_start) and any_process(
            self.accelerator, tracker is not None and self._missed(tracker)
        ):
            self.look(tracker)
        self._batches = self.batches(step, stop_at)

    def stop_reading(self) -> None:
        """End what reads ahead for further steps, and what brings files for it."""
        if isinstance(self._batches, Generator):
            self._batches.close()
        self._batches = iter(())

    def _complete_checkpoint(self) -> None:
        """Write beside the checkpoint that the run goes on from, where the run was stopped before that."""
        latest = self.checkpoints.latest() if self.accelerator.is_main_process else None
        if any_process(self.accelerator, latest is not None and self.lacks(latest)):
            contents = self.contents()
            with unhurried(), _checkpoints_untouched():
                if latest is not None:
                    self.write_beside(latest, contents)

    def _missed(self, tracker: Tracker) -> bool:
        step = self.state.step
        drawn = self.has_drawn(step)
        measured = tracker.has("validation", step)
        return (self.validates_at(step) and not measured) or (self.draws_at(step) and not drawn)

    def advance(self, step: int) -> Parts | None:
        """Take step `step` (0-based); its loss terms, None when it was left out."""
        micro = [next(self._batches) for _ in range(self.settings.train.accumulate)]
        return self.updates.step(step, micro, self.backward)

    def look(self, tracker: Tracker | None) -> None:
        """Validate and draw, with the averaged weights, when it is time."""
        step = self.state.step
        validates, draws = self.validates_at(step), self.draws_at(step)
        if not (validates or draws):
            return
        self.module.eval()
        with unhurried(), self.average.applied():
            if validates:
                found = self.validate()
                if tracker is not None:
                    tracker.replace("validation", step, found)
            if draws:
                self.draw()
                if tracker is not None:
                    tracker.show(step, self.drawn(step))
            release(self.module)
        self.module.train()

    def save(self) -> None:
        """Write a checkpoint."""
        self.state.average_updates = self.average.updates
        if self.accelerator.scaler is not None:
            self.state.scaler = self.accelerator.scaler.state_dict()
        contents = self.contents()
        with unhurried():
            if self.accelerator.is_main_process:
                saved = self.checkpoints.save(self.state, contents)
                with _checkpoints_untouched():
                    self.write_beside(saved, contents)

    def finish(self, tracker: Tracker | None) -> Path:
        """Write the result and, beside it as JSON, what it was made with and what was measured for it."""
        contents = self.contents()
        with unhurried():
            if self.accelerator.is_main_process:
                self.module.eval()
                with _checkpoints_untouched():
                    measured = self.write_result(self.target, contents)
                    self._write_summary(measured)
                if measured and tracker is not None:
                    tracker.replace("export", self.state.step, measured)
                _LOG.info("wrote %s", self.target)
        return self.target

    def _write_summary(self, measured: Mapping[str, object]) -> None:
        state = asdict(self.state)
        config = state.pop("config")
        shown = {"measured": measured} if measured else {}
        text = json_text({"config": config, **shown, "state": state}, indent=1)
        write_text(self.target.with_suffix(".json"), text)


@contextmanager
def _checkpoints_untouched() -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        raise TrainingError(
            f"{error} The checkpoints are untouched; run the same command again."
        ) from error
