"""How operations and memory grow with the picture: ``python -m benchmarks.speed.plot [-o FILE.png]``.

Counted, as ``--parts counts`` does: a whole picture in each way of drawing it, and the bytes alive at once in decode
and encode, beside the weights and in bfloat16.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from davae_core.files import write_atomically

from .arithmetic import STEPS, steps, whole_pictures
from .codec import counts
from .counts import Count
from .pictures import DETAIL_PASS, detail_steps

SIDES = (512, 768, 1024, 1536, 2048)
_LINES = {
    "stock": ("stock", "#D55E00"),
    DETAIL_PASS: (f"ours, detail pass of {detail_steps(STEPS)} steps", "#009E73"),
    "ours": ("ours, jointly", "#0072B2"),
}
"""Label and colour (of Okabe and Ito)."""
_TICKS = (100, 200, 500, 1000, 2000, 5000)


def main() -> None:
    """Count, draw, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.plot")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images/performance.png"))
    path = parser.parse_args().output
    figure = drawn(counts(SIDES))
    write_atomically(path, lambda beside: figure.savefig(beside, format="png", dpi=130))


def drawn(codec: Mapping[str, Mapping[int, Mapping[str, Count]]]) -> Figure:
    """Both panels, of what was counted of the codec at every size."""
    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(9.5, 3.8), layout="constrained")
        operations, memory = figure.subplots(1, 2)
        _operations(operations, codec["decode"])
        _memory(memory, codec)
        for axes in (operations, memory):
            _finish(axes)
    return figure


def _operations(axes: Axes, decode: Mapping[int, Mapping[str, Count]]) -> None:
    found = {side: whole_pictures(step, decode[side]) for side, step in steps(SIDES).items()}
    for who, (label, colour) in _LINES.items():
        values = [found[side][who] / 1e12 for side in SIDES]
        axes.plot(SIDES, values, marker="o", markersize=4, color=colour, label=label)
    axes.set_title(f"operations of a picture, {STEPS} steps and decode, TFLOP", fontsize=10)


def _memory(axes: Axes, codec: Mapping[str, Mapping[int, Mapping[str, Count]]]) -> None:
    for half, stroke in (("decode", "-"), ("encode", "--")):
        for who in ("stock", "ours"):
            _, colour = _LINES[who]
            values = [codec[half][side][who].peak / 1e6 for side in SIDES]
            label = f"{half}, {who}"
            axes.plot(SIDES, values, stroke, marker="o", markersize=4, color=colour, label=label)
    axes.set_title("bytes alive at once beside the weights, MB", fontsize=10)


def _finish(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(SIDES, [f"{side}" for side in SIDES])
    low, high = axes.get_ylim()
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("side of the picture, pixels")
    axes.grid(color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.legend(frameon=False)


if __name__ == "__main__":
    main()
