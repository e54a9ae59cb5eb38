"""Ways of one thing in turns: processor time on a CPU, which others may use too; the GPU's clock where there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..live_bytes import LiveBytes

Ways = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Spent:
    """Seconds in each turn, the most bytes beside what was there before, and operations (None: not counted)."""

    seconds: list[float]
    peak: int
    operations: int | None


def in_turns(ways: Ways, rounds: int, counted: bool = True) -> dict[str, Spent]:
    """Each way in each of `rounds`, one after the other in every round, after one that warms up and counts."""
    found = {name: _watched(do, counted) for name, do in ways.items()}
    for _ in range(rounds):
        for name, do in ways.items():
            found[name].seconds.append(seconds_of(do))
    return found


def seconds_of(do: Callable[[], object]) -> float:
    """Of one call."""
    return _on_gpu(do) if torch.cuda.is_available() else _on_cpu(do)


def _watched(do: Callable[[], object], counted: bool) -> Spent:
    """Nothing timed yet: a call that is slow because it is watched."""
    on_gpu = torch.cuda.is_available()
    live, flops = LiveBytes(), FlopCounterMode(display=False)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if on_gpu else 0
    with ExitStack() as watching:
        if not on_gpu:
            watching.enter_context(live)
        if counted:
            watching.enter_context(flops)
        do()
    peak = torch.cuda.max_memory_allocated() - before if on_gpu else live.peak
    return Spent([], peak, flops.get_total_flops() if counted else None)


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
