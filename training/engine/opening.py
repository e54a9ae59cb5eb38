"""The one line that says what a run is about to do."""

from __future__ import annotations

from typing import Any

from .checkpointing import MODEL
from .run import Run


def opening_line(run: Run[Any]) -> str:
    """Trainable parameters, pictures, samples per step, steps, device and processes, as a line of the log."""
    parameters = list(run.parts[MODEL].module.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    whole = sum(parameter.numel() for parameter in parameters)
    on = f" on {run.pictures:,} pictures" if run.pictures else ""
    processes, device = run.accelerator.num_processes, run.accelerator.device.type
    where = device if processes == 1 else f"{processes} processes, {device}"
    return (
        f"training {trained:,} of {whole:,} parameters{on}, {run.share.per_step} samples per step, steps "
        f"{run.state.step + 1:,} to {run.steps:,} ({where})"
    )
