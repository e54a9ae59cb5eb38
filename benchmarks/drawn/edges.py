"""Edge error: how far drawn outlines lie from the outline of the form that their caption names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.mini.prompt_scenes import PromptScene

from .fitting import fitted
from .regions import Regions

_LEAST = 60
"""Pixels below which nothing of a shape was drawn."""


def edge_error(regions: Regions, scene: PromptScene) -> float | None:
    """Mean distance in pixels from the drawn outlines of a scene's square picture to the nearest outline that fits.

    Each shape's form is the caption's; place, radius and turn are those that fit the drawn shape best, for a caption
    leaves them open. None where no shape was drawn.
    """
    found = []
    for mask, wanted in zip(regions.shapes, scene.shapes, strict=True):
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
