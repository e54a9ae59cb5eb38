"""Edge error: how far drawn outlines lie from the outline of the form that their caption names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.mini.prompt_scenes import PLACES, PlacedShape, PromptScene, silhouette

from .regions import regions_of

_STEPS = ((0.02, 0.02, 0.1), (0.008, 0.008, 0.05), (0.003, 0.003, 0.02))
"""Of place, radius and turn, from coarse to fine."""
_LEAST = 60
"""Pixels below which nothing of a shape was drawn."""


def edge_error(picture: NDArray[np.uint8], scene: PromptScene) -> float | None:
    """Mean distance in pixels from the drawn outlines of a square picture [H, H, 3] to the nearest outline that fits.

    Each shape's form is the caption's; place, radius and turn are those that fit the drawn shape best, for a caption
    leaves them open. None where no shape was drawn.
    """
    found = []
    for mask, wanted in zip(regions_of(picture, scene).shapes, scene.shapes, strict=True):
        if mask.sum() >= _LEAST:
            drawn = boundary(mask)
            found.append(_distances(drawn, boundary(_fitted(mask, wanted))).mean())
    return float(np.mean(found)) if found else None


def boundary(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Points [N, 2] (row, column) of a mask that touch what is not in it."""
    inside = mask.copy()
    inside[1:] &= mask[:-1]
    inside[:-1] &= mask[1:]
    inside[:, 1:] &= mask[:, :-1]
    inside[:, :-1] &= mask[:, 1:]
    return np.argwhere(mask & ~inside).astype(np.float64)


def _fitted(mask: NDArray[np.bool_], wanted: PlacedShape) -> NDArray[np.bool_]:
    """The wanted form where it overlaps the mask best, by coordinate search."""
    size = mask.shape[0]
    rows, columns = np.nonzero(mask)
    # Every form's centre of mass is the centre that it is drawn around.
    best = replace(
        wanted,
        x=float(columns.mean() + 0.5) / size,
        y=float(rows.mean() + 0.5) / size,
        turn=0.0,
    )
    overlap = _overlap(mask, best)
    for place, radius, turn in _STEPS:
        better = True
        while better:
            better = False
            for change in _changes(best, place, radius, turn):
                other = _overlap(mask, change)
                if other > overlap:
                    best, overlap, better = change, other, True
    return silhouette(best, size) > 0.5


def _changes(shape: PlacedShape, place: float, radius: float, turn: float) -> list[PlacedShape]:
    x, y = PLACES[shape.place]
    moved = [
        replace(shape, x=shape.x + dx * place, y=shape.y + dy * place)
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    sized = [replace(shape, radius=shape.radius + d * radius) for d in (1, -1)]
    turned = [replace(shape, turn=shape.turn + d * turn) for d in (1, -1)]
    return [
        change
        for change in (*moved, *sized, *turned)
        if change.radius > 0.05 and abs(change.x - x) < 0.2 and abs(change.y - y) < 0.2
    ]


def _overlap(mask: NDArray[np.bool_], shape: PlacedShape) -> float:
    other = silhouette(shape, mask.shape[0]) > 0.5
    return float((mask & other).sum() / max(1, (mask | other).sum()))


def _distances(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each point to the nearest other, both [N, 2] -> [N]."""
    squares = np.square(points[:, None] - others[None]).sum(axis=-1)
    nearest: NDArray[np.float64] = np.sqrt(squares.min(axis=1))
    return nearest
