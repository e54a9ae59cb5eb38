"""Nearest-neighbour doubling and a 3x3 convolution as four exact 2x2 convolutions of the small picture.

Every pixel of the doubled picture sees only 2x2 different pixels of the small one, so the columns and rows of the
kernel that fall on the same pixel are added up: 4/9 of the multiplications (docs/method.md, "Decoding in little
memory").
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def upsample_conv(x: Tensor, conv: nn.Module) -> Tensor:
    """[B, C, H, W] -> [B, O, 2 H, 2 W]: `conv`, 3x3 with a padding of 1, of the picture doubled by nearest neighbour.

    Without gradients: the sums of kernels are made anew each time, which costs nothing beside a picture.
    """
    height, width = x.shape[-2:]
    kernel, bias = _kernel_and_bias(conv, x)
    out: Tensor | None = None
    for down, rows in enumerate(_summed(kernel, dim=2)):
        for right, phase in enumerate(_summed(rows, dim=3)):
            # Padded by one on every side, of which each phase needs two: the others fall away here.
            made = F.conv2d(x, phase.to(x.dtype), bias, padding=1)
            if out is None:
                out = made.new_empty((*made.shape[:2], 2 * height, 2 * width))
            out[:, :, down::2, right::2] = made[:, :, down:, right:][:, :, :height, :width]
    assert out is not None
    return out


def _kernel_and_bias(conv: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """The weights where the picture is, the kernel in float32: its sums are rounded once."""
    kernel, bias = conv.weight, conv.bias
    assert isinstance(kernel, Tensor)
    return (
        kernel.to(x.device, torch.float32),
        bias.to(x) if isinstance(bias, Tensor) else None,
    )


def _summed(kernel: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """A kernel three wide along `dim` -> two that are two wide, for the first and the second pixel of each pair."""
    first, second, third = kernel.chunk(3, dim)
    return torch.cat([first, second + third], dim), torch.cat([first + second, third], dim)
