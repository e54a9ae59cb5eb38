"""Ways of one thing in turns: processor time on a CPU, which others may use too; the GPU's clock where there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch

from ..live_bytes import LiveBytes
from ..operations import Operations

Ways = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Spent:
    """Seconds of each turn, operations of one (None: not counted), and what was measured of the bytes alive at once.

    Bytes are beside what was there before; `kept` of them are there after a call too, an optimizer's averages.
    """

    operations: int | None
    kept: int
    peaks: list[int]
    seconds: list[float] = field(default_factory=list)

    @property
    def peak(self) -> int:
        """The most bytes."""
        return max(self.peaks)


def in_turns(
    ways: Ways, rounds: int, counted: bool = True, learns: bool = False
) -> dict[str, Spent]:
    """Each way in each of `rounds`, one after the other in every round, after one that warms up and counts.

    What `learns` counts its bytes in a second call: an optimizer makes what it keeps in its first.
    """
    on_gpu = torch.cuda.is_available()
    watched, turn = (_watched_on_gpu, _turn_on_gpu) if on_gpu else (_watched_on_cpu, _turn_on_cpu)
    found = {name: watched(do, counted, learns) for name, do in ways.items()}
    for _ in range(rounds):
        for name, do in ways.items():
            turn(do, found[name])
    return found


def seconds_of(do: Callable[[], object]) -> float:
    """Of one call."""
    return _seconds_on_gpu(do) if torch.cuda.is_available() else _seconds_on_cpu(do)


def _watched_on_cpu(do: Callable[[], object], counted: bool, learns: bool) -> Spent:
    """Nothing timed yet: a call is slow while it is watched."""
    live, operations = LiveBytes(), Operations()
    with live:
        with ExitStack() as counting:
            if counted:
                counting.enter_context(operations)
            do()
        if learns:
            do()
    return Spent(operations.total if counted else None, live.now, [live.peak])


def _watched_on_gpu(do: Callable[[], object], counted: bool, learns: bool) -> Spent:
    """Its bytes are measured turn by turn, all of which come after the first call."""
    before, operations = torch.cuda.memory_allocated(), Operations()
    with ExitStack() as counting:
        if counted:
            counting.enter_context(operations)
        do()
    kept = torch.cuda.memory_allocated() - before
    return Spent(operations.total if counted else None, kept, [])


def _turn_on_cpu(do: Callable[[], object], spent: Spent) -> None:
    spent.seconds.append(_seconds_on_cpu(do))


def _turn_on_gpu(do: Callable[[], object], spent: Spent) -> None:
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    spent.seconds.append(_seconds_on_gpu(do))
    spent.peaks.append(torch.cuda.max_memory_allocated() - before + spent.kept)


def _seconds_on_cpu(do: Callable[[], object]) -> float:
    started = time.process_time()
    do()
    return time.process_time() - started


def _seconds_on_gpu(do: Callable[[], object]) -> float:
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    do()
    ended.record()
    torch.cuda.synchronize()
    return float(began.elapsed_time(ended)) / 1000
