"""One piece of the ablation in a process of its own: ``python -m benchmarks.ablation.job OUT KIND NAME``.

KIND is `bases` (NAME is a seed), `anchor`, or `arm` (with ``--seed``), which takes references too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .anchors import ANCHOR_TITLES, measure_anchor
from .arms import DRAWN, PICTURES, Sampling
from .bases import draw_bases
from .measure_arms import measure
from .stack import stack_of

_BY_NAME = {found.name: found for found in DRAWN}


def arguments(
    out: Path, kind: str, name: str, pictures: int, stack: Path | None, seed: int | None = None
) -> list[str]:
    """The command line of a job, after `python`."""
    said = ["-m", "benchmarks.ablation.job", str(out), kind, name, "--pictures", str(pictures)]
    if stack is not None:
        said += ["--stack", str(stack)]
    return said if seed is None else [*said, "--seed", str(seed)]


def main(given_arguments: list[str] | None = None) -> None:
    """Do one job."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation.job", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the ablation")
    parser.add_argument("kind", choices=("bases", "anchor", "arm"))
    parser.add_argument("name")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--stack", type=Path, help="folder of another miniature")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    given = parser.parse_args(given_arguments)
    stack, sampling = stack_of(given.stack), Sampling()
    if given.kind == "bases":
        draw_bases(given.out, stack, int(given.name), given.pictures, sampling)
    elif given.kind == "anchor":
        if given.name not in ANCHOR_TITLES:
            parser.error(f"{given.name} is no anchor")
        measure_anchor(given.out, stack, given.name, given.pictures)
    elif given.name not in _BY_NAME or given.seed is None:
        parser.error(f"{given.name} is no arm, or --seed is missing")
    else:
        found = _BY_NAME[given.name]
        measure(given.out, stack, found, given.seed, given.pictures, sampling)


if __name__ == "__main__":
    main()
