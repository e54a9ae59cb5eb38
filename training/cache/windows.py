"""The windows of a picture that are cached: its middle, others elsewhere, and each mirrored."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from ..engine.randomness import Stream, numpy_generator
from .buckets import Size, fill_and_crop, nearest_bucket
from .config import ImagesConfig

_SMALLEST_ZOOM = 0.75


def cut_windows(
    pixels: Tensor, name: str, images: ImagesConfig, buckets: tuple[Size, ...]
) -> Tensor:
    """uint8 [3, H, W] -> uint8 [V, 3, h, w] in the size of the nearest bucket.

    `name` decides where the windows lie: pictures that are added later move none of this one. Raises ValueError for a
    picture that would have to be enlarged where that is not wished.
    """
    height, width = pixels.shape[-2:]
    size = nearest_bucket(height, width, buckets)
    if not images.enlarge and (height < size.height or width < size.width):
        raise ValueError(
            f"it has {width}x{height} pixels, fewer than its bucket {size.width}x{size.height}"
        )
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return variants_of(pixels, size, images, number)


def variants_of(pixels: Tensor, size: Size, images: ImagesConfig, number: int) -> Tensor:
    """uint8 [V, 3, H, W]: the middle of the picture, then windows elsewhere, each also mirrored where wanted.

    `number` decides where the windows lie.
    """
    crops = [fill_and_crop(pixels, size)]
    random = numpy_generator(0, Stream.CROP, number)
    least = _SMALLEST_ZOOM if images.enlarge else max(_SMALLEST_ZOOM, unenlarged(pixels, size))
    for _ in range(images.crops - 1):
        zoom = random.uniform(least, 1.0)
        across, down = random.random(), random.random()
        crops.append(fill_and_crop(window_of(pixels, zoom, across, down), size, across, down))
    if images.flips:
        crops = [variant for crop in crops for variant in (crop, crop.flip(-1))]
    return torch.stack(crops)


def unenlarged(pixels: Tensor, size: Size) -> float:
    """The share of a picture's sides that still fills its bucket without being enlarged."""
    height, width = pixels.shape[-2:]
    return max(size.height / height, size.width / width)


def window_of(pixels: Tensor, zoom: float, across: float, down: float) -> Tensor:
    """A window of a picture, `zoom` times as high and wide; `across` and `down` in [0, 1] say where."""
    height, width = (max(1, round(side * zoom)) for side in pixels.shape[-2:])
    top = round((pixels.shape[-2] - height) * down)
    left = round((pixels.shape[-1] - width) * across)
    return pixels[:, top : top + height, left : left + width]
