"""The results as a Markdown table, and what each part of the method is worth by them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from .anchors import REAL, THROUGH_DAVAE
from .arms import ALIGNED, ARMS, FULL, TITLES, Arm
from .results import Result, Results

COLUMNS = {
    "fd": ("Fréchet distance", 2),
    "prompt_accuracy": ("prompt accuracy", 3),
    "sharpness": ("sharpness", 4),
    "base_error": ("base error", 4),
    "detail_error": ("detail error", 4),
}
"""Heading and decimals of every measure."""
ANCHOR_TITLES = {
    REAL: "other real pictures",
    THROUGH_DAVAE: "real pictures through the DA-VAE",
}


def results_table(results: Results) -> str:
    """Every arm with the mean of its seeds and, in brackets, the lowest and the highest."""
    lines = ["| | " + " | ".join(heading for heading, _ in COLUMNS.values()) + " |"]
    lines.append("|---" * (len(COLUMNS) + 1) + "|")
    for name, seeds in results.arms.items():
        if seeds:
            cells = [_spread(values_of(seeds, measure), measure) for measure in COLUMNS]
            lines.append(f"| {TITLES[name]} | " + " | ".join(cells) + " |")
    for name, found in results.anchors.items():
        cells = [
            f"{getattr(found, measure, None):.{COLUMNS[measure][1]}f}"
            for measure in list(COLUMNS)[:3]
        ]
        lines.append(f"| *{ANCHOR_TITLES[name]}* | " + " | ".join([*cells, "", ""]) + " |")
    return "\n".join(lines) + "\n"


def differences_table(results: Results) -> str:
    """Every arm minus the full method, seed by seed: the mean, and in brackets each seed's difference."""
    lines = ["| | " + " | ".join(heading for heading, _ in COLUMNS.values()) + " |"]
    lines.append("|---" * (len(COLUMNS) + 1) + "|")
    for arm in ARMS:
        if arm.name != FULL and results.arms.get(arm.name) and results.arms.get(FULL):
            cells = [_difference(results, arm, measure) for measure in COLUMNS]
            lines.append(f"| {arm.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def values_of(seeds: Sequence[Result], measure: str) -> list[float]:
    """One measure of all seeds; empty where it was not taken."""
    return [value for seed in seeds if (value := getattr(seed, measure)) is not None]


def differences(results: Results, name: str, measure: str) -> list[float]:
    """An arm minus the full method on the same seeds."""
    full = {seed.seed: getattr(seed, measure) for seed in results.arms[FULL]}
    return [
        getattr(seed, measure) - full[seed.seed] for seed in results.arms[name] if seed.seed in full
    ]


def compares(name: str, measure: str) -> bool:
    """Whether an arm's measure means something beside the full method's.

    Another codec has another detail: its error is in units of its own.
    """
    codecs = {arm.name: arm.codec for arm in ARMS}
    return measure != "detail_error" or codecs.get(name, ALIGNED) == ALIGNED


def _spread(values: Sequence[float], measure: str) -> str:
    if not values:
        return ""
    decimals = COLUMNS[measure][1]
    low, high = min(values), max(values)
    return f"{mean(values):.{decimals}f} ({low:.{decimals}f} .. {high:.{decimals}f})"


def _difference(results: Results, arm: Arm, measure: str) -> str:
    if not compares(arm.name, measure):
        return ""
    found = differences(results, arm.name, measure)
    decimals = COLUMNS[measure][1]
    return f"**{mean(found):+.{decimals}f}** ({', '.join(f'{value:+.{decimals}f}' for value in found)})"
