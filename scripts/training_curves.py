"""Draw the curves of stage-2 runs and print their held-out errors.

    python scripts/training_curves.py runs/mini/base_transformer runs/mini/adapter -o curves.png

Reads the log.jsonl of each run, also of one that is still going, and draws the runs side by side: training and held-out
error, of base and detail apart where there is detail, the detail's weight and the learning rate, over optimizer steps.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from numpy import convolve, ones

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

# Okabe and Ito's colours, which the colour-blind tell apart.
COLOURS = {"base": "#0072B2", "detail": "#D55E00", "velocity": "#000000"}
FAINT = "#555555"
HEIGHTS = (4.0, 1.0, 1.0)
TICKS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SMOOTHED = 0.05
"""Share of the log's records that a drawn line is the running mean of."""


@dataclass(frozen=True)
class Curve:
    """Values over optimizer steps."""

    steps: list[int]
    values: list[float]


@dataclass(frozen=True)
class Run:
    """A run's name and its curves by name: `train/loss`, `validation/base` and so on."""

    name: str
    curves: dict[str, Curve]

    @property
    def terms(self) -> tuple[str, ...]:
        """The errors it has: base and detail, of a detail pass the detail's, of a plain transformer the velocity's."""
        found = tuple(term for term in ("base", "detail") if f"train/{term}" in self.curves)
        return found or ("velocity",)

    def training(self, term: str) -> Curve:
        """The training error of a term; a plain transformer's velocity error is its loss."""
        return self.curves["train/loss" if term == "velocity" else f"train/{term}"]


def read_run(folder: Path) -> Run:
    """The curves in `folder`/log.jsonl. Raises ValueError, one sentence, where there are none of stage 2."""
    path = folder / "log.jsonl"
    if not path.is_file():
        raise ValueError(f"{folder} has no log.jsonl: name the output folder of a run.")
    curves: dict[str, Curve] = {}
    for record in _records(path):
        event, step = record["event"], int(record["step"])
        for name, value in record.items():
            if name not in ("event", "step") and isinstance(value, (int, float)):
                curve = curves.setdefault(f"{event}/{name}", Curve([], []))
                curve.steps.append(step)
                curve.values.append(float(value))
    if "train/loss" not in curves:
        raise ValueError(
            f"{path} has no training loss of `python -m training dit` in it: wait for its first line, or name a run "
            "of stage 2."
        )
    return Run(folder.name, curves)


def _records(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # A run that is going may have written half of its last line.
    return [json.loads(line) for line in lines if line.endswith("\n")]


def smooth(curve: Curve) -> Curve:
    """The running mean over an odd number of records, a share SMOOTHED of them, at their middle; fewer at the ends."""
    count = len(curve.values)
    half = int(count * SMOOTHED) // 2
    window = ones(2 * half + 1)
    means = convolve(curve.values, window) / convolve(ones(count), window)
    return Curve(curve.steps, [float(value) for value in means[half : half + count]])


def draw(runs: Sequence[Run], target: Path) -> None:
    """Write the picture, one column a run."""
    figure, axes = pyplot.subplots(
        len(HEIGHTS),
        len(runs),
        sharex="col",
        sharey="row",
        squeeze=False,
        figsize=(2.0 + 4.5 * len(runs), 6.6),
        height_ratios=HEIGHTS,
        layout="constrained",
    )
    for column, run in enumerate(runs):
        errors, weights, rates = axes[:, column]
        _draw_errors(errors, run)
        alone = "the detail alone" if run.terms == ("detail",) else "no detail"
        _draw_line(weights, run.curves.get("train/detail_weight"), alone)
        weights.set_ylim(-0.08, 1.08)
        _draw_line(rates, run.curves.get("train/learning_rate"), "not logged")
        rates.set_yscale("log")
        rates.set_xlabel("optimizer step")
    for axis, label in zip(
        axes[:, 0],
        (
            "mean squared velocity error\n(noise and latent have variance 1)",
            "detail's weight\nw(n)",
            "learning\nrate",
        ),
        strict=True,
    ):
        axis.set_ylabel(label)
    figure.align_ylabels(axes[:, 0])
    figure.savefig(target, dpi=110)
    pyplot.close(figure)


def _draw_errors(axis: Any, run: Run) -> None:
    axis.set_title(run.name, loc="left", fontsize=11)
    for term in run.terms:
        trained, colour = run.training(term), COLOURS[term]
        means = smooth(trained)
        axis.plot(trained.steps, trained.values, color=colour, alpha=0.25, linewidth=0.8)
        axis.plot(means.steps, means.values, color=colour, linewidth=1.6, label=f"{term}, training")
        held_out = run.curves.get(f"validation/{term}")
        if held_out is not None:
            axis.plot(
                held_out.steps,
                held_out.values,
                "o--",
                color=colour,
                markeredgecolor="white",
                markersize=7,
                linewidth=1.0,
                label=f"{term}, held out",
            )
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(FixedLocator(TICKS))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.legend(frameon=False, fontsize=9, loc="upper right")
    _open(axis)


def _draw_line(axis: Any, curve: Curve | None, otherwise: str) -> None:
    _open(axis)
    if curve is None:
        axis.text(
            0.5, 0.5, otherwise, transform=axis.transAxes, ha="center", va="center", color=FAINT
        )
        return
    axis.plot(curve.steps, curve.values, color=FAINT, linewidth=1.4)


def _open(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)


def table(run: Run) -> list[str]:
    """The held-out errors as lines of a Markdown table, the training error of the same steps (running mean) beside."""
    terms = [term for term in run.terms if f"validation/{term}" in run.curves]
    if not terms:
        return ["no held-out error yet"]
    lines = [
        "| step | " + " | ".join(f"{term}, held out | {term}, training" for term in terms) + " |",
        "|---" * (1 + 2 * len(terms)) + "|",
    ]
    for place, step in enumerate(run.curves[f"validation/{terms[0]}"].steps):
        cells = [str(step)]
        for term in terms:
            means = smooth(run.training(term))
            nearest = min(range(len(means.steps)), key=lambda i: abs(means.steps[i] - step))
            cells += [
                f"{run.curves[f'validation/{term}'].values[place]:.3f}",
                f"{means.values[nearest]:.3f}",
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def parser() -> argparse.ArgumentParser:
    """What can be typed."""
    found = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    found.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="output folders of runs")
    found.add_argument("-o", "--output", type=Path, required=True, metavar="PICTURE.png")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Draw and print; 0 done, 1 failed with one sentence on stderr."""
    options = parser().parse_args(arguments)
    try:
        runs = [read_run(folder) for folder in options.runs]
        draw(runs, options.output)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for run in runs:
        sys.stdout.write("\n".join([f"{run.name}:", "", *table(run), ""]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
