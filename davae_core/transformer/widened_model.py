"""A whole transformer, widened: three edge tensors replaced, every other one handed through untouched.

Tensors go by Stability's names. Storage types are kept, so float8 stays float8 and memory-mapped weights stay mapped.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..latents import LatentLayout
from .names import EMBEDDER_WEIGHT, HEAD_BIAS, HEAD_WEIGHT, SCALES
from .warm_start import widen_conv_weight, widen_head_rows

Widen = Callable[[Tensor, int, int], Tensor]


def is_widened(tensors: Mapping[str, Tensor], layout: LatentLayout) -> bool:
    """Whether the patch embedder reads base and detail channels already."""
    return tensors[EMBEDDER_WEIGHT].shape[1:2] == (layout.channels,)


def widen_model(tensors: Mapping[str, Tensor], layout: LatentLayout) -> dict[str, Tensor]:
    """The transformer for `layout`, its new weights zero (docs/method.md, "Stage 2").

    Raises ValueError when its edges are another model's, widened already, or quantised in blocks, where zeros cannot be
    put beside the old weights.
    """
    _refuse_block_scales(tensors)
    base, detail = layout.base_channels, layout.detail_channels
    embedder, head = tensors[EMBEDDER_WEIGHT], tensors[HEAD_WEIGHT]
    if head.shape[0] != base * embedder.shape[-1] ** 2:
        raise ValueError(
            f"an output head of {head.shape[0]} rows does not make {base} base channels, so it is another model's or "
            "widened already"
        )
    return {
        **tensors,
        EMBEDDER_WEIGHT: _keeping_type(embedder, widen_conv_weight, base, detail),
        HEAD_WEIGHT: _keeping_type(head, widen_head_rows, base, detail),
        HEAD_BIAS: _keeping_type(tensors[HEAD_BIAS], widen_head_rows, base, detail),
    }


def _keeping_type(tensor: Tensor, widen: Widen, base: int, detail: int) -> Tensor:
    """Float8 tensors cannot be concatenated; their bytes can, and the byte 0 is the number 0."""
    if tensor.element_size() > 1:
        return widen(tensor, base, detail)
    return widen(tensor.view(torch.uint8), base, detail).view(tensor.dtype)


def _refuse_block_scales(tensors: Mapping[str, Tensor]) -> None:
    """One scale for a whole tensor fits the wider tensor too; one per block does not."""
    for layer in (name.removesuffix(".weight") for name in (EMBEDDER_WEIGHT, HEAD_WEIGHT)):
        for ending in SCALES:
            scale = tensors.get(layer + ending)
            if scale is not None and scale.numel() > 1:
                raise ValueError(f"its layer {layer} is quantised in blocks")
