"""What this device reaches at best, measured in the same run: products of matrices and copies of memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .scale import Scale
from .turns import seconds_of

_TURNS = 5
_SIDES = {"cuda": 8192, "cpu": 1024}
_VALUES = {"cuda": 1 << 30, "cpu": 1 << 25}


@dataclass(frozen=True)
class Rates:
    """Operations and bytes in a second."""

    operations: float
    bytes: float

    def floor(self, operations: int | None, weights: int) -> float | None:
        """Seconds that nothing with so many operations and weights to read can take less than; None: not counted."""
        if operations is None:
            return None
        return max(operations / self.operations, weights / self.bytes)


def rates(scale: Scale) -> Rates:
    """The best of some turns, after one that warms up, on random numbers: zeros are faster than anything real."""
    side, values = _SIDES[scale.device], _VALUES[scale.device]
    left, right = (torch.randn(side, side, device=scale.device, dtype=scale.dtype) for _ in "ab")
    into = torch.empty_like(left)
    product = _best(lambda: torch.mm(left, right, out=into))
    memory = torch.ones(values, device=scale.device, dtype=scale.dtype)
    copy = torch.empty_like(memory)
    # A copy reads and writes every byte.
    moved = 2 * memory.numel() * memory.element_size()
    return Rates(2 * side**3 / product, moved / _best(lambda: copy.copy_(memory)))


def _best(do: Callable[[], object]) -> float:
    return min([seconds_of(do) for _ in range(_TURNS + 1)][1:])
