"""Widen a pretrained transformer by detail channels so that nothing changes at first (paper Eq. 12-13).

The patch embedder gets input channels and the output head output channels, all zero, each as one fused layer with the
base channels first (docs/method.md, "Stage 2"). Before training the widened network's base output is the untouched
network's, up to the order in which a processor's kernels sum (2.4e-7 seen), and its detail output is exactly zero.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def widen_conv_weight(weight: Tensor, base_channels: int, detail_channels: int) -> Tensor:
    """[n, C, p, p] -> [n, C + D, p, p], zeros behind the base channels."""
    if weight.ndim != 4 or weight.shape[1] != base_channels:
        raise ValueError(
            f"A patch embedder of shape {list(weight.shape)} does not read {base_channels} base channels: "
            "it is another model's, or widened already."
        )
    return F.pad(weight, (0, 0, 0, 0, 0, detail_channels))


def widen_head_rows(rows: Tensor, base_channels: int, detail_channels: int) -> Tensor:
    """Weight [p * p * C, n] or bias [p * p * C] of a head -> p * p * (C + D) rows, the new ones zero."""
    if rows.shape[0] % base_channels:
        raise ValueError(
            f"{rows.shape[0]} rows are no whole number of patch positions of {base_channels} base channels: "
            "this layer is another model's, or widened already."
        )
    positions = rows.shape[0] // base_channels
    return join_head_rows(
        rows, rows.new_zeros(positions * detail_channels, *rows.shape[1:]), positions
    )


def join_head_rows(base: Tensor, detail: Tensor, positions: int) -> Tensor:
    """Rows [k * C, ...] and [k * D, ...] of two heads -> [k * (C + D), ...], base first at each of k patch positions.

    Raises ValueError when the rows are no whole number of positions.
    """
    if positions < 1 or len(base) % positions or len(detail) % positions:
        raise ValueError(
            f"heads of {len(base)} and {len(detail)} rows do not share {positions} patch positions"
        )
    parts = [rearrange(part, "(k c) ... -> k c ...", k=positions) for part in (base, detail)]
    return rearrange(torch.cat(parts, dim=1), "k c ... -> (k c) ...")
