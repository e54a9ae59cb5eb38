"""The loop of both stages: steps counted, averaged, logged, saved and looked at in between, resumed and finished."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator

from davae_core.files import write_text

from ..settings.run_config import OutputConfig
from .checkpointing import RunState
from .ema import WeightAverage
from .interruption import Interruption
from .running import Parts, Window, any_process, progress_bar
from .tracking import Tracker, json_text

_LOG = logging.getLogger(__name__)


class Run(Protocol):
    """What the loop asks of a training."""

    accelerator: Accelerator
    folder: Path
    state: RunState
    average: WeightAverage

    @property
    def output(self) -> OutputConfig:
        """Where and how often is written."""

    @property
    def steps(self) -> int:
        """Steps in all."""

    @property
    def learning_rate(self) -> float:
        """The rate of the last step."""

    @property
    def shown_term(self) -> str:
        """The loss term that the progress bar shows beside the loss."""

    def begin(self, stop_at: int, tracker: Tracker | None) -> None:
        """Get ready for the steps up to `stop_at`; called once."""

    def advance(self, step: int) -> Parts | None:
        """Take step `step` (0-based); its loss terms, None when it was left out."""

    def notes(self) -> dict[str, float]:
        """What else a line of the log says."""

    def save(self) -> None:
        """Write a checkpoint."""

    def look(self, tracker: Tracker | None) -> None:
        """Validate, when it is time."""

    def finish(self, tracker: Tracker | None) -> Path:
        """Write the result."""


def run_to(run: Run, stop_at: int) -> Path | None:
    """Train up to `stop_at` steps in all; the result, or None when the run stopped before its end with a checkpoint."""
    run.folder.mkdir(parents=True, exist_ok=True)
    tracker = None
    if run.accelerator.is_main_process:
        output = run.output
        tracker = Tracker(run.folder, output.tensorboard, run.state.step, output.wandb)
    with Interruption() as interruption:
        try:
            finished = _take_steps(run, stop_at, tracker, interruption)
            return run.finish(tracker) if finished else None
        finally:
            if tracker is not None:
                tracker.close()


def write_summary(
    path: Path, config: dict[str, Any], state: RunState, measured: Mapping[str, object]
) -> None:
    """Write what a result was made with, and how. Raises CheckpointError."""
    described = asdict(state)
    described.pop("config")
    write_text(path, json_text({"config": config, **measured, "state": described}, indent=1))


def _take_steps(
    run: Run, stop_at: int, tracker: Tracker | None, interruption: Interruption
) -> bool:
    run.begin(stop_at, tracker)
    window, state, output = Window(run.state), run.state, run.output
    with progress_bar(run.accelerator, output.name, state.step, stop_at) as bar:
        for step in range(state.step, stop_at):
            _count(run, run.advance(step), window)
            last = state.step == stop_at
            if state.step % output.log_every == 0 or last:
                bar.set_postfix(_log(run, window, tracker), refresh=False)
            bar.update()
            stopping = any_process(run.accelerator, interruption.requested)
            if stopping or last or state.step % output.checkpoint_every == 0:
                window.charge_time(state)
                run.save()
            # A run that is done is looked at once more, whatever was asked for.
            if stopping and state.step < run.steps:
                break
            # After the checkpoint: what goes wrong in here must not cost the step.
            run.look(tracker)
    if state.step < run.steps:
        _LOG.info("stopped after step %d; the same command goes on from there", state.step)
        return False
    return True


def _count(run: Run, parts: Parts | None, window: Window) -> None:
    run.state.step += 1
    if parts is None:
        run.state.skipped_steps += 1
        _LOG.warning("step %d left out: its gradients were not finite", run.state.step)
        return
    run.average.update()
    window.add(parts)


def _log(run: Run, window: Window, tracker: Tracker | None) -> dict[str, str]:
    state = run.state
    window.charge_time(state)
    values = window.means(run.accelerator)
    window.clear()
    if tracker is not None:
        spent = {
            "learning_rate": run.learning_rate,
            "samples": state.step * state.samples_per_step,
            "cpu_seconds": round(state.cpu_seconds, 3),
            "wall_seconds": round(state.wall_seconds, 3),
            "skipped_steps": state.skipped_steps,
        }
        tracker.write("train", state.step, {**values, **spent, **run.notes()})
    return {name: f"{values[name]:.4f}" for name in ("loss", run.shown_term) if name in values}
