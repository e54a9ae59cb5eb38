"""Whether another run gives the committed table: ``python -m benchmarks.ablation.compare OUT/results.json``.

Means are compared in units of their common standard error; the exit code is 1 when one is farther off than LIMIT.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, variance

from .results import MEASURES, Results, read_results
from .tables import values_of

COMMITTED = Path(__file__).with_name("results.json")
LIMIT = 4.6
"""Student's t with 4 degrees of freedom (two groups of three seeds) is beyond this once in a hundred."""


@dataclass(frozen=True)
class Comparison:
    """One measure of one arm in two runs; `apart` is the difference in standard errors."""

    arm: str
    measure: str
    committed: float
    found: float
    apart: float


def compare(committed: Results, found: Results) -> list[Comparison]:
    """Every measure that both runs took on at least two seeds. Raises ValueError when there is none."""
    listed = []
    for name, seeds in committed.arms.items():
        for measure in MEASURES:
            ours, theirs = (
                values_of(group, measure) for group in (seeds, found.arms.get(name, []))
            )
            if len(ours) > 1 and len(theirs) > 1:
                listed.append(
                    Comparison(name, measure, mean(ours), mean(theirs), _apart(ours, theirs))
                )
    if not listed:
        raise ValueError(
            "The two runs share no arm with two seeds or more: let the new run finish."
        )
    return listed


def _apart(ours: list[float], theirs: list[float]) -> float:
    error = (variance(ours) / len(ours) + variance(theirs) / len(theirs)) ** 0.5
    difference = abs(mean(ours) - mean(theirs))
    if error == 0.0:
        return 0.0 if difference == 0.0 else float("inf")
    return difference / error


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 when everything is within the spreads, 1 otherwise or when a file cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation.compare", description=__doc__
    )
    parser.add_argument("results", type=Path, help="results.json of the new run")
    parser.add_argument("--committed", type=Path, default=COMMITTED)
    given = parser.parse_args(arguments)
    try:
        listed = compare(read_results(given.committed), read_results(given.results))
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for line in listed:
        mark = " " if line.apart <= LIMIT else "*"
        sys.stdout.write(
            f"{mark} {line.arm:24} {line.measure:16} {line.committed:9.4f} {line.found:9.4f} {line.apart:6.2f}\n"
        )
    beyond = sum(line.apart > LIMIT for line in listed)
    sys.stdout.write(
        f"{len(listed) - beyond} of {len(listed)} means are within {LIMIT} standard errors.\n"
    )
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
