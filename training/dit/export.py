"""The result of stage 2 as files: an adapter, a LoRA, a merged model or a plain transformer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from davae_core.latents import LatentLayout
from davae_core.transformer.adapter import PREFIX, Adapter, widened_edges
from davae_core.transformer.description import Advice, Mode
from davae_core.transformer.names import EDGES, EMBEDDER, HEAD, diffusers_to_stability

from .edges import fused_edges
from .transformer import LORA_PARTS

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_PART = "transformer."


def adapter_of(
    weights: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    layout: LatentLayout,
    scale: float,
    advice: Advice,
    parents: dict[str, str],
    dtype: torch.dtype,
    mode: Mode = "joint",
) -> Adapter:
    """An adapter of the denoiser's trained weights (all of the edges and the LoRA).

    `base`: the transformer it was trained on, under Stability's names; `scale`: the LoRA's alpha / rank, which goes
    into B; `mode`: what it draws. The LoRA is stored in `dtype`, the edges' differences in float32.
    """
    own = _without_part(weights)
    fused, wide = fused_edges(own), widened_edges(base, layout)
    lora = _lora(own, scale, dtype)
    edges = {name: fused[name] - wide[name] for name in EDGES}
    return Adapter(layout, lora, edges, advice, parents, mode)


def lora_file(weights: Mapping[str, Tensor], scale: float, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a LoRA of the plain transformer, in the key names that ComfyUI's LoRA loaders read.

    `weights` and `scale` are as in `adapter_of`.
    """
    found = _lora(_without_part(weights), scale, dtype)
    return {PREFIX + name: tensor.contiguous() for name, tensor in found.items()}


def _without_part(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(_PART): tensor.detach().cpu() for name, tensor in weights.items()}


def _lora(own: Mapping[str, Tensor], scale: float, dtype: torch.dtype) -> dict[str, Tensor]:
    """The LoRA's parts among the weights, A and scaled B, in `dtype`."""
    found = {}
    for name, tensor in own.items():
        if name.endswith(LORA_PARTS):
            scaled = tensor.float() * (scale if "lora_B" in name else 1.0)
            found[name.replace(".default.weight", ".weight")] = scaled.to(dtype)
    return found


def whole_transformer(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Every weight of a fully trained denoiser under Stability's names, edges fused."""
    own = {
        name.removeprefix(_PART): tensor.detach().cpu().float() for name, tensor in weights.items()
    }
    if any(name.startswith(f"{EMBEDDER}.base.") for name in own):
        fused = fused_edges(own)
        edges = (f"{EMBEDDER}.", f"{HEAD}.")
        own = {name: t for name, t in own.items() if not name.startswith(edges)} | fused
    return {
        name: tensor.to(dtype).contiguous() for name, tensor in diffusers_to_stability(own).items()
    }
