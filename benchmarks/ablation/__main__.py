"""Train and measure every arm: ``python -m benchmarks.ablation OUT``.

Codecs, caches and adapters are trained into OUT, 2,000 pictures are drawn with each arm, and OUT/results.json is
written, anew after each. Whatever is finished in OUT is kept: run the same command again after a stop.
``python -m training.mini.pictures pictures`` must have written the pictures that codecs are made on.

``--arms`` and ``--seeds`` choose a part, by the names of arms and groups (``--list`` shows them); another part goes on
in the same OUT. ``--steps`` and ``--pictures`` make a smaller ablation, which wants a folder of its own.
``--stack`` starts from another miniature than the bundled one, such as the folder ``miniature`` that
``python -m training mini`` leaves, beside its ``pictures``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from davae_core.files import CheckpointError
from training.errors import TrainingError, sentence_of

from .arms import ARMS, PICTURES, REFERENCES, SEEDS, STEPS, TITLES
from .groups import GROUPS
from .plan import Plan
from .running import Ablation
from .training_runs import TrainingFailed


def plan_of(
    names: Sequence[str] | None,
    seeds: Sequence[int] = SEEDS,
    steps: int = STEPS,
    pictures: int = PICTURES,
) -> Plan:
    """The plan of some arms and groups, None for all. Raises TrainingError for a name that is neither."""
    groups = {group.name: group.arms for group in GROUPS}
    chosen = set(TITLES) if names is None else set()
    for name in names or ():
        if name not in groups and name not in TITLES:
            raise TrainingError(f"There is no arm or group {name}: --list shows them all.")
        chosen.update(groups.get(name, (name,)))
    return Plan(
        arms=tuple(arm for arm in ARMS if arm.name in chosen),
        references=tuple(found for found in REFERENCES if found.name in chosen),
        seeds=tuple(seeds),
        steps=steps,
        pictures=pictures,
    )


def listing() -> str:
    """Every group with its arms."""
    lines = []
    for group in GROUPS:
        lines.append(f"{group.name}: {group.title}")
        lines += [f"  {name:26} {TITLES[name]}" for name in group.arms]
    return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    found.add_argument("out", type=Path, nargs="?", help="folder for the runs and the results")
    found.add_argument("--list", action="store_true", help="show the names of arms and groups")
    found.add_argument("--arms", nargs="+", metavar="NAME", help="arms or groups (default: all)")
    found.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="which seeds")
    found.add_argument("--steps", type=int, default=STEPS, help="of every adapter")
    found.add_argument("--pictures", type=int, default=PICTURES, help="drawn per arm and seed")
    found.add_argument("--stack", type=Path, help="folder of another miniature's files")
    found.add_argument(
        "--codec-pictures",
        type=Path,
        default=Path("pictures"),
        help="what codecs are made on (default: pictures)",
    )
    found.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="processes at a time (default: cores)"
    )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 0, or 1 with one sentence on stderr."""
    command = parser()
    given = command.parse_args(arguments)
    if given.list:
        sys.stdout.write(listing())
        return 0
    if given.out is None:
        command.error("name the folder OUT")
    if min(given.jobs, given.steps, given.pictures - 1, *(seed + 1 for seed in given.seeds)) < 1:
        command.error("--jobs and --steps are 1 or more, --pictures 2 or more, --seeds not below 0")
    try:
        plan = plan_of(given.arms, given.seeds, given.steps, given.pictures)
        written = Ablation(given.out, plan, given.codec_pictures, given.stack).run(given.jobs)
    except (TrainingFailed, TrainingError, CheckpointError, OSError) as error:
        sys.stderr.write(f"{sentence_of(error)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped: the same command goes on from what is finished.\n")
        return 1
    sys.stdout.write(f"{written}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
