"""Tables, plots and pictures of an ablation: ``python -m benchmarks.ablation.report OUT``.

Writes results.json and results.md beside this file; to docs/images what every arm ended with, ablation.png, and of each
group of arms its errors in training, ablation_curves_GROUP.png, and its pictures, ablation_pictures_GROUP.png.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from davae_core.files import CheckpointError, write_text
from training.errors import TrainingError, sentence_of

from .arms import SIDE, TITLES
from .groups import Group
from .measure_arms import picture_file
from .plot import write_curves, write_plot
from .results import Results, read_results, write_results
from .sheet import write_rows
from .tables import anchors_table, differences_table, group_table, shown_groups

HERE = Path(__file__).parent
IMAGES = HERE.parents[1] / "docs" / "images"
SHOWN = 5


def as_markdown(results: Results) -> str:
    """What was run, a section for every group of arms, and what the pictures are measured against."""
    sections = [_group_section(results, group) for group in shown_groups(results)]
    return "\n".join([_opening(results), *sections, _anchors_section(results)])


def _opening(results: Results) -> str:
    protocol, sampling = results.protocol, results.protocol["sampling"]
    seeds = sorted({len(found) for found in results.arms.values() if found})
    return (
        "# Ablation on the miniature\n\n"
        "Written by `python -m benchmarks.ablation.report OUT` after `python -m benchmarks.ablation OUT`; what it\n"
        "says is in [docs/ablation.md](../../docs/ablation.md).\n\n"
        f"Every adapter: {protocol['steps']} steps on {protocol['scenes']} scenes; {protocol['pictures']} pictures of "
        f"{SIDE} px per seed,\n{sampling['steps']} Euler steps, guidance {sampling['guidance']:g}. Seeds per arm: "
        f"{' to '.join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))}. Mean of the seeds (lowest .. highest).\n"
    )


def _group_section(results: Results, group: Group) -> str:
    section = f"## {group.title}\n\n{group_table(results, group)}"
    if not results.arms.get(group.reference):
        return section
    return (
        f"{section}\nEach minus “{TITLES[group.reference]}” on the same seed: **mean** (seed by seed).\n\n"
        f"{differences_table(results, group)}"
    )


def _anchors_section(results: Results) -> str:
    return f"## Pictures that nothing drew\n\n{anchors_table(results)}" if results.anchors else ""


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
        _write_images(given.images, given.out, results)
    except (CheckpointError, TrainingError, OSError) as error:
        sys.stderr.write(f"{sentence_of(error)}\n")
        return 1
    sys.stdout.write(as_markdown(results))
    return 0


def _write_images(folder: Path, out: Path, results: Results) -> None:
    write_plot(folder / "ablation.png", results)
    for group in shown_groups(results):
        if any(name in results.curves for name in group.arms):
            write_curves(folder / f"ablation_curves_{group.name}.png", results, group)
        rows = {TITLES[name]: file for name in group.arms if (file := _first(out, results, name))}
        if rows:
            write_rows(folder / f"ablation_pictures_{group.name}.png", rows, SHOWN)


def _first(out: Path, results: Results, name: str) -> Path | None:
    """The pictures of an arm's first seed, where they are still there."""
    seeds = results.arms.get(name)
    file = picture_file(out, name, seeds[0].seed) if seeds else None
    return file if file is not None and file.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
