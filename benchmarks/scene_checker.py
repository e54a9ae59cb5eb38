"""Whether a picture shows what its caption says: the colour, the form and the place of each shape.

A small template matcher for the closed world of prompt_scenes; it needs no network, so that nothing trained judges what
was trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from einops import rearrange, reduce
from numpy.typing import NDArray

from training.mini.prompt_scenes import (
    PLACES,
    SHAPE_COLOURS,
    SHAPES,
    PlacedShape,
    PromptScene,
    silhouette,
)
from training.mini.scenes import COLOURS

SIDE = 64
"""Pictures are compared at this size, where neither grain nor sharpness matters."""
_NEAR = 95.0
# What backgrounds look like: greys from black to white, and woods.
_SURFACES = (
    *((tone,) * 3 for tone in range(0, 256, 32)),
    (120, 80, 45),
    (160, 110, 65),
    (190, 145, 95),
)
_RADII = (0.165, 0.18, 0.195, 0.21)
_SHIFTS = (-0.02, 0.0, 0.02)
_TURNS = (-0.1, 0.0, 0.1)
_LEAST_OVERLAP = 0.45


@dataclass(frozen=True)
class Claims:
    """How many of a caption's shapes have the right colour at their place, and of these the right form."""

    shapes: int
    coloured: int
    formed: int

    @property
    def accurate(self) -> bool:
        """Every shape right in colour, place and form."""
        return self.formed == self.shapes


def check(picture: NDArray[np.uint8], scene: PromptScene) -> Claims:
    """Compare a square picture [H, W, 3] with the scene its caption was made from."""
    small = _shrunk(picture)
    coloured = formed = 0
    for wanted in scene.shapes:
        seen, overlap = _seen(small, wanted)
        coloured += overlap >= _LEAST_OVERLAP
        formed += overlap >= _LEAST_OVERLAP and seen == wanted.shape
    return Claims(len(scene.shapes), coloured, formed)


def _seen(small: NDArray[np.float64], wanted: PlacedShape) -> tuple[str, float]:
    """The form that fits best what is painted in the wanted colour at the wanted place, and its overlap (0 to 1)."""
    mask = (_painted(small, wanted.colour) & _near_place(wanted.place)).ravel().astype(np.float32)
    templates = _templates(wanted.place)
    both = templates @ mask
    overlaps = both / np.maximum(1.0, templates.sum(axis=1) + mask.sum() - both)
    best = int(overlaps.argmax())
    return SHAPES[best // (len(templates) // len(SHAPES))], float(overlaps[best])


def _painted(small: NDArray[np.float64], colour: str) -> NDArray[np.bool_]:
    """Where the picture is nearer to the colour than to every other one and every background, and near at all."""
    rivals = np.array([*(COLOURS[name] for name in SHAPE_COLOURS), *_SURFACES], dtype=np.float64)
    # |a - b|^2 by its three parts: a matrix product is many times faster than the differences.
    squares = (small * small).sum(axis=2)[..., None] + (rivals * rivals).sum(axis=1)
    distances = squares - 2.0 * small @ rivals.T
    own = distances[..., SHAPE_COLOURS.index(colour)]
    nearest: NDArray[np.bool_] = (distances.min(axis=2) == own) & (own < _NEAR**2)
    return nearest


def _near_place(place: str) -> NDArray[np.bool_]:
    x, y = PLACES[place]
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    near: NDArray[np.bool_] = np.maximum(abs(columns - x), abs(rows - y)) < 0.25
    return near


@cache
def _templates(place: str) -> NDArray[np.float32]:
    """[N, SIDE * SIDE] of 0 and 1: every shape at the place in all sizes, turns and shifts, shape after shape."""
    x, y = PLACES[place]
    drawn = [
        silhouette(PlacedShape(shape, "red", place, x + dx, y + dy, radius, turn), SIDE) > 0.5
        for shape in SHAPES
        for radius in _RADII
        for turn in _TURNS
        for dx in _SHIFTS
        for dy in _SHIFTS
    ]
    return rearrange(np.stack(drawn), "n h w -> n (h w)").astype(np.float32)


def _shrunk(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[H, W, 3] -> [SIDE, SIDE, 3], box averages; H = W must be a multiple of SIDE."""
    times = picture.shape[0] // SIDE
    whole = picture[: SIDE * times, : SIDE * times].astype(np.float64)
    return reduce(whole, "(h i) (w j) c -> h w c", "mean", i=times, j=times)
