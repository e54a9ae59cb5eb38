"""Ways of doing one thing against each other: processor time, taken in turns, on a machine that others use too."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def machine() -> str:
    """The machine and the versions that numbers belong to."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    wide = any("avx512f" in line for line in lines)
    kind = names[0] if names else platform.processor() or "unknown processor"
    return (
        f"{kind}, {len(names) or '?'} cores, {'with' if wide else 'without'} AVX-512, "
        f"{torch.get_num_threads()} thread; Python {platform.python_version()}, torch {torch.__version__}"
    )


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median processor seconds of each way, one after the other in every round, after a round that warms up."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, do in ways.items():
            started = time.process_time()
            do()
            spent[name].append(time.process_time() - started)
    return {name: statistics.median(seconds[1:]) for name, seconds in spent.items()}


def row(what: str, before: float, after: float) -> str:
    """A line of a table: what, both in milliseconds, and how many times faster."""
    return f"| {what} | {before * 1e3:.1f} | {after * 1e3:.1f} | {before / after:.2f}x |"
