"""One thing to measure, in the ways of doing it, and what comes of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .floors import Rates
from .turns import Spent, Ways, in_turns


@dataclass(frozen=True)
class Case:
    """A batch of pictures of `side` pixels.

    `what` names it in a table, `variant` what is special ("" for nothing). `ways` has "ours" and, but where there is
    nothing to compare with, "stock". `weights` are the bytes of each way's weights; it reads all of them once at
    least, or as many bytes as `read` says. `counted`: whether operations can be counted while it runs; `learns`:
    whether it needs gradients.
    """

    part: str
    what: str
    side: int
    batch: int
    ways: Ways
    weights: Mapping[str, int]
    variant: str = ""
    read: Mapping[str, int] | None = None
    counted: bool = True
    learns: bool = False


def measured(case: Case, rounds: int, rates: Rates) -> dict[str, Any]:
    """The case as JSON: seconds, peak bytes, operations and floors of each way, and what they take of stock."""
    # Without gradients the codec computes in another way, as it does for everybody who does not train.
    with torch.set_grad_enabled(case.learns):
        spent = in_turns(case.ways, rounds, case.counted, case.learns)
    ways = {
        who: {
            "seconds": each.seconds,
            "peak_bytes": each.peak,
            "weight_bytes": case.weights[who],
            "operations": each.operations,
            "floor_seconds": rates.floor(each.operations, (case.read or case.weights)[who]),
        }
        for who, each in spent.items()
    }
    return {**described(case), "ways": ways, "ratios": _ratios(spent)}


def _ratios(spent: Mapping[str, Spent]) -> dict[str, dict[str, float]]:
    """Of every other way over the stock one, turn by turn; none where there is no stock way."""
    stock, found = spent.get("stock"), {}
    for who, each in spent.items():
        if stock is not None and each is not stock:
            turns = [a / b for a, b in zip(each.seconds, stock.seconds, strict=True)]
            found[who] = {
                "median": statistics.median(turns),
                "least": min(turns),
                "most": max(turns),
            }
    return found


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
