"""What every training loop needs beside its steps: processes and precision, time and terms since the last log line."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, patch_environment
from torch import Tensor
from tqdm import tqdm

from ..errors import TrainingError
from .checkpointing import RunState
from .zero import REQUEST

LONGEST_WAIT = timedelta(hours=6)
"""How long processes wait for one another: at the end one may work alone, on a result or on the last shard."""
Parts = dict[str, Tensor]
"""Terms of a loss by name, each unweighted."""
_PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


class Window:
    """Loss terms and time since the last log line."""

    def __init__(self, state: RunState) -> None:
        self._parts: list[Parts] = []
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def add(self, parts: Parts) -> None:
        """Take in a step's terms."""
        self._parts.append(parts)

    def means(self, accelerator: Accelerator) -> dict[str, float]:
        """Mean of each term over the steps that had it and over all processes, sorted by name."""
        names = {name for parts in self._parts for name in parts}
        found = {
            name: torch.stack([parts[name] for parts in self._parts if name in parts]).mean()
            for name in sorted(names)
        }
        return {
            name: float(accelerator.reduce(value, reduction="mean"))
            for name, value in found.items()
        }

    def clear(self) -> None:
        """Forget the terms."""
        self._parts = []

    def charge_time(self, state: RunState) -> None:
        """Add the processor and wall time since the last call to the run's."""
        cpu, wall = time.process_time(), time.monotonic()
        state.cpu_seconds += cpu - self._cpu
        state.wall_seconds += wall - self._wall
        self._cpu, self._wall = cpu, wall


def make_accelerator(device: str, precision: str) -> Accelerator:
    """accelerate for this process. Raises TrainingError for fp16 without a GPU."""
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if precision == "fp16" and on_cpu:
        raise TrainingError("train.precision is fp16, which needs a GPU: set it to bf16 or fp32.")
    # With DeepSpeed accelerate would hand it precision, clipping and accumulation: what zero.py does itself.
    with patch_environment(**{REQUEST: "false"}):
        return Accelerator(
            mixed_precision=_PRECISIONS[precision],
            cpu=device == "cpu",
            kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)],
        )


def any_process(accelerator: Accelerator, wish: bool) -> bool:
    """Whether any process wishes it."""
    if accelerator.num_processes == 1:
        return wish
    wishes = torch.tensor(float(wish), device=accelerator.device)
    return float(accelerator.reduce(wishes, reduction="sum")) > 0


def progress_bar(accelerator: Accelerator, name: str, first: int, last: int) -> tqdm[NoReturn]:
    """A bar over the steps with the time left, in the main process."""
    return tqdm(
        total=last,
        initial=first,
        desc=name,
        unit="step",
        dynamic_ncols=True,
        # Into a file, a line now and then is enough.
        mininterval=0.5 if sys.stderr.isatty() else 30.0,
        disable=not accelerator.is_main_process,
    )
