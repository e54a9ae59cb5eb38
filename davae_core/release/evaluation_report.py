"""The report of `davae evaluate`, read back for a card: the results of the files that are published."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from ..evaluation.names import SCORES
from ..evaluation.report import FORMAT_VERSION
from ..files import reason_of
from ..reading.json_text import read_json
from ..reading.plain_text import SentenceError, is_plain, shown
from ..reading.typed import Length, Limits, build


@dataclass(frozen=True)
class _Result:
    name: str
    kind: str
    sha256: str | None
    pictures: Annotated[int, Limits(0)]
    made_with: dict[str, Any]
    scores: dict[str, float]
    left_out: dict[str, str]


@dataclass(frozen=True)
class _Report:
    format_version: int
    real: dict[str, Any] | None
    networks: dict[str, dict[str, str]]
    results: Annotated[tuple[_Result, ...], Length(10_000)]
    best: dict[str, str] | None


def results_of(path: Path, hashes: Iterable[str]) -> dict[str, Any]:
    """The report with the results of files of those SHA-256 alone. Raises SentenceError where there are none."""
    try:
        report = build(_Report, read_json(path))
        if report.format_version > FORMAT_VERSION:
            raise ValueError(f"its format is {report.format_version}")
        for result in report.results:
            if not is_plain(result.name) or not set(result.scores) <= set(SCORES):
                raise ValueError(f"it tells of {shown(result.name)}")
    except OSError as error:
        raise SentenceError(
            f"{path} cannot be read ({error.strerror}): name the JSON that `davae evaluate` wrote."
        ) from error
    except ValueError as error:
        raise SentenceError(
            f"{path} is no report of `davae evaluate` ({reason_of(error)}): name the JSON that it wrote."
        ) from error
    wanted = set(hashes)
    results = [asdict(result) for result in report.results if result.sha256 in wanted]
    if not results:
        raise SentenceError(
            f"{path} tells of none of the files that are published: judge those with `davae evaluate`."
        )
    # Which was the best among files that are not published says nothing here.
    return {**asdict(report), "results": results, "best": None}
