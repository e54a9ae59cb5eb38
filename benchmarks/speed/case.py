"""One thing to measure, in the ways of doing it, and what comes of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from .floors import Rates
from .turns import Spent, Ways, in_turns


@dataclass(frozen=True)
class Case:
    """A batch of pictures of `side` pixels.

    `what` names it in a table, `variant` what is special ("" for nothing). `weights` are the bytes that each way must
    read at least. `counted`: whether operations can be counted while it runs.
    """

    part: str
    what: str
    side: int
    batch: int
    ways: Ways
    weights: Mapping[str, int]
    variant: str = ""
    counted: bool = True


def measured(case: Case, rounds: int, rates: Rates) -> dict[str, Any]:
    """The case as JSON: seconds, peak bytes, operations and floors of each way, and ours over stock turn by turn."""
    spent = in_turns(case.ways, rounds, case.counted)
    ways = {
        who: {
            "seconds": each.seconds,
            "peak_bytes": each.peak,
            "operations": each.operations,
            "floor_seconds": rates.floor(each.operations, case.weights[who]),
        }
        for who, each in spent.items()
    }
    return {**described(case), "ways": ways, "ratio": _ratio(spent)}


def _ratio(spent: Mapping[str, Spent]) -> dict[str, float] | None:
    """None where there is no stock way."""
    if "stock" not in spent:
        return None
    turns = zip(spent["ours"].seconds, spent["stock"].seconds, strict=True)
    found = [ours / stock for ours, stock in turns]
    return {"median": statistics.median(found), "least": min(found), "most": max(found)}


def described(case: Case) -> dict[str, Any]:
    """What a case is known by, from run to run."""
    return {
        "part": case.part,
        "what": case.what,
        "side": case.side,
        "batch": case.batch,
        "variant": case.variant,
    }


def weight_bytes(*parts: nn.Module) -> int:
    """Bytes of all parameters."""
    return sum(
        value.numel() * value.element_size() for part in parts for value in part.parameters()
    )
