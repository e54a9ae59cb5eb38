"""Whether a picture shows what its caption says: the colour, the form, the surface and the place of each thing.

A small template matcher for the closed world of prompt_scenes; it needs no network, so that nothing trained judges what
was trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from einops import rearrange, reduce
from numpy.typing import NDArray

from training.mini.prompt_scenes import PLACES, SHAPES, PlacedShape, PromptScene, silhouette

from .painted import closed, filled_mask, is_form, looked_at, surface_of

_RADII = (0.165, 0.18, 0.195, 0.21)
_SHIFTS = (-0.02, 0.0, 0.02)
_TURNS = (-0.1, 0.0, 0.1)
_LEAST_OVERLAP = 0.45
_TIMES = 2
"""Forms are compared at this part of the size at which things are found."""


@dataclass(frozen=True)
class Claims:
    """How many of a caption's things have the right colour at their place, of these the right form, of these the
    right surface (a letter has no other)."""

    shapes: int
    coloured: int
    formed: int
    surfaced: int

    @property
    def accurate(self) -> bool:
        """Every thing right in colour, place, form and surface."""
        return self.surfaced == self.shapes


def check(picture: NDArray[np.uint8], scene: PromptScene) -> Claims:
    """Compare a picture [H, W, 3] with the scene its caption was made from."""
    seen = looked_at(picture)
    coloured = formed = surfaced = 0
    for wanted in scene.shapes:
        mask = filled_mask(seen, wanted.colour, wanted.place)
        form, overlap = _form(mask, wanted.place)
        right = overlap >= _LEAST_OVERLAP and form == wanted.shape
        coloured += overlap >= _LEAST_OVERLAP
        formed += right
        surface = surface_of(seen, mask, wanted.colour) if is_form(wanted) else wanted.surface
        surfaced += right and surface == wanted.surface
    return Claims(len(scene.shapes), coloured, formed, surfaced)


def _form(mask: NDArray[np.bool_], place: str) -> tuple[str, float]:
    """The form that fits a mask at a place best, and its overlap (0 to 1)."""
    height, width = (side // _TIMES for side in mask.shape)
    templates = _templates(place, height, width)
    whole = mask[: height * _TIMES, : width * _TIMES].astype(np.float32)
    flat = reduce(whole, "(h i) (w j) -> (h w)", "mean", i=_TIMES, j=_TIMES)
    both = templates @ flat
    overlaps = both / np.maximum(1.0, templates.sum(axis=1) + flat.sum() - both)
    best = int(overlaps.argmax())
    return SHAPES[best // (len(templates) // len(SHAPES))], float(overlaps[best])


@cache
def _templates(place: str, height: int, width: int) -> NDArray[np.float32]:
    """[N, height * width] of 0 and 1: everything at the place in all sizes, turns and shifts, form after form."""
    x, y = PLACES[place]
    drawn = [
        _filled(PlacedShape(shape, "red", place, x + dx, y + dy, radius, turn), width, height)
        for shape in SHAPES
        for radius in _RADII
        for turn in _TURNS
        for dx in _SHIFTS
        for dy in _SHIFTS
    ]
    return rearrange(np.stack(drawn), "n h w -> n (h w)").astype(np.float32)


def _filled(found: PlacedShape, width: int, height: int) -> NDArray[np.bool_]:
    whole = silhouette(found, width, height) > 0.5
    # A mask's gaps are closed where it is found, at _TIMES this size.
    return whole if is_form(found) else closed(whole, gap=1)
