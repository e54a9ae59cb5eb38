"""Aspect buckets: the few picture sizes around one area that a training set is sorted into."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..pictures import resize


@dataclass(frozen=True)
class Size:
    """Height and width of a picture in pixels."""

    height: int
    width: int


def bucket_sizes(side: int, multiple: int, longest: float) -> tuple[Size, ...]:
    """The sizes of about side * side pixels whose sides are multiples of `multiple`.

    For every side that is a multiple, the other one that comes nearest to the area, upright and lying, as long as
    neither exceeds `longest` times the other. Sorted by height. Raises ValueError when `side` is smaller than
    `multiple` or `longest` below 1.
    """
    if side < multiple or longest < 1:
        raise ValueError(
            f"Buckets need a side of at least {multiple} and a longest ratio of at least 1, not {side} and {longest}."
        )
    found = set()
    for step in range(1, int(side * longest) // multiple + 1):
        height = step * multiple
        width = max(multiple, round(side * side / height / multiple) * multiple)
        if max(height, width) <= longest * min(height, width):
            found |= {Size(height, width), Size(width, height)}
    square = side // multiple * multiple
    found.add(Size(square, square))
    return tuple(sorted(found, key=lambda size: (size.height, size.width)))


def nearest_bucket(height: int, width: int, buckets: tuple[Size, ...]) -> Size:
    """The bucket whose aspect ratio is nearest to a picture's, compared as logarithms."""
    aspect = math.log(width / height)
    return min(buckets, key=lambda size: abs(math.log(size.width / size.height) - aspect))


def fill_and_crop(picture: Tensor, size: Size, across: float = 0.5, down: float = 0.5) -> Tensor:
    """uint8 [3, H, W] -> uint8 [3, size.height, size.width]: resized to fill (bicubic, antialiased), then cut.

    `across` and `down` in [0, 1] say where in the overhang the window lies, 0.5 in its middle.
    """
    height, width = picture.shape[-2:]
    scale = max(size.height / height, size.width / width)
    scaled = (max(size.height, round(height * scale)), max(size.width, round(width * scale)))
    if scaled != (height, width):
        picture = resize(picture, *scaled)
    top = round((scaled[0] - size.height) * down)
    left = round((scaled[1] - size.width) * across)
    return picture[:, top : top + size.height, left : left + size.width]
