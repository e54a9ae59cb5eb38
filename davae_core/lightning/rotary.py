"""Rotary positions of a square grid of tokens: half of a head's channels turn by the row, half by the column."""

import torch
from einops import repeat
from torch import Tensor, nn

_THETA = 10000.0


class RotaryTable(nn.Module):
    """Cosines and sines [side * side, head_width] of every token's angles, by which queries and keys are turned.

    Channel pairs (0, 1), (2, 3), ... are the two sides of an angle. Pair i of the first half turns by
    row * 10000^(-2 i / (head_width / 2)), pair i of the second by the column times the same. The buffers have the
    published names, `freqs_cos` and `freqs_sin`.
    """

    freqs_cos: Tensor
    freqs_sin: Tensor

    def __init__(self, side: int, head_width: int) -> None:
        super().__init__()
        half = head_width // 2
        speeds = _THETA ** -(torch.arange(0, half, 2, dtype=torch.float32) / half)
        one_axis = repeat(torch.arange(side)[:, None] * speeds, "t i -> t (i two)", two=2)
        angles = torch.cat(
            [
                repeat(one_axis, "t c -> (t u) c", u=side),
                repeat(one_axis, "t c -> (u t) c", u=side),
            ],
            dim=-1,
        )
        self.register_buffer("freqs_cos", angles.cos())
        self.register_buffer("freqs_sin", angles.sin())

    def forward(self, heads: Tensor) -> Tensor:
        """Turn [B, heads, side * side, head_width]."""
        first, second = heads[..., 0::2], heads[..., 1::2]
        quarter = torch.stack([-second, first], dim=-1).flatten(-2)
        return heads * self.freqs_cos.to(heads.dtype) + quarter * self.freqs_sin.to(heads.dtype)
