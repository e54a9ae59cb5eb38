"""A whole transformer, widened: three edge tensors replaced, every other one handed through untouched.

Tensors go by Stability's names. Storage types are kept, so float8 stays float8 and memory-mapped weights stay mapped.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..latents import LatentLayout
from .warm_start import widen_conv_weight, widen_head_rows

Widen = Callable[[Tensor, int, int], Tensor]
EMBEDDER, HEAD, HEAD_BIAS = (
    "x_embedder.proj.weight",
    "final_layer.linear.weight",
    "final_layer.linear.bias",
)
_SCALES = (".scale_weight", ".weight_scale", ".weight_scale_2")
_EDGE_LAYERS = ("x_embedder.proj", "final_layer.linear")


def is_widened(tensors: Mapping[str, Tensor], layout: LatentLayout) -> bool:
    """Whether the patch embedder reads base and detail channels already."""
    return tensors[EMBEDDER].shape[1:2] == (layout.channels,)


def widen_model(tensors: Mapping[str, Tensor], layout: LatentLayout) -> dict[str, Tensor]:
    """The transformer for `layout`, its new weights zero (docs/method.md, "Stage 2").

    Raises ValueError when its edges are another model's, widened already, or quantised in blocks, where zeros cannot be
    put beside the old weights.
    """
    _refuse_block_scales(tensors)
    base, detail = layout.base_channels, layout.detail_channels
    head = tensors[HEAD]
    if head.shape[0] != base * tensors[EMBEDDER].shape[-1] ** 2:
        raise ValueError(
            f"its output head has {head.shape[0]} rows, which do not make {base} base channels"
        )
    return {
        **tensors,
        EMBEDDER: _keeping_type(tensors[EMBEDDER], widen_conv_weight, base, detail),
        HEAD: _keeping_type(head, widen_head_rows, base, detail),
        HEAD_BIAS: _keeping_type(tensors[HEAD_BIAS], widen_head_rows, base, detail),
    }


def _keeping_type(tensor: Tensor, widen: Widen, base: int, detail: int) -> Tensor:
    """Float8 tensors cannot be concatenated; their bytes can, and the byte 0 is the number 0."""
    if tensor.element_size() > 1:
        return widen(tensor, base, detail)
    return widen(tensor.view(torch.uint8), base, detail).view(tensor.dtype)


def _refuse_block_scales(tensors: Mapping[str, Tensor]) -> None:
    """One scale for a whole tensor fits the wider tensor too; one per block does not."""
    for layer in _EDGE_LAYERS:
        for ending in _SCALES:
            scale = tensors.get(layer + ending)
            if scale is not None and scale.numel() > 1:
                raise ValueError(f"its layer {layer} is quantised in blocks")
