"""Residual blocks of large pictures in stripes of rows: the same numbers with a fraction of the memory.

A block holds its input and one more picture of its output's size; everything between exists for some rows at a time.
Normalisation has the exact statistics of the whole picture, and neighbouring stripes see each other's rows, so there
are no seams (docs/method.md, "Decoding in little memory"). Without gradients only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .subpixel import upsample_conv

STRIPE_BYTES = 24 << 20
"""What one activation of a stripe takes at most, if that is no less than `_LEAST_ROWS` rows."""
_LEAST_ROWS, _MOST_STRIPES = 16, 32


class Rows(ABC):
    """A picture [B, C, H, W] of which some rows at a time are looked at; `shape` is its shape."""

    shape: tuple[int, int, int, int]

    @abstractmethod
    def rows(self, first: int, end: int) -> Tensor:
        """Rows `first` to `end`, [B, C, end - first, W]."""


class Held(Rows):
    """A picture in one piece."""

    def __init__(self, x: Tensor) -> None:
        self.shape, self._x = _shape(x), x

    def rows(self, first: int, end: int) -> Tensor:
        return self._x[:, :, first:end]


class Halves(Rows):
    """A picture whose channels lie in two tensors of the same shape, which can then be written over one by one."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        batch, channels, height, width = first.shape
        self.shape = (batch, 2 * channels, height, width)
        self.first, self.second = first, second

    def rows(self, first: int, end: int) -> Tensor:
        return torch.cat([self.first[:, :, first:end], self.second[:, :, first:end]], dim=1)


@dataclass(frozen=True)
class Stripe:
    """Rows `first` to `end` of a picture, and the rows `top` to `bottom` that a 3x3 convolution needs for them."""

    first: int
    end: int
    top: int
    bottom: int

    def inner(self, made: Tensor) -> Tensor:
        """What a convolution made of rows `top` to `bottom`, without the rows beyond the stripe."""
        return made[:, :, self.first - self.top : self.end - self.top]


def is_large(x: Tensor) -> bool:
    """Whether a picture is worth cutting into stripes."""
    return x.numel() * x.element_size() > STRIPE_BYTES and x.shape[2] > _LEAST_ROWS


