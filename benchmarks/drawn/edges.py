"""Edge error: how far drawn outlines lie from the outline of the form that their caption names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .fitting import fitted
from .regions import Regions

_LEAST = 60
"""Pixels below which nothing of a form was drawn."""


def edge_error(regions: Regions) -> float | None:
    """Mean distance in pixels from the drawn outlines of a picture's plain forms to the nearest outline that fits.

    Each form is the caption's; place, radius and turn are those that fit what was drawn best, for a caption leaves them
    open. None where no plain form was drawn.
    """
    found = []
    for mask, wanted in regions.forms:
        if mask.sum() >= _LEAST:
            drawn = boundary(mask)
            found.append(_distances(drawn, boundary(fitted(mask, wanted))).mean())
    return float(np.mean(found)) if found else None


def boundary(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Points [N, 2] (row, column) of a mask that touch what is not in it."""
    inside = mask.copy()
    inside[1:] &= mask[:-1]
    inside[:-1] &= mask[1:]
    inside[:, 1:] &= mask[:, :-1]
    inside[:, :-1] &= mask[:, 1:]
    return np.argwhere(mask & ~inside).astype(np.float64)


def _distances(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each point to the nearest other, both [N, 2] -> [N]."""
    squares = np.square(points[:, None] - others[None]).sum(axis=-1)
    nearest: NDArray[np.float64] = np.sqrt(squares.min(axis=1))
    return nearest
