"""Where in a picture a thing of a scene is painted, as one filled mask whatever its surface.

Hatching and thin outlines leave gaps and holes in what is coloured; both are closed, so that a hatched star, an
outlined one and a plain one have the same mask.
"""

from __future__ import annotations

import numpy as np
from einops import rearrange, reduce
from numpy.typing import NDArray
from scipy import ndimage

from training.mini.prompt_scenes import PLACES, SHAPE_COLOURS, PlacedShape, Surface
from training.mini.scenes import COLOURS

SIDE = 128
"""Shorter side in pixels at which things are looked for: hatching is just resolved, grain no longer matters."""
SURFACES = (
    *((tone,) * 3 for tone in range(0, 256, 32)),
    (120, 80, 45),
    (160, 110, 65),
    (190, 145, 95),
)
"""What backgrounds look like: greys from black to white, and woods."""
_PAPER = 245.0
_NEAR, _MIXED_NEAR = 95.0, 60.0
_REACH = 0.27
_GAP = 2
"""Pixels at SIDE that a gap in hatching or in an outline may be wide on either side."""
_RIM = 5
_AROUND = (3, 10)
"""From how far to how far outside a thing its surroundings are looked at; nearer lies a plain thing's black rim."""


def looked_at(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[H, W, 3] -> box averages with a shorter side of about SIDE, [H/n, W/n, 3]."""
    times = max(1, min(picture.shape[:2]) // SIDE)
    height, width = (side // times * times for side in picture.shape[:2])
    whole = picture[:height, :width].astype(np.float64)
    return reduce(whole, "(h i) (w j) c -> h w c", "mean", i=times, j=times)


def filled_mask(seen: NDArray[np.float64], colour: str, place: str) -> NDArray[np.bool_]:
    """Where a thing of that colour stands near that place in what `looked_at` gave, [h, w], gaps and holes filled."""
    mask = _coloured(seen, colour) & near_place(place, seen.shape[0], seen.shape[1])
    return closed(mask)


def closed(mask: NDArray[np.bool_], gap: int = _GAP) -> NDArray[np.bool_]:
    """A mask [h, w] with all holes filled, and gaps of up to `gap` pixels on either side; without specks."""
    ball = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), gap)
    grown = ndimage.binary_dilation(mask, ball)
    whole = ndimage.binary_erosion(ndimage.binary_fill_holes(grown), ball)
    found: NDArray[np.bool_] = ndimage.binary_opening(whole, iterations=1)
    return found


def surface_of(seen: NDArray[np.float64], mask: NDArray[np.bool_], colour: str) -> Surface:
    """What a filled mask is most like inside: the colour, the colour on paper in turns, or what is around the mask."""
    inside = ndimage.binary_erosion(mask, iterations=_RIM)
    near, far = (ndimage.binary_dilation(mask, iterations=steps) for steps in _AROUND)
    around = far & ~near
    if not inside.any() or not around.any():
        return "plain"
    own = np.array(COLOURS[colour], dtype=np.float64)
    looks: dict[Surface, NDArray[np.float64]] = {
        "plain": own,
        "hatched": (own + _PAPER) / 2,
        "outlined": seen[around].mean(axis=0),
    }
    found = seen[inside].mean(axis=0)
    return min(looks, key=lambda surface: float(np.square(looks[surface] - found).sum()))


def near_place(place: str, height: int, width: int) -> NDArray[np.bool_]:
    """Where a thing at a place may lie, [height, width]."""
    x, y = PLACES[place]
    short = min(height, width)
    rows, columns = np.mgrid[0:height, 0:width]
    far = np.maximum(abs(columns + 0.5 - x * width), abs(rows + 0.5 - y * height)) / short
    near: NDArray[np.bool_] = far < _REACH
    return near


def is_form(found: PlacedShape) -> bool:
    """Whether a thing has an outline of corners, as letters have not."""
    return not found.shape.startswith("letter")


def _coloured(seen: NDArray[np.float64], colour: str) -> NDArray[np.bool_]:
    """Where the picture is nearer to the colour, pure or half over any background, than to all else, and near at all.

    A thin line is about a pixel wide at SIDE, so that it is mostly seen half over what lies under it.
    """
    pure = np.array([COLOURS[name] for name in SHAPE_COLOURS], dtype=np.float64)
    surfaces = np.array(SURFACES, dtype=np.float64)
    mixed = rearrange((pure[:, None] + surfaces) / 2, "n s c -> (n s) c")
    rivals = np.concatenate([pure, mixed, surfaces])
    # |a - b|^2 by its three parts: a matrix product is many times faster than the differences.
    squares = (seen * seen).sum(axis=2)[..., None] + (rivals * rivals).sum(axis=1)
    distances = squares - 2.0 * seen @ rivals.T
    nearest, number = distances.argmin(axis=2), SHAPE_COLOURS.index(colour)
    least = distances.min(axis=2)
    as_pure = (nearest == number) & (least < _NEAR**2)
    first = len(pure) + number * len(surfaces)
    as_mixed = (nearest >= first) & (nearest < first + len(surfaces)) & (least < _MIXED_NEAR**2)
    found: NDArray[np.bool_] = as_pure | as_mixed
    return found
