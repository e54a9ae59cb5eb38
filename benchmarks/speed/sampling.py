"""A step of sampling with guidance: a quarter of the tokens against all of them."""

from __future__ import annotations

from collections.abc import Iterator

from .case import Case, weight_bytes
from .scale import Scale
from .transformers import drawings


def cases(scale: Scale) -> Iterator[Case]:
    """One step, at each size of picture and batch: how it grows with pixels and pictures."""
    both = drawings(scale)
    weights = {who: weight_bytes(each.transformer) for who, each in both.items()}
    for side in scale.sides:
        for batch in scale.batches:
            ways = {who: each.drawn(side, batch, 1) for who, each in both.items()}
            yield Case("sampling", "a step", side, batch, ways, weights)
