"""Ways of one thing in turns: processor time on a CPU, which others may use too; the GPU's clock where there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each of `rounds`, one after the other in every round, after one that warms up."""
    seconds = _on_gpu if torch.cuda.is_available() else _on_cpu
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, do in ways.items():
            taken = seconds(do)
            if turn:
                spent[name].append(taken)
    return spent


def _on_cpu(do: Callable[[], object]) -> float:
    started = time.process_time()
    do()
    return time.process_time() - started


def _on_gpu(do: Callable[[], object]) -> float:
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    do()
    ended.record()
    torch.cuda.synchronize()
    return float(began.elapsed_time(ended)) / 1000
