"""Widen a pretrained transformer by detail channels so that nothing changes at first (paper Eq. 12-13).

The patch embedder gets input channels and the output head output channels, all zero, each as one fused layer with the
base channels first (docs/method.md, "Stage 2"). Before training the widened network's base output is the untouched
network's, up to the order in which a processor's kernels sum (2.4e-7 seen), and its detail output is exactly zero.
"""

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

Layer = TypeVar("Layer", bound=nn.Module)


def widen_patch_embedder(layer: nn.Module, base_channels: int, detail_channels: int) -> nn.Module:
    """A patch embedder for base + detail channels that gives what `layer` gave, whatever the detail.

    A Conv2d [n, C, p, p] becomes [n, C + D, p, p]; a Linear on flattened patches [n, p * p * C], each position's
    channels together, becomes [n, p * p * (C + D)]. Raises ValueError when `layer` does not read `base_channels`.
    """
    if isinstance(layer, nn.Conv2d):
        weight = widen_conv_weight(layer.weight, base_channels, detail_channels)
        wide: nn.Module = nn.Conv2d(
            weight.shape[1],
            weight.shape[0],
            kernel_size=weight.shape[-1],
            stride=layer.stride,  # type: ignore[arg-type]
            padding=layer.padding,  # type: ignore[arg-type]
            bias=layer.bias is not None,
            device="meta",
        )
    elif isinstance(layer, nn.Linear):
        weight = widen_patch_weight(layer.weight, base_channels, detail_channels)
        wide = nn.Linear(weight.shape[1], weight.shape[0], layer.bias is not None, device="meta")
    else:
        raise ValueError(
            f"A patch embedder is a Conv2d or a Linear on patches, not a {type(layer).__name__}."
        )
    return _filled(wide, weight, layer.bias)


def widen_head(layer: nn.Linear, base_channels: int, detail_channels: int) -> nn.Linear:
    """An output head whose patches hold base + detail channels per position; the new rows are zero.

    The rows p * p * C become p * p * (C + D): row k * C + c moves to k * (C + D) + c. Raises ValueError when the rows
    of `layer` are no multiple of `base_channels`.
    """
    weight = widen_head_rows(layer.weight, base_channels, detail_channels)
    bias = None
    if layer.bias is not None:
        bias = widen_head_rows(layer.bias, base_channels, detail_channels)
    wide = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    return _filled(wide, weight, bias)


def widen_conv_weight(weight: Tensor, base_channels: int, detail_channels: int) -> Tensor:
    """[n, C, p, p] -> [n, C + D, p, p], zeros behind the base channels."""
    if weight.ndim != 4 or weight.shape[1] != base_channels:
        raise ValueError(
            f"A patch embedder of shape {list(weight.shape)} does not read {base_channels} base channels: "
            "it is another model's, or widened already."
        )
    shape = (weight.shape[0], detail_channels, *weight.shape[2:])
    return torch.cat([weight, weight.new_zeros(shape)], dim=1)


def widen_patch_weight(weight: Tensor, base_channels: int, detail_channels: int) -> Tensor:
    """[n, p * p * C] -> [n, p * p * (C + D)], zeros behind each position's base channels."""
    return widen_head_rows(weight.t(), base_channels, detail_channels).t().contiguous()


def widen_head_rows(rows: Tensor, base_channels: int, detail_channels: int) -> Tensor:
    """Weight [p * p * C, n] or bias [p * p * C] of a head -> p * p * (C + D) rows, the new ones zero."""
    if rows.shape[0] % base_channels:
        raise ValueError(
            f"{rows.shape[0]} rows are no whole number of patch positions of {base_channels} base channels: "
            "this layer is another model's, or widened already."
        )
    positions = rows.unflatten(0, (-1, base_channels))  # type: ignore[no-untyped-call]
    zeros = positions.new_zeros((positions.shape[0], detail_channels, *positions.shape[2:]))
    widened: Tensor = torch.cat([positions, zeros], dim=1).flatten(0, 1)
    return widened


def detail_weight(step: int, ramp_steps: int, end: float = 1.0) -> float:
    """w(n): the detail's weight in the loss, from 0 at step 0 along half a cosine to `end` at `ramp_steps` and after.

    Raises ValueError unless `ramp_steps` is positive.
    """
    if ramp_steps < 1:
        raise ValueError(
            f"The detail weight needs at least one step to rise over, not {ramp_steps}."
        )
    return end * 0.5 * (1.0 - math.cos(math.pi * min(step, ramp_steps) / ramp_steps))


def _filled(wide: Layer, weight: Tensor, bias: Tensor | None) -> Layer:
    tensors = {"weight": weight.detach().clone()}
    if bias is not None:
        tensors["bias"] = bias.detach().clone()
    wide.load_state_dict(tensors, assign=True)
    return wide
