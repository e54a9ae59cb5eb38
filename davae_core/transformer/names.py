"""Names of SD3's transformer: diffusers' to the Stability single-file names, and where a LoRA's delta belongs.

Stability's file fuses q, k and v into one matrix and keeps the picture's and the text's half of a block apart
(`x_block`, `context_block`); diffusers swaps shift and scale in the two-part modulations (docs/method.md, "Adapters").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..format import numbers_in
from ..reading.plain_text import plain

if TYPE_CHECKING:
    from torch import Tensor

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
"""Endings of a LoRA's two matrices, behind diffusers' name of the layer."""
EMBEDDER, HEAD = "pos_embed.proj", "proj_out"
"""The edge layers under diffusers' names, the only ones a widening replaces: the patch embedder and the output head."""
_OUTSIDE = {
    "pos_embed.pos_embed": "pos_embed",
    EMBEDDER: "x_embedder.proj",
    "context_embedder": "context_embedder",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    HEAD: "final_layer.linear",
}
EDGES = {
    f"{layer}.{kind}": f"{_OUTSIDE[layer]}.{kind}"
    for layer in (EMBEDDER, HEAD)
    for kind in ("weight", "bias")
}
"""The edge layers' tensors: Stability's name of each under diffusers'."""
EMBEDDER_WEIGHT, _, HEAD_WEIGHT, HEAD_BIAS = EDGES.values()
SCALES = (".scale_weight", ".weight_scale", ".weight_scale_2")
"""Endings, behind the layer's name, of the tensors that hold a quantised layer's scales."""
QUANTISED = (*SCALES, ".comfy_quant", ".absmax", ".quant_map")
"""Endings of the names that only quantised storage has."""
_IN_BLOCK = {
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
    "attn2.to_out.0": "x_block.attn2.proj",
    "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}
_FUSED = {
    "attn.to_q": ("x_block.attn.qkv", 0),
    "attn.to_k": ("x_block.attn.qkv", 1),
    "attn.to_v": ("x_block.attn.qkv", 2),
    "attn.add_q_proj": ("context_block.attn.qkv", 0),
    "attn.add_k_proj": ("context_block.attn.qkv", 1),
    "attn.add_v_proj": ("context_block.attn.qkv", 2),
    "attn2.to_q": ("x_block.attn2.qkv", 0),
    "attn2.to_k": ("x_block.attn2.qkv", 1),
    "attn2.to_v": ("x_block.attn2.qkv", 2),
}
_BLOCK = re.compile(r"^transformer_blocks\.(\d+)\.(.+)$")


@dataclass(frozen=True)
class Place:
    """A layer under its Stability name; `part` is the third of a fused q-k-v layer it is, None for a whole one.

    `swapped`: diffusers keeps (scale, shift) where Stability keeps (shift, scale).
    """

    layer: str
    part: int | None = None
    swapped: bool = False


def place_of(layer: str, blocks: int) -> Place | None:
    """Where diffusers' layer (its name without .weight or .bias) stands in Stability's file; None when unknown.

    `blocks` is the number of blocks: the text's half of the last one ends in a two-part modulation.
    """
    if layer in _OUTSIDE:
        return Place(_OUTSIDE[layer], swapped=layer == "norm_out.linear")
    found = _BLOCK.match(layer)
    if found is None:
        return None
    number, inner = int(found[1]), found[2]
    prefix = f"joint_blocks.{number}."
    if inner in _FUSED:
        fused, part = _FUSED[inner]
        return Place(prefix + fused, part)
    if inner in _IN_BLOCK:
        swapped = inner == "norm1_context.linear" and number == blocks - 1
        return Place(prefix + _IN_BLOCK[inner], swapped=swapped)
    return None


def count_blocks(names: Mapping[str, object]) -> int:
    """Number of blocks under either naming."""
    return 1 + max(numbers_in(names, r"(?:transformer_blocks|joint_blocks)\.(\d+)\."), default=-1)


def diffusers_to_stability(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A whole SD3 transformer under Stability's names. Raises ValueError for a tensor SD3 does not have."""
    blocks = count_blocks(tensors)
    renamed: dict[str, Tensor] = {}
    thirds: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if name in _OUTSIDE:
            renamed[_OUTSIDE[name]] = tensor
            continue
        place = place_of(layer, blocks)
        if place is None:
            raise ValueError(f"{plain(name)} does not belong to a Stable Diffusion 3 transformer")
        target = f"{place.layer}.{kind}"
        if place.part is not None:
            thirds.setdefault(target, {})[place.part] = tensor
        else:
            renamed[target] = swap_halves(tensor) if place.swapped else tensor
    for target, parts in thirds.items():
        if len(parts) != 3:
            raise ValueError(f"{plain(target)} lacks one of q, k and v")
        renamed[target] = _joined(parts[0], parts[1], parts[2])
    return renamed


def stability_to_diffusers(
    tensors: Mapping[str, Tensor], names: Iterable[str]
) -> dict[str, Tensor]:
    """The tensors that diffusers' model calls `names`, taken from a transformer under Stability's names.

    Raises ValueError for a name that the weights cannot fill.
    """
    blocks = count_blocks(tensors)
    renamed: dict[str, Tensor] = {}
    for name in names:
        layer, _, kind = name.rpartition(".")
        place = place_of(layer, blocks)
        target = _OUTSIDE.get(name, "" if place is None else f"{place.layer}.{kind}")
        if target not in tensors:
            raise ValueError(f"these weights have nothing for {name}")
        tensor = tensors[target]
        if place is not None and place.part is not None:
            tensor = tensor.chunk(3)[place.part]
        swapped = place is not None and place.swapped
        renamed[name] = swap_halves(tensor) if swapped else tensor
    return renamed


def swap_halves(tensor: Tensor) -> Tensor:
    """(scale, shift) rows to (shift, scale) rows, or back."""
    first, second = tensor.chunk(2)
    return _joined(second, first)


def _joined(*parts: Tensor) -> Tensor:
    """Rows behind each other; float8 tensors cannot be concatenated, but their bytes can."""
    import torch

    if all(part.element_size() == 1 and part.dtype == parts[0].dtype for part in parts):
        return torch.cat([part.view(torch.uint8) for part in parts]).view(parts[0].dtype)
    return torch.cat(parts)
