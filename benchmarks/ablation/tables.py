"""The results as Markdown tables, a group of arms in each, and what sets each arm apart from its group's reference."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from .anchors import ANCHOR_TITLES
from .arms import ARMS, TITLES
from .groups import GROUPS, Group
from .measuring import Measures
from .results import MEASURES, Result, Results

COLUMNS = {
    "fd": ("Fréchet distance", 2),
    "prompt_accuracy": ("prompt accuracy", 3),
    "sharpness": ("sharpness", 4),
    "speckle": ("speckle", 2),
    "edges": ("edges", 3),
    "grain": ("grain", 2),
    "score": ("score", 2),
    "codec_score": ("score beside the codec", 2),
    "base_error": ("base error", 4),
    "detail_error": ("detail error", 4),
}
"""Heading and decimals of every measure."""


def shown_groups(results: Results) -> list[Group]:
    """Those of which more than the reference was measured."""
    return [
        group
        for group in GROUPS
        if any(results.arms.get(name) for name in group.arms if name != group.reference)
    ]


def group_table(results: Results, group: Group) -> str:
    """Every arm of a group with the mean of its seeds and, in brackets, the lowest and the highest."""
    columns = _columns(results)
    lines = _head(columns)
    for name in group.arms:
        if seeds := results.arms.get(name):
            cells = [_spread(values_of(seeds, measure), measure) for measure in columns]
            lines.append(_row(TITLES[name], cells))
    return "\n".join(lines) + "\n"


def anchors_table(results: Results) -> str:
    """The sets of pictures that nothing drew."""
    columns = _columns(results)
    lines = _head(columns)
    for name, found in results.anchors.items():
        cells = [_value(found, measure) for measure in columns]
        lines.append(_row(f"*{ANCHOR_TITLES[name]}*", cells))
    return "\n".join(lines) + "\n"


def differences_table(results: Results, group: Group) -> str:
    """Every arm of a group minus its reference, seed by seed: the mean, and in brackets each seed's difference."""
    columns = _columns(results)
    lines = _head(columns)
    for name in group.arms:
        if name != group.reference and results.arms.get(name) and results.arms.get(group.reference):
            cells = [_difference(results, name, group.reference, measure) for measure in columns]
            lines.append(_row(TITLES[name], cells))
    return "\n".join(lines) + "\n"


def values_of(seeds: Sequence[Result], measure: str) -> list[float]:
    """One measure of all seeds; empty where it was not taken."""
    return [value for seed in seeds if (value := getattr(seed, measure)) is not None]


def differences(results: Results, name: str, reference: str, measure: str) -> list[float]:
    """An arm minus another on the same seeds; empty where the measure was not taken of both or is in other units."""
    if not compares(name, reference, measure):
        return []
    beside = {seed.seed: getattr(seed, measure) for seed in results.arms[reference]}
    return [
        value - beside[seed.seed]
        for seed in results.arms[name]
        if (value := getattr(seed, measure)) is not None and beside.get(seed.seed) is not None
    ]


def compares(name: str, reference: str, measure: str) -> bool:
    """Whether an arm's measure means something beside another's.

    Another codec has another detail: its error is in units of its own.
    """
    codecs = {arm.name: arm.adapter.codec for arm in ARMS}
    return measure != "detail_error" or codecs.get(name) == codecs.get(reference)


def _columns(results: Results) -> list[str]:
    """The measures that were taken of anything."""
    taken = [seed for seeds in results.arms.values() for seed in seeds]
    return [measure for measure in MEASURES if values_of(taken, measure)]


def _head(columns: Sequence[str]) -> list[str]:
    headings = " | ".join(COLUMNS[measure][0] for measure in columns)
    return [f"| | {headings} |", "|---" * (len(columns) + 1) + "|"]


def _row(title: str, cells: Sequence[str]) -> str:
    return f"| {title} | " + " | ".join(cells) + " |"


def _value(found: Measures, measure: str) -> str:
    value = getattr(found, measure, None)
    return "" if value is None else f"{value:.{COLUMNS[measure][1]}f}"


def _spread(values: Sequence[float], measure: str) -> str:
    if not values:
        return ""
    decimals = COLUMNS[measure][1]
    low, high = min(values), max(values)
    return f"{mean(values):.{decimals}f} ({low:.{decimals}f} .. {high:.{decimals}f})"


def _difference(results: Results, name: str, reference: str, measure: str) -> str:
    found = differences(results, name, reference, measure)
    if not found:
        return ""
    decimals = COLUMNS[measure][1]
    return f"**{mean(found):+.{decimals}f}** ({', '.join(f'{value:+.{decimals}f}' for value in found)})"
