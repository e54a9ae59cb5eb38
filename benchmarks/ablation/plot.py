"""The results as pictures: what every arm ended with, seed by seed, and how a group's errors fell in training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import mean

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from davae_core.files import write_atomically

from .arms import ALIGNED, ARMS, FULL, TITLES
from .groups import GROUPS, Group
from .results import Curve, Results
from .tables import values_of

_PANELS = {
    "score": "score (0: as real pictures)",
    "speckle": "speckle (lower is better)",
    "prompt_accuracy": "prompt accuracy (higher is better)",
    "fd": "Fréchet distance (fooled by grain)",
    "sharpness": "sharpness (1: as real pictures)",
}
"""By measure, those of them that were taken."""
# Okabe and Ito's colours, which colour-blind readers can tell apart; the first is the reference's.
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_LINE = "#888888"


def write_plot(path: Path, results: Results) -> None:
    """Write what every arm ended with as PNG."""
    _write(path, lambda: _ends(results))


def write_curves(path: Path, results: Results, group: Group) -> None:
    """Write how the errors of a group's adapters fell in training as PNG."""
    _write(path, lambda: _falls(results, group))


def _write(path: Path, draw: Callable[[], Figure]) -> None:
    with matplotlib.rc_context(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = draw()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda beside: figure.savefig(beside, format="png", dpi=130))


def _ends(results: Results) -> Figure:
    names = [name for name in TITLES if results.arms.get(name)]
    found = [seed for name in names for seed in results.arms[name]]
    panels = [measure for measure in _PANELS if values_of(found, measure)]
    figure = Figure(figsize=(3.2 * len(panels) + 3, 0.3 * len(names) + 1), layout="constrained")
    for number, (axes, measure) in enumerate(
        zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True)
    ):
        _dots(axes, results, names, measure)
        axes.set_title(_PANELS[measure], fontsize=10)
        if number == 0:
            axes.set_yticks(range(len(names)), [TITLES[name] for name in names])
    return figure


def _dots(axes: Axes, results: Results, names: list[str], measure: str) -> None:
    """A dot per seed and a bar at their mean; the axis is the arms', and what lies beyond it is written at its edge."""
    known = [arm.name for arm in ARMS if arm.name in names]
    shown = [value for name in known for value in values_of(results.arms[name], measure)]
    room = 0.35 * (max(shown) - min(shown)) or 1.0
    low, high = min(shown) - room, max(shown) + room
    axes.set_xlim(low, high)
    for row, name in enumerate(names):
        values, colour = values_of(results.arms[name], measure), _colour(name)
        if not values:
            continue
        if mean(values) > high:
            _beyond(axes, row, f"{mean(values):.4g} →", colour, "right")
        elif mean(values) < low:
            _beyond(axes, row, f"← {mean(values):.4g}", colour, "left")
        else:
            axes.plot(values, [row] * len(values), "o", color=colour, markersize=5, alpha=0.55)
            axes.plot([mean(values)] * 2, [row - 0.28, row + 0.28], color=colour, linewidth=2)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x", color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _beyond(axes: Axes, row: int, text: str, colour: str, side: str) -> None:
    place = 0.98 if side == "right" else 0.02
    across = axes.get_yaxis_transform()
    axes.text(place, row, text, color=colour, ha=side, va="center", transform=across)


def _falls(results: Results, group: Group) -> Figure:
    curves = {name: results.curves[name] for name in group.arms if results.curves.get(name)}
    parts = ["base"] if any(one.base for seeds in curves.values() for one in seeds) else []
    parts.append("detail")
    figure = Figure(figsize=(5.5 * len(parts), 3.8), layout="constrained")
    for axes, part in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        for name, seeds in curves.items():
            _curve(axes, group, name, seeds, part)
        _finish(axes, part, results.protocol["steps"], ramp="base" in parts)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(parts) + 1, frameon=False)
    return figure


def _curve(axes: Axes, group: Group, name: str, seeds: list[Curve], part: str) -> None:
    """The mean of an arm's seeds; the detail of another codec, dashed, has units of its own."""
    steps = seeds[0].step
    if not getattr(seeds[0], part):
        return
    errors = [mean(getattr(seed, part)[at] for seed in seeds) for at in range(len(steps))]
    number = group.arms.index(name)
    codec = {arm.name: arm.adapter.codec for arm in ARMS}[name]
    axes.plot(
        steps,
        errors,
        "-" if codec == ALIGNED else "--",
        color=_COLOURS[number % len(_COLOURS)],
        label=TITLES[name],
        linewidth=1.2 if number else 2.2,
    )


def _finish(axes: Axes, part: str, steps: int, ramp: bool) -> None:
    if ramp:
        axes.axvline(steps // 4, color=_LINE, linestyle=":", linewidth=1)
        across = axes.get_xaxis_transform()
        said = " w(n) reaches 1"
        axes.text(steps // 4, 1.0, said, color=_LINE, fontsize=7, va="top", transform=across)
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_xlim()
    marks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 600) if low <= tick <= high]
    axes.set_xticks(marks, [f"{tick}" for tick in marks])
    low, high = axes.get_ylim()
    ticks = [tick for tick in (0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1.0, 2.0) if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("training step")
    axes.set_ylabel("velocity error in training")
    axes.set_title(f"{part} channels", fontsize=10)
    axes.grid(color="#e5e5e5")
    axes.set_axisbelow(True)


def _colour(name: str) -> str:
    """Of the first group that an arm stands in: one colour a group, grey for the base model."""
    if name not in {arm.name for arm in ARMS}:
        return _LINE
    if name == FULL:
        return _COLOURS[0]
    groups = [number for number, group in enumerate(GROUPS) if number and name in group.arms]
    return _COLOURS[groups[0] % len(_COLOURS)]
