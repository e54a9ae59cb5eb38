"""Whether another run contradicts the committed table: ``python -m benchmarks.ablation.compare OUT/results.json``.

What the tables claim is how far each arm is from its group's reference on the same seeds. These differences are
compared, in units of their common standard error; the exit code is 1 when one is farther off than LIMIT. That finds
blunders: it is too wide to call an effect repeated. Levels are shown beside them and not judged: another base model
moves all arms together.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, variance

from training.errors import TrainingError, sentence_of

from .arms import TITLES
from .groups import GROUPS
from .results import MEASURES, Results, read_results
from .tables import COLUMNS, differences, values_of

COMMITTED = Path(__file__).with_name("results.json")
LIMIT = 12.0
"""Student's t with 4 degrees of freedom, two groups of three seeds, is beyond it once in 3,600 times: with some 25
comparisons, less than once in a hundred runs."""


@dataclass(frozen=True)
class Comparison:
    """One measure of one arm minus its group's reference, in two runs; `apart` is in standard errors."""

    arm: str
    reference: str
    measure: str
    committed: float
    found: float
    apart: float


def compare(committed: Results, found: Results) -> list[Comparison]:
    """Every difference that was committed. Raises TrainingError when the new run lacks one."""
    listed = []
    for name, reference in _pairs(committed):
        for measure in MEASURES:
            ours = differences(committed, name, reference, measure)
            if len(ours) < 2:
                continue
            theirs = _found(found, name, reference, measure)
            apart = _apart(ours, theirs)
            listed.append(Comparison(name, reference, measure, mean(ours), mean(theirs), apart))
    return listed


def _pairs(results: Results) -> list[tuple[str, str]]:
    """Every arm with the reference of its group, group after group."""
    pairs = [(name, group.reference) for group in GROUPS for name in group.arms]
    return [
        (name, reference)
        for name, reference in dict.fromkeys(pairs)
        if name != reference and results.arms.get(name) and results.arms.get(reference)
    ]


def _found(found: Results, name: str, reference: str, measure: str) -> list[float]:
    measured = found.arms.get(name) and found.arms.get(reference)
    theirs = differences(found, name, reference, measure) if measured else []
    if len(theirs) < 2:
        raise TrainingError(
            f"The new run lacks two seeds of {name} or of {reference}: run python -m benchmarks.ablation to its end."
        )
    return theirs


def levels(committed: Results, found: Results) -> list[str]:
    """A line per arm and measure: the means of both runs."""
    lines = []
    for name, seeds in committed.arms.items():
        for measure in MEASURES:
            ours, theirs = values_of(seeds, measure), values_of(found.arms.get(name, []), measure)
            if ours and theirs:
                lines.append(f"  {name:24} {measure:16} {mean(ours):10.4f} {mean(theirs):10.4f}")
    return lines


def comparison_table(listed: Sequence[Comparison]) -> str:
    """Per arm and measure what was committed, what was found and, in brackets, standard errors between them.

    An arm that stands in two groups has a line for each reference.
    """
    measures = [measure for measure in MEASURES if any(line.measure == measure for line in listed)]
    lines = ["| | " + " | ".join(COLUMNS[measure][0] for measure in measures) + " |"]
    lines.append("|---" * (len(measures) + 1) + "|")
    for pair in dict.fromkeys((line.arm, line.reference) for line in listed):
        cells = {line.measure: _cell(line) for line in listed if (line.arm, line.reference) == pair}
        row = " | ".join(cells.get(measure, "") for measure in measures)
        lines.append(f"| {TITLES[pair[0]]} | {row} |")
    return "\n".join(lines) + "\n"


def _lines(committed: Results, found: Results, listed: Sequence[Comparison]) -> list[str]:
    lines = ["Means, committed and found:", *levels(committed, found), ""]
    lines.append("Minus the group's reference: committed, found, standard errors apart:")
    for line in listed:
        mark = " " if line.apart <= LIMIT else "*"
        lines.append(
            f"{mark} {line.arm:24} {line.measure:16} {line.committed:+10.4f} {line.found:+10.4f} {line.apart:6.2f}"
        )
    return lines


def _cell(line: Comparison) -> str:
    decimals = COLUMNS[line.measure][1]
    return f"{line.committed:+.{decimals}f}, {line.found:+.{decimals}f} ({line.apart:.1f})"


def _apart(ours: list[float], theirs: list[float]) -> float:
    freedom = len(ours) + len(theirs) - 2
    pooled = sum(variance(group) * (len(group) - 1) for group in (ours, theirs)) / freedom
    error = (pooled * (1 / len(ours) + 1 / len(theirs))) ** 0.5
    difference = abs(mean(ours) - mean(theirs))
    if error == 0.0:
        return 0.0 if difference == 0.0 else float("inf")
    return difference / error


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 when every difference is within the spreads, 1 otherwise or when a file cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation.compare", description=__doc__
    )
    parser.add_argument("results", type=Path, help="results.json of the new run")
    parser.add_argument("--committed", type=Path, default=COMMITTED)
    parser.add_argument(
        "--markdown", action="store_true", help="write the differences as a Markdown table"
    )
    given = parser.parse_args(arguments)
    try:
        committed, found = read_results(given.committed), read_results(given.results)
        listed = compare(committed, found)
    except (OSError, TrainingError) as error:
        sys.stderr.write(f"{sentence_of(error)}\n")
        return 1
    if given.markdown:
        sys.stdout.write(comparison_table(listed))
    else:
        sys.stdout.write("\n".join(_lines(committed, found, listed)) + "\n")
    beyond = sum(line.apart > LIMIT for line in listed)
    sys.stdout.write(
        f"{len(listed) - beyond} of {len(listed)} differences are within {LIMIT:g} standard errors.\n"
    )
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