def stripes_of(shape: tuple[int, int, int, int], size: int) -> Iterator[Stripe]:
    """The stripes of a picture of this shape with `size` bytes a value, from the top."""
    batch, channels, height, width = shape
    rows = STRIPE_BYTES // (batch * channels * width * size)
    # Beside a huge picture a larger stripe costs little memory, and fewer rows are seen twice.
    rows = max(rows, _LEAST_ROWS, height // _MOST_STRIPES)
    rows += rows % 2  # whole rows of a picture of half the size
    for first in range(0, height, rows):
        end = min(first + rows, height)
        yield Stripe(first, end, max(first - 1, 0), min(end + 1, height))


def residual_block(block: Any, x: Tensor) -> Tensor:
    """What a ResnetBlock of blocks.py makes of a picture; one more of its output's size is held beside it."""
    norm = GroupStatistics.of(Held(x), block.norm1, x.element_size())
    hidden = _in_stripes(x, lambda rows: block.conv1(norm.activated(rows)))
    return _second_half(block, hidden, lambda stripe: _shortcut(block, x, stripe))


def upsampled_halves(x: Tensor, conv: Any) -> Halves:
    """What an upsampling convolution makes of a picture of half the size, some rows of it at a time."""
    batch, _, height, width = x.shape
    half = conv.weight.shape[0] // 2
    first = x.new_empty((batch, half, 2 * height, 2 * width))
    made = Halves(first, torch.empty_like(first))
    for stripe in stripes_of(made.shape, x.element_size()):
        _upsample_into(made, x, conv, stripe)
    return made


def _upsample_into(made: Halves, x: Tensor, conv: Any, stripe: Stripe) -> None:
    top = max(stripe.first // 2 - 1, 0)
    bottom = min((stripe.end + 1) // 2 + 1, x.shape[2])
    rows = upsample_conv(x[:, :, top:bottom], conv)
    rows = rows[:, :, stripe.first - 2 * top : stripe.end - 2 * top]
    half = made.first.shape[1]
    made.first[:, :, stripe.first : stripe.end] = rows[:, :half]
    made.second[:, :, stripe.first : stripe.end] = rows[:, half:]


def residual_block_over(block: Any, x: Halves) -> Tensor:
    """What a ResnetBlock that halves the channels makes of a picture, written over it: no other of its size is held."""
    norm = GroupStatistics.of(x, block.norm1, x.first.element_size())
    above: Tensor | None = None
    for stripe in stripes_of(x.shape, x.first.element_size()):
        above = _first_half_over(block, norm, x, stripe, above)
    hidden, shortcut = x.first, x.second
    return _second_half(block, hidden, lambda stripe: shortcut[:, :, stripe.first : stripe.end])


def _first_half_over(
    block: Any, norm: GroupStatistics, x: Halves, stripe: Stripe, above: Tensor | None
) -> Tensor:
    """The first convolution and the shortcut of a stripe, in place of its two halves; the last row that was there."""
    seen = _with_row_above(above, x.rows(stripe.first, stripe.bottom))
    own = stripe.inner(seen)
    kept = own[:, :, -1:].clone()
    x.second[:, :, stripe.first : stripe.end] = block.nin_shortcut(own)
    x.first[:, :, stripe.first : stripe.end] = stripe.inner(block.conv1(norm.activated(seen)))
    return kept


def _second_half(block: Any, hidden: Tensor, shortcut: Callable[[Stripe], Tensor]) -> Tensor:
    """The second convolution beside the shortcut, in place of what it reads."""
    norm = GroupStatistics.of(Held(hidden), block.norm2, hidden.element_size())
    above: Tensor | None = None
    for stripe in stripes_of(_shape(hidden), hidden.element_size()):
        above = _second_half_over(block, norm, hidden, stripe, above, shortcut(stripe))
    return hidden


def _second_half_over(
    block: Any,
    norm: GroupStatistics,
    hidden: Tensor,
    stripe: Stripe,
    above: Tensor | None,
    shortcut: Tensor,
) -> Tensor:
    """A stripe of `_second_half`; the last row that was there."""
    seen = _with_row_above(above, hidden[:, :, stripe.first : stripe.bottom])
    kept = stripe.inner(seen)[:, :, -1:].clone()
    made = stripe.inner(block.conv2(norm.activated(seen)))
    hidden[:, :, stripe.first : stripe.end] = made.add_(shortcut)
    return kept


def _with_row_above(above: Tensor | None, rows: Tensor) -> Tensor:
    return rows if above is None else torch.cat([above, rows], dim=2)


def _shortcut(block: Any, x: Tensor, stripe: Stripe) -> Tensor:
    rows = x[:, :, stripe.first : stripe.end]
    return rows if block.nin_shortcut is None else block.nin_shortcut(rows)


def norm_silu_conv(x: Tensor, norm: nn.Module, conv: nn.Module) -> Tensor:
    """conv(silu(norm(x))): [B, C, H, W] -> [B, O, H, W], for a 3x3 convolution with a padding of 1."""
    known = GroupStatistics.of(Held(x), norm, x.element_size())
    return _in_stripes(x, lambda rows: conv(known.activated(rows)))


def _in_stripes(x: Tensor, convolve: Callable[[Tensor], Tensor]) -> Tensor:
    """What a 3x3 convolution makes of a picture, and of what is done to it before, pixel by pixel."""
    out: Tensor | None = None
    for stripe in stripes_of(_shape(x), x.element_size()):
        made = stripe.inner(convolve(x[:, :, stripe.top : stripe.bottom]))
        if out is None:
            out = made.new_empty((*made.shape[:2], *x.shape[2:]))
        out[:, :, stripe.first : stripe.end] = made
        del made  # while the next stripe is made
    assert out is not None
    return out


def _shape(x: Tensor) -> tuple[int, int, int, int]:
    batch, channels, height, width = x.shape
    return batch, channels, height, width


@dataclass(frozen=True)
class GroupStatistics:
    """A group normalisation whose means and variances are known: each [B * C], float32, as are `weight` and `bias`."""

    mean: Tensor
    variance: Tensor
    weight: Tensor
    bias: Tensor
    eps: float

    @classmethod
    def of(cls, source: Rows, norm: Any, size: int) -> GroupStatistics:
        """Those of the whole picture, gathered stripe by stripe; `size` is the bytes a value takes."""
        batch, channels, height, width = source.shape
        means, squares = [], []
        for stripe in stripes_of(source.shape, size):
            rows = source.rows(stripe.first, stripe.end)
            # Row by row in float32, then in float64: millions of values add up to many digits.
            means.append(rows.mean(-1, dtype=torch.float32).double())
            length = torch.linalg.vector_norm(rows, dim=-1, dtype=torch.float32).double()
            squares.append(length.square() / width)
        shape = (batch, norm.num_groups, channels // norm.num_groups * height)
        mean = torch.cat(means, dim=2).reshape(shape).mean(-1)
        square = torch.cat(squares, dim=2).reshape(shape).mean(-1)
        each = channels // norm.num_groups
        return cls(
            mean.float().repeat_interleave(each, dim=1).flatten(),
            (square - mean**2).clamp(min=0).float().repeat_interleave(each, dim=1).flatten(),
            norm.weight.to(mean.device, torch.float32).repeat(batch),
            norm.bias.to(mean.device, torch.float32).repeat(batch),
            norm.eps,
        )

    def activated(self, rows: Tensor) -> Tensor:
        """SiLU of the normalised rows [B, C, h, W] of the picture."""
        batch, channels, height, width = rows.shape
        # Every channel of every picture has its own numbers, as in a trained batch normalisation.
        flat = rows.reshape(1, batch * channels, height, width)
        made = F.batch_norm(
            flat, self.mean, self.variance, self.weight, self.bias, training=False, eps=self.eps
        )
        return F.silu(made, inplace=True).view(batch, channels, height, width)
