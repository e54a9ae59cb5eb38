"""What an arm ended with, seed by seed, and the file that holds it all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.tracking import write_text

from .measuring import Measures

MEASURES = ("fd", "prompt_accuracy", "sharpness", "base_error", "detail_error")
"""In the order of the table; the errors belong to adapters alone."""


@dataclass(frozen=True)
class Result:
    """One adapter's or reference's measures; the errors of its held-out velocities where it has any."""

    seed: int
    fd: float
    prompt_accuracy: float
    sharpness: float
    base_error: float | None = None
    detail_error: float | None = None


def result(seed: int, found: Measures, errors: Mapping[str, float] | None = None) -> Result:
    """Measures of drawn pictures, with the last validation of the training behind them."""
    if errors is None:
        return Result(seed, **asdict(found))
    return Result(seed, **asdict(found), base_error=errors["base"], detail_error=errors["detail"])


def write_result(path: Path, found: Result) -> None:
    """Keep one result by itself, so that an interrupted run need not measure it again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(asdict(found), indent=1) + "\n")


def read_result(path: Path) -> Result:
    """What `write_result` wrote."""
    return Result(**json.loads(path.read_text(encoding="utf-8")))


def write_results(
    path: Path, arms: Mapping[str, list[Result]], protocol: Mapping[str, Any]
) -> None:
    """All results, `{"protocol": {...}, "arms": {"full": [{"seed": 0, "fd": ...}, ...], ...}}`."""
    listed = {name: [_known(found) for found in results] for name, results in arms.items()}
    whole = {"protocol": dict(protocol), "arms": listed}
    write_text(path, json.dumps(whole, indent=1) + "\n")


def read_results(path: Path) -> tuple[dict[str, list[Result]], dict[str, Any]]:
    """What `write_results` wrote: the arms, the protocol."""
    whole = json.loads(path.read_text(encoding="utf-8"))
    arms = {name: [Result(**found) for found in results] for name, results in whole["arms"].items()}
    return arms, whole["protocol"]


def _known(found: Result) -> dict[str, float]:
    return {name: value for name, value in asdict(found).items() if value is not None}
