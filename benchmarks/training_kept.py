"""What a step of stage 2 keeps for its backward pass, counted on tensors without memory.

PyTorch stores attention's inputs and result where it has a fused kernel, as on a GPU. Without memory it counts the
whole table of attention, so attention is put in its place here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from davae_core.latents import LatentLayout
from training.dit.config import DitModelConfig
from training.dit.denoiser import Denoiser
from training.dit.transformer import build_transformer, new_sizes, recompute_blocks


def kept_bytes(
    model: DitModelConfig, layout: LatentLayout, side: int, words: int, recomputed: int = 0
) -> int:
    """Bytes kept in bfloat16 for one square picture of `side` pixels and a text of `words` tokens, without weights."""
    sizes = new_sizes(model, layout.base_channels)
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.device("meta"):
        transformer = build_transformer(
            model, None, layout.base_channels, layout.detail_channels, sizes
        ).bfloat16()
        recompute_blocks(transformer, recomputed)
        cells = side // layout.factor
        latents = torch.empty(1, layout.channels, cells, cells, dtype=torch.bfloat16)
        context = torch.empty(1, words, sizes.context_width, dtype=torch.bfloat16)
        pooled = torch.empty(1, sizes.pooled_width, dtype=torch.bfloat16)
        with (
            _fused_attention(),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda found: found),
        ):
            Denoiser(transformer)(latents, torch.empty(1, dtype=torch.bfloat16), context, pooled)
    weights = {
        held.untyped_storage()._cdata
        for held in (*transformer.parameters(), *transformer.buffers())
    }
    return sum(held.untyped_storage().nbytes() for key, held in kept.items() if key not in weights)


class _Attention(torch.autograd.Function):
    """Attention that keeps what a fused kernel keeps."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        found = torch.empty_like(queries)
        ctx.save_for_backward(queries, keys, values, found)
        return found


@contextmanager
def _fused_attention() -> Iterator[None]:
    before = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = lambda q, k, v, *_, **__: _Attention.apply(q, k, v)
    try:
        yield
    finally:
        F.scaled_dot_product_attention = before
