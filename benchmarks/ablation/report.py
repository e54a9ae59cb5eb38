"""Table, plot and pictures of a finished ablation: ``python -m benchmarks.ablation.report OUT``.

Writes results.json and results.md beside this file, and docs/images/ablation.png and ablation_pictures.png.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from davae_core.files import CheckpointError, write_text
from training.errors import TrainingError, sentence_of

from .arms import SEEDS, SIDE, TITLES
from .measure_arms import picture_file
from .plot import write_plot
from .results import Results, read_results, write_results
from .sheet import write_rows
from .tables import differences_table, results_table

HERE = Path(__file__).parent
IMAGES = HERE.parents[1] / "docs" / "images"
SHOWN = 5


def as_markdown(results: Results) -> str:
    """The two tables under a line that says what they show."""
    protocol, sampling = results.protocol, results.protocol["sampling"]
    return (
        "# Ablation on the miniature\n\n"
        "Written by `python -m benchmarks.ablation.report OUT` after `python -m benchmarks.ablation OUT`; what it\n"
        "says is in [docs/ablation.md](../../docs/ablation.md).\n\n"
        f"Every adapter: {protocol['steps']} steps on {protocol['scenes']} scenes; {protocol['pictures']} pictures of "
        f"{SIDE} px per seed,\n{sampling['steps']} Euler steps, guidance {sampling['guidance']:g}. Mean of the seeds "
        "(lowest .. highest).\n\n"
        f"{results_table(results)}\n"
        "Each arm minus the full method on the same seed: **mean** (seed by seed).\n\n"
        f"{differences_table(results)}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 0, or 1 with one sentence on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation.report", description=__doc__
    )
    parser.add_argument("out", type=Path, help="folder that `python -m benchmarks.ablation` wrote")
    parser.add_argument("--to", type=Path, default=HERE, help="folder for the JSON and Markdown")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder for the pictures")
    given = parser.parse_args(arguments)
    try:
        results = read_results(given.out / "results.json")
        given.to.mkdir(parents=True, exist_ok=True)
        write_results(given.to / "results.json", results)
        write_text(given.to / "results.md", as_markdown(results))
        write_plot(given.images / "ablation.png", results)
        rows = {
            TITLES[name]: file
            for name in results.arms
            if (file := picture_file(given.out, name, SEEDS[0])).is_file()
        }
        write_rows(given.images / "ablation_pictures.png", rows, SHOWN)
    except (CheckpointError, TrainingError, OSError) as error:
        sys.stderr.write(f"{sentence_of(error)}\n")
        return 1
    sys.stdout.write(as_markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
