"""What a judgement found: JSON for files, a table for the terminal, and the best subject by a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .names import NEVER_BEST, SCORES
from .scores import Judgement
from .subjects import Kind, Subject

FORMAT_VERSION = 1
MANY = 10_000
"""Pictures from which on a FID is a little off only: below, it grows as they get fewer."""


@dataclass(frozen=True)
class Result:
    """One subject's: its pictures' number, what they were made with, its scores, and why others are left out."""

    name: str
    kind: Kind
    sha256: str | None
    pictures: int
    made_with: dict[str, Any]
    scores: dict[str, float]
    left_out: dict[str, str]


def result_of(
    subject: Subject, pictures: int, made_with: dict[str, Any], judgement: Judgement
) -> Result:
    """A subject's result."""
    return Result(
        subject.name,
        subject.kind,
        subject.sha256,
        pictures,
        made_with,
        judgement.scores,
        judgement.left_out,
    )


def best(results: Sequence[Result], by: str) -> Result | None:
    """The result with the best score `by`; None where none has it. The first of equals."""
    having = [result for result in results if by in result.scores]
    sign = -1 if SCORES[by].more_is_better else 1
    return min(having, key=lambda result: sign * result.scores[by], default=None)


def default_score(results: Sequence[Result]) -> str | None:
    """The first score of SCORES that every result has."""
    names = (name for name in SCORES if name not in NEVER_BEST)
    return next((name for name in names if all(name in each.scores for each in results)), None)


def as_json(
    results: Sequence[Result],
    real: dict[str, Any] | None,
    networks: dict[str, dict[str, str]],
    chosen: tuple[str, str] | None,
) -> dict[str, Any]:
    """Plain data. `real`: what is told of the real pictures; `chosen`: score and best subject."""
    return {
        "format_version": FORMAT_VERSION,
        "real": real,
        "networks": networks,
        "results": [asdict(result) for result in results],
        "best": None if chosen is None else {"by": chosen[0], "name": chosen[1]},
    }


def table(results: Sequence[Result]) -> list[str]:
    """The scores as lines for a terminal, and below them what was left out and why."""
    columns = [name for name in SCORES if any(name in each.scores for each in results)]
    width = max(len(result.name) for result in results)
    lines = [" " * width + "  pictures" + "".join(f"  {SCORES[n].title:>9}" for n in columns)]
    for result in results:
        cells = "".join(f"  {_cell(result, name):>9}" for name in columns)
        lines.append(f"{result.name:<{width}}  {result.pictures:>8}{cells}")
    return [*lines, *_left_out(results), *_notes(results)]


def _cell(result: Result, name: str) -> str:
    value = result.scores.get(name)
    return "-" if value is None else f"{value:.{SCORES[name].decimals}f}"


def _left_out(results: Sequence[Result]) -> list[str]:
    """A line for each reason, with the scores it concerns and, where not all are, the subjects."""
    by_reason: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for result in results:
        for name, reason in result.left_out.items():
            scores, subjects = by_reason.setdefault(reason, ({}, {}))
            scores[SCORES[name].title] = None
            subjects[result.name] = None
    return [
        f"Left out{_whose(subjects, results)}: {', '.join(scores)} ({reason})."
        for reason, (scores, subjects) in by_reason.items()
    ]


def _whose(subjects: dict[str, None], results: Sequence[Result]) -> str:
    return "" if len(subjects) == len(results) else f" of {', '.join(subjects)}"


def _notes(results: Sequence[Result]) -> list[str]:
    few = any(
        {"fid", "rfid"} & result.scores.keys() and result.pictures < MANY for result in results
    )
    return ["FID of few pictures is too high: compare it at equal numbers only."] if few else []
