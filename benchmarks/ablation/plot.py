"""The results as one picture: what every arm ended with, seed by seed, and how its errors fell in training."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from davae_core.files import write_atomically

from .arms import ALIGNED, ARMS, FULL, RAMP_STEPS, TITLES
from .results import Results
from .tables import values_of

_PANELS = (
    ("fd", "Fréchet distance (lower is better)"),
    ("prompt_accuracy", "prompt accuracy (higher is better)"),
    ("sharpness", "sharpness (1: as real pictures)"),
)
# Okabe and Ito's colours, which colour-blind readers can tell apart.
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_REFERENCE = "#888888"


def write_plot(path: Path, results: Results) -> None:
    """Write the picture as PNG."""
    with matplotlib.rc_context(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = _figure(results)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda beside: figure.savefig(beside, format="png", dpi=130))


def _figure(results: Results) -> Figure:
    figure = Figure(figsize=(11, 6.6), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    names = [name for name, seeds in results.arms.items() if seeds]
    for number, (axes, (measure, title)) in enumerate(
        zip(upper.subplots(1, 3, sharey=True), _PANELS, strict=True)
    ):
        _dots(axes, results, names, measure)
        axes.set_title(title, fontsize=10)
        if number == 0:
            axes.set_yticks(range(len(names)), [TITLES[name] for name in names])
    for axes, part in zip(lower.subplots(1, 2), ("base", "detail"), strict=True):
        _curves(axes, results, part)
    handles, labels = axes.get_legend_handles_labels()
    lower.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _dots(axes: Axes, results: Results, names: list[str], measure: str) -> None:
    """A dot per seed and a bar at their mean; the axis is the arms', and what lies beyond it is written at its edge."""
    known = [arm.name for arm in ARMS if arm.name in names]
    shown = [value for name in known for value in values_of(results.arms[name], measure)]
    room = 0.35 * (max(shown) - min(shown))
    low, high = min(shown) - room, max(shown) + room
    axes.set_xlim(low, high)
    across = axes.get_yaxis_transform()
    for row, name in enumerate(names):
        values, colour = values_of(results.arms[name], measure), _colour(name)
        if mean(values) > high:
            axes.text(
                0.98,
                row,
                f"{mean(values):.4g} →",
                color=colour,
                ha="right",
                va="center",
                transform=across,
            )
        elif mean(values) < low:
            axes.text(
                0.02,
                row,
                f"← {mean(values):.4g}",
                color=colour,
                ha="left",
                va="center",
                transform=across,
            )
        else:
            axes.plot(values, [row] * len(values), "o", color=colour, markersize=5, alpha=0.55)
            axes.plot([mean(values)] * 2, [row - 0.28, row + 0.28], color=colour, linewidth=2)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x", color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _curves(axes: Axes, results: Results, part: str) -> None:
    for arm in ARMS:
        curves = results.curves.get(arm.name, [])
        if not curves:
            continue
        steps = curves[0].step
        errors = [mean(getattr(curve, part)[at] for curve in curves) for at in range(len(steps))]
        width = 2.2 if arm.name == FULL else 1.2
        colour = _colour(arm.name)
        # The detail of another codec has units of its own.
        style = "-" if arm.codec == ALIGNED else "--"
        axes.plot(steps, errors, style, color=colour, label=arm.title, linewidth=width)
    axes.axvline(RAMP_STEPS, color=_REFERENCE, linestyle=":", linewidth=1)
    across = axes.get_xaxis_transform()
    axes.text(
        RAMP_STEPS, 1.0, " w(n) reaches 1", color=_REFERENCE, fontsize=7, va="top", transform=across
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([20, 50, 100, 200, 600], ["20", "50", "100", "200", "600"])
    ticks = [
        tick
        for tick in (0.15, 0.2, 0.25, 0.3, 0.5, 1.0, 2.0)
        if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]
    ]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("training step")
    axes.set_ylabel("velocity error in training")
    axes.set_title(f"{part} channels", fontsize=10)
    axes.grid(color="#e5e5e5")
    axes.set_axisbelow(True)


def _colour(name: str) -> str:
    names = [arm.name for arm in ARMS]
    return _COLOURS[names.index(name)] if name in names else _REFERENCE
