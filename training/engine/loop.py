"""The loop of every training: steps counted, averaged, logged, saved and looked at in between, resumed and finished."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from .checkpointing import RunState
from .interruption import Interruption
from .opening import opening_line
from .pace import Pace
from .processes import any_process
from .progress import progress_bar
from .run import Run
from .tracking import Tracker
from .updates import Parts

_LOG = logging.getLogger(__name__)


class Window:
    """Loss terms and time since the last log line."""

    def __init__(self) -> None:
        self._parts: list[Parts] = []
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def add(self, parts: Parts) -> None:
        """Take in a step's terms."""
        self._parts.append(parts)

    def take_means(self, accelerator: Accelerator) -> dict[str, float]:
        """Mean of each term over the steps that had it and over all processes, sorted by name; then forget them."""
        names = {name for parts in self._parts for name in parts}
        found = {
            name: torch.stack([parts[name] for parts in self._parts if name in parts]).mean()
            for name in sorted(names)
        }
        self._parts = []
        return {
            name: float(accelerator.reduce(value, reduction="mean"))
            for name, value in found.items()
        }

    def charge_time(self, state: RunState) -> None:
        """Add the processor and wall time since the last call to the run's."""
        cpu, wall = time.process_time(), time.monotonic()
        state.cpu_seconds += cpu - self._cpu
        state.wall_seconds += wall - self._wall
        self._cpu, self._wall = cpu, wall


def run_to(run: Run[Any], stop_at: int | None = None) -> Path | None:
    """Train to the end, or up to `stop_at` steps in all as an interruption would.

    The result, or None when the run stopped before its end with a checkpoint.
    """
    last = run.steps if stop_at is None else min(stop_at, run.steps)
    run.folder.mkdir(parents=True, exist_ok=True)
    tracker = None
    if run.accelerator.is_main_process:
        output = run.settings.output
        tracker = Tracker(
            run.folder, output.tensorboard, run.state.step, output.wandb, run.state.config
        )
        if run.state.step < last:
            _LOG.info(opening_line(run))
    with Interruption() as interruption:
        try:
            try:
                finished = _take_steps(run, last, tracker, interruption)
            finally:
                run.stop_reading()
            return run.finish(tracker) if finished else None
        finally:
            if tracker is not None:
                tracker.close()


def _take_steps(
    run: Run[Any], stop_at: int, tracker: Tracker | None, interruption: Interruption
) -> bool:
    run.begin(stop_at, tracker)
    window, state, output = Window(), run.state, run.settings.output
    pace = Pace(state.step, run.accelerator.device)
    name, main = run.settings.output.name, run.accelerator.is_main_process
    with progress_bar(stop_at, name, "step", main, done=state.step, stays=True) as bar:
        for step in range(state.step, stop_at):
            with pace.step():
                parts = run.advance(step)
            _count(run, parts, window)
            last = state.step == stop_at
            if state.step % output.log_every == 0 or last:
                bar.set_postfix(_log(run, window, pace, tracker), refresh=False)
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


def _count(run: Run[Any], parts: Parts | None, window: Window) -> None:
    run.state.step += 1
    if parts is None:
        run.state.skipped_steps += 1
        _LOG.warning("step %d left out: its gradients were not finite", run.state.step)
        return
    run.average.update()
    window.add(parts)


def _log(run: Run[Any], window: Window, pace: Pace, tracker: Tracker | None) -> dict[str, str]:
    state = run.state
    window.charge_time(state)
    values = window.take_means(run.accelerator)
    speed = pace.take(state.step, run.steps, state.samples_per_step)
    if tracker is not None:
        spent = {
            "learning_rate": run.updates.learning_rate,
            "samples": state.step * state.samples_per_step,
            "cpu_seconds": round(state.cpu_seconds, 3),
            "wall_seconds": round(state.wall_seconds, 3),
            "skipped_steps": state.skipped_steps,
        }
        tracker.write("train", state.step, {**values, **spent, **speed, **run.notes()})
    shown = {name: f"{values[name]:.4f}" for name in ("loss", run.shown_term) if name in values}
    return {**shown, "samples/s": f"{speed['samples_per_second']:.3g}"}
