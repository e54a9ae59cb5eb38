"""The outline a drawn shape should have had: its caption's form, as it fits what was drawn best."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.mini.prompt_scenes import PLACES, PlacedShape
from training.mini.scenes import outline

_STEPS = ((0.02, 0.02, 0.1), (0.008, 0.008, 0.05), (0.003, 0.003, 0.02))
"""Of place, radius and turn, from coarse to fine."""
_ZOOM, _HALF_COVERED = 4, 127
"""Subpixels along a pixel's side, as in `silhouette`, and the byte above which more than half of them are covered."""


@dataclass(frozen=True)
class Stamp:
    """A shape's pixels [h, w] and where their first row and column lie in the picture."""

    inside: NDArray[np.bool_]
    row: int
    column: int

    def on(self, width: int, height: int) -> NDArray[np.bool_]:
        """The whole picture's mask [height, width]."""
        whole = np.zeros((height, width), dtype=bool)
        whole[self._window] = self.inside
        return whole

    def overlap(self, mask: NDArray[np.bool_], pixels: int) -> float:
        """Intersection over union with a mask of so many pixels."""
        both = int(np.count_nonzero(mask[self._window] & self.inside))
        return both / max(1, pixels + int(np.count_nonzero(self.inside)) - both)

    @property
    def _window(self) -> tuple[slice, slice]:
        height, width = self.inside.shape
        return slice(self.row, self.row + height), slice(self.column, self.column + width)


def fitted(mask: NDArray[np.bool_], wanted: PlacedShape) -> NDArray[np.bool_]:
    """The wanted form [H, W] where it overlaps the mask [H, W] best, by coordinate search."""
    (height, width), pixels = mask.shape, int(np.count_nonzero(mask))
    rows, columns = np.nonzero(mask)
    # Every form's centre of mass is the centre that it is drawn around.
    best = replace(
        wanted,
        x=float(columns.mean() + 0.5) / width,
        y=float(rows.mean() + 0.5) / height,
        turn=0.0,
    )
    overlap = stamp(best, width, height).overlap(mask, pixels)
    for place, radius, turn in _STEPS:
        better = True
        while better:
            better = False
            for change in _changes(best, place, radius, turn):
                other = stamp(change, width, height).overlap(mask, pixels)
                if other > overlap:
                    best, overlap, better = change, other, True
    return stamp(best, width, height).on(width, height)


def stamp(shape: PlacedShape, width: int, height: int) -> Stamp:
    """Where `silhouette` covers more than half of a pixel; of a form, no letter.

    Drawn around the shape only: many are tried on a mask.
    """
    cos, sin = np.cos(shape.turn), np.sin(shape.turn)
    turned = outline(shape.shape) @ np.array([[cos, sin], [-sin, cos]])
    size = np.array([width, height])
    corners = turned * shape.radius * min(width, height) + np.array([shape.x, shape.y]) * size
    column, row = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, size - 1)
    right, below = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, 1, size)
    canvas = Image.new("L", ((right - column) * _ZOOM, (below - row) * _ZOOM))
    shifted = (corners - (column, row)) * _ZOOM
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in shifted], fill=255)
    return Stamp(np.asarray(canvas.reduce(_ZOOM)) > _HALF_COVERED, int(row), int(column))


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
