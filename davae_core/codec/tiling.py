"""Run a picture-to-picture map tile by tile and blend the overlaps linearly, so that large pictures fit in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tile:
    """Top-left corner and size of one tile, in input cells."""

    top: int
    left: int
    height: int
    width: int


def tiles(height: int, width: int, tile: int, overlap: int) -> Iterator[Tile]:
    """Tiles of at most `tile` cells a side that cover height x width, neighbours sharing at least `overlap` cells.

    Raises ValueError unless 0 <= overlap < tile.
    """
    if not 0 <= overlap < tile:
        raise ValueError(
            f"The overlap ({overlap}) must be smaller than the tile ({tile}) and not negative."
        )
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            yield Tile(top, left, min(tile, height), min(tile, width))


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    if length <= tile:
        return [0]
    starts = list(range(0, length - tile, tile - overlap))
    return [*starts, length - tile]


def map_tiled(
    function: Callable[[Tensor], Tensor],
    inputs: Tensor,
    tile: int,
    overlap: int,
    scale: tuple[int, int],
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Apply `function` to tiles of `inputs` [B, c, h, w] and blend: the result is [B, c', h * m / d, w * m / d].

    `scale` is (m, d): output cells per input cell as a fraction; tiles and overlaps must be multiples of d.
    `progress(done, total)` is called after each tile.
    """
    multiply, divide = scale
    if tile % divide or overlap % divide:
        raise ValueError(f"Tile ({tile}) and overlap ({overlap}) must be multiples of {divide}.")
    height, width = inputs.shape[-2:]
    plan = list(tiles(height, width, tile, overlap))
    total: Tensor | None = None
    weights: Tensor | None = None
    feather = overlap * multiply // divide
    for done, place in enumerate(plan, start=1):
        part = inputs[
            ..., place.top : place.top + place.height, place.left : place.left + place.width
        ]
        result = function(part)
        if total is None or weights is None:
            shape = (height * multiply // divide, width * multiply // divide)
            total = result.new_zeros((*result.shape[:2], *shape))
            weights = result.new_zeros((1, 1, *shape))
        top, left = place.top * multiply // divide, place.left * multiply // divide
        mask = _feathered(result, feather, top, left, total)
        rows, columns = slice(top, top + result.shape[-2]), slice(left, left + result.shape[-1])
        total[..., rows, columns] += result * mask
        weights[..., rows, columns] += mask
        if progress is not None:
            progress(done, len(plan))
    assert total is not None and weights is not None
    return total / weights


def _feathered(result: Tensor, feather: int, top: int, left: int, total: Tensor) -> Tensor:
    """Weights that fall off linearly towards inner borders; outer borders keep full weight."""
    height, width = result.shape[-2:]
    rows = _ramp(height, feather, top > 0, top + height < total.shape[-2], result)
    columns = _ramp(width, feather, left > 0, left + width < total.shape[-1], result)
    return rows[:, None] * columns[None, :]


def _ramp(length: int, feather: int, at_start: bool, at_end: bool, like: Tensor) -> Tensor:
    ramp = torch.ones(length, device=like.device, dtype=like.dtype)
    slope = torch.arange(1, feather + 1, device=like.device, dtype=like.dtype) / (feather + 1)
    if at_start and feather:
        ramp[:feather] *= slope
    if at_end and feather:
        ramp[-feather:] *= slope.flip(0)
    return ramp
