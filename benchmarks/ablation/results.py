"""What an arm ended with, seed by seed, and the file that holds it all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from davae_core.files import write_text
from training.errors import TrainingError

from .measuring import Measures

MEASURES = (
    "fd",
    "prompt_accuracy",
    "sharpness",
    "speckle",
    "edges",
    "grain",
    "score",
    "codec_score",
    "base_error",
    "detail_error",
)
"""In the order of the table; the errors belong to adapters alone, and a detail pass has none of the base."""


@dataclass(frozen=True)
class Result:
    """One adapter's or reference's `Measures`; the errors of its held-out velocities where it has any."""

    seed: int
    fd: float
    prompt_accuracy: float
    sharpness: float
    speckle: float | None = None
    edges: float | None = None
    grain: float | None = None
    lines: float | None = None
    score: float | None = None
    codec_score: float | None = None
    base_error: float | None = None
    detail_error: float | None = None


@dataclass(frozen=True)
class Curve:
    """The velocity errors that one adapter was trained on, each the mean of the steps since the one before.

    `base` is empty where the detail was trained alone.
    """

    seed: int
    step: tuple[int, ...]
    base: tuple[float, ...]
    detail: tuple[float, ...]


@dataclass(frozen=True)
class Results:
    """Everything that was measured; `anchors` are sets of pictures that nothing drew."""

    protocol: dict[str, Any]
    arms: dict[str, list[Result]]
    curves: dict[str, list[Curve]]
    anchors: dict[str, Measures]


def result(seed: int, found: Measures, errors: Mapping[str, float] | None = None) -> Result:
    """Measures of drawn pictures, with the last validation of the training behind them."""
    told = errors or {}
    return Result(
        seed, **asdict(found), base_error=told.get("base"), detail_error=told.get("detail")
    )


def write_result(path: Path, found: Result) -> None:
    """Keep one result by itself, so that an interrupted run need not measure it again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(asdict(found), indent=1) + "\n")


def read_result(path: Path) -> Result:
    """What `write_result` wrote."""
    return Result(**json.loads(path.read_text(encoding="utf-8")))


def write_results(path: Path, results: Results) -> None:
    """`{"protocol": {...}, "arms": {"full": [{"seed": 0, "fd": ...}, ...], ...}, "curves": ..., "anchors": ...}`."""
    whole = {
        "protocol": results.protocol,
        "arms": {name: [_known(seed) for seed in seeds] for name, seeds in results.arms.items()},
        "curves": {
            name: [asdict(curve) for curve in curves] for name, curves in results.curves.items()
        },
        "anchors": {name: _known(found) for name, found in results.anchors.items()},
    }
    write_text(path, json.dumps(whole, indent=1) + "\n")


def read_results(path: Path) -> Results:
    """What `write_results` wrote. Raises TrainingError when the file is another."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        return Results(
            protocol=whole["protocol"],
            arms={name: [Result(**one) for one in seeds] for name, seeds in whole["arms"].items()},
            curves={
                name: [_curve(**one) for one in curves] for name, curves in whole["curves"].items()
            },
            anchors={name: Measures(**found) for name, found in whole["anchors"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"{path} holds no results of the ablation: run python -m benchmarks.ablation again."
        ) from error


def _known(found: Result | Measures) -> dict[str, float]:
    return {name: value for name, value in asdict(found).items() if value is not None}


def _curve(seed: int, step: list[int], base: list[float], detail: list[float]) -> Curve:
    return Curve(seed, tuple(step), tuple(base), tuple(detail))
