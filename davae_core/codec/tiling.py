"""Run a picture-to-picture map tile by tile and blend the overlaps linearly, so that large pictures fit in memory."""

from collections.abc import Callable
from itertools import product
from math import ceil

import torch
from torch import Tensor


def tiles_of(length: int, tile: int, overlap: int, unit: int = 1) -> list[slice]:
    """As few stretches of at most `tile` cells as cover `length`, all of one size; neighbours share `overlap` or more.

    Their ends are multiples of `unit`, as `length`, `tile` and `overlap` must be. Raises ValueError unless
    0 <= overlap < tile.
    """
    if not 0 <= overlap < tile:
        raise ValueError(
            f"The overlap ({overlap}) must be smaller than the tile ({tile}) and not negative."
        )
    count = max(1, ceil((length - overlap) / (tile - overlap)))
    # No larger than they must be: a last tile that only just sticks out would cost as much as a whole one.
    size = min(length, ceil((length + (count - 1) * overlap) / count / unit) * unit)
    rest = (length - size) // unit
    starts = (index * rest // max(count - 1, 1) * unit for index in range(count))
    return [slice(start, start + size) for start in starts]


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
    tiles = list(product(*(tiles_of(side, tile, overlap, divide) for side in (height, width))))
    total: Tensor | None = None
    weights: Tensor | None = None
    feather = overlap * multiply // divide
    for done, (seen_rows, seen_columns) in enumerate(tiles, start=1):
        result = function(inputs[..., seen_rows, seen_columns])
        if total is None or weights is None:
            shape = (height * multiply // divide, width * multiply // divide)
            total = result.new_zeros((*result.shape[:2], *shape))
            weights = result.new_zeros((1, 1, *shape))
        top, left = (side.start * multiply // divide for side in (seen_rows, seen_columns))
        mask = _feathered(result, feather, top, left, total)
        rows, columns = slice(top, top + result.shape[-2]), slice(left, left + result.shape[-1])
        total[..., rows, columns] += result * mask
        weights[..., rows, columns] += mask
        if progress is not None:
            progress(done, len(tiles))
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
