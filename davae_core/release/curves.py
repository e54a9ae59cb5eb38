"""A run's curves as one picture: training terms, held-out numbers and the learning rate over optimizer steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import write_atomically
from .run_record import RunRecord

_ASIDE = (
    "samples", "second", "gib", "gradient", "skipped", "unreadable", "pictures", "rate", "weight", "updates",
)  # fmt: skip
"""Parts of names of what is logged beside errors."""
_RATE = "learning_rate"
_SMOOTHED = 0.05
"""Share of the log's records that a thick line is the running mean of."""


def draw_curves(record: RunRecord, target: Path) -> bool:
    """Write the picture as PNG; False, and nothing, where the log has no training step yet.

    Raises ImportError without matplotlib, CheckpointError when it cannot be written.
    """
    training = _curves(record, "train")
    if not training:
        return False
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "The training curves need the package matplotlib, which is not installed: run `pip install davae[train]`."
        ) from error
    held_out = _curves(record, "validation")
    rate = _curve(record, "train", _RATE)
    figure = Figure(figsize=(7.5, 7.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 1, sharex=True, height_ratios=(3.0, 2.0, 1.0))
    for axis, title in zip(axes, ("training", "held out", "learning rate"), strict=True):
        axis.set_title(title, loc="left", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    for name, (steps, values) in training.items():
        (line,) = axes[0].plot(steps, values, alpha=0.25, linewidth=0.8)
        means = running_mean(values)
        # A line of one point would not be seen.
        dot = "o" if len(steps) == 1 else None
        axes[0].plot(steps, means, marker=dot, color=line.get_color(), linewidth=1.6, label=name)
    for name, (steps, values) in held_out.items():
        axes[1].plot(steps, values, "o--", markersize=4, linewidth=1.0, label=name)
    axes[2].plot(*rate, color="#555555", linewidth=1.2)
    for axis in axes[:2]:
        axis.set_yscale("symlog", linthresh=0.1)
        if axis.lines:
            axis.legend(frameon=False, fontsize=8, loc="upper right")
    axes[2].set_xlabel("optimizer step")
    write_atomically(target, lambda part: figure.savefig(part, dpi=110, format="png"))
    return True


def running_mean(values: Sequence[float]) -> list[float]:
    """The mean over an odd number of values, a share _SMOOTHED of them, at their middle; fewer at the ends."""
    half = int(len(values) * _SMOOTHED) // 2
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def _curves(record: RunRecord, event: str) -> dict[str, tuple[list[int], list[float]]]:
    """Steps and values by the names of an event's errors."""
    lines = [line for line in record.records if line["event"] == event]
    names = dict.fromkeys(name for line in lines for name in line if name not in ("event", "step"))
    wanted = (name for name in names if not any(part in name for part in _ASIDE))
    return {name: _curve(record, event, name) for name in wanted}


def _curve(record: RunRecord, event: str, name: str) -> tuple[list[int], list[float]]:
    having: list[dict[str, Any]] = [
        line for line in record.records if line["event"] == event and name in line
    ]
    return [line["step"] for line in having], [float(line[name]) for line in having]
