"""How fast a run goes, how long it still takes, and the most memory of a GPU that it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Pace:
    """Times the steps of a run from where it is started or goes on.

    Speed is that of the steps alone since the last log line. The time left goes by everything since the start, looks
    and checkpoints too.
    """

    def __init__(self, first_step: int, device: torch.device) -> None:
        self._first, self._device = first_step, device
        self._started = time.monotonic()
        self._seconds, self._steps = 0.0, 0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around a step."""
        began = time.monotonic()
        yield
        self._seconds += time.monotonic() - began
        self._steps += 1

    def take(self, step: int, steps: int, samples_per_step: int) -> dict[str, float]:
        """What a log line after `step` of `steps` steps says; then the speed is measured anew.

        `samples_per_second`, `seconds_left`, and on a GPU `peak_gpu_gib`, of this process.
        """
        since = time.monotonic() - self._started
        found = {
            "samples_per_second": round(
                self._steps * samples_per_step / max(self._seconds, 1e-9), 3
            ),
            "seconds_left": round(since / max(step - self._first, 1) * (steps - step), 1),
        }
        if self._device.type == "cuda":
            found["peak_gpu_gib"] = round(torch.cuda.max_memory_allocated(self._device) / 2**30, 3)
        self._seconds, self._steps = 0.0, 0
        return found
