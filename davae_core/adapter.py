"""The adapter: what turns a pretrained transformer into one that draws with detail channels.

One safetensors file in stock LoRA key names (docs/method.md, "Adapters"): a LoRA, and the difference of the patch
embedder and the output head from the zero-widened base. It applies to a widened model only.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoints import FORMAT_VERSION, read_metadata, what_is, write_described
from .files import CheckpointError, read_safetensors, tensor_hash
from .latents import LatentLayout
from .transformer_names import count_blocks, place_of, swap_halves
from .warm_start import widen_conv_weight, widen_head_rows

KIND_ADAPTER, KIND_MERGED = "adapter", "merged"
PREFIX = "transformer."
EDGES = {
    "pos_embed.proj.weight": ("pos_embed.proj.diff", "x_embedder.proj.weight"),
    "pos_embed.proj.bias": ("pos_embed.proj.diff_b", "x_embedder.proj.bias"),
    "proj_out.weight": ("proj_out.diff", "final_layer.linear.weight"),
    "proj_out.bias": ("proj_out.diff_b", "final_layer.linear.bias"),
}
"""Edge tensors under diffusers' names: the adapter's key (behind PREFIX) and Stability's name."""


@dataclass(frozen=True)
class Advice:
    """How to sample the adapted model: shift of the schedule, guidance, steps; the sides in px it was trained at."""

    shift: float = 4.0
    guidance: float = 2.5
    steps: int = 30
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Adapter:
    """A LoRA and the edge layers' differences.

    `lora`: `<diffusers layer>.lora_A.weight` [r, in] and `.lora_B.weight` [out, r] (scale alpha / r already in B).
    `edges`: the keys of EDGES, each minus the zero-widened base, base channels first.
    `parents`: hashes by role, `base` (see `base_hash`) and, where known, `vae`.
    """

    layout: LatentLayout
    lora: dict[str, Tensor]
    edges: dict[str, Tensor]
    advice: Advice = Advice()
    parents: dict[str, str] = field(default_factory=dict)


def base_hash(base: Mapping[str, Tensor]) -> str:
    """What an adapter remembers of its base (Stability names): SHA-256 of the four edge tensors in bfloat16.

    So the same weights hash equally in float32, float16 and bfloat16 files, and the 5 GB in between need no reading.
    """
    return tensor_hash({name: base[name].to(torch.bfloat16) for _, name in EDGES.values()})


def widened_edges(base: Mapping[str, Tensor], layout: LatentLayout) -> dict[str, Tensor]:
    """The zero-widened edge tensors of a base (Stability names), under the keys of EDGES, float32.

    Raises ValueError when the base does not have the layout's base channels.
    """
    channels, detail = layout.base_channels, layout.detail_channels
    patch, head = base["x_embedder.proj.weight"], base["final_layer.linear.weight"]
    bias = base["final_layer.linear.bias"]
    if head.shape[0] != channels * patch.shape[-1] ** 2:
        raise ValueError(
            f"An output head of {head.shape[0]} rows does not make {channels} base channels: "
            "it is another model's, or widened already."
        )
    return {
        "pos_embed.proj.weight": widen_conv_weight(patch.float(), channels, detail),
        "pos_embed.proj.bias": base["x_embedder.proj.bias"].float(),
        "proj_out.weight": widen_head_rows(head.float(), channels, detail),
        "proj_out.bias": widen_head_rows(bias.float(), channels, detail),
    }


def write_adapter(path: str | Path, adapter: Adapter) -> None:
    """Write an adapter file. Raises CheckpointError when it cannot."""
    tensors = {PREFIX + name: tensor for name, tensor in adapter.lora.items()}
    tensors |= {PREFIX + EDGES[name][0]: tensor for name, tensor in adapter.edges.items()}
    described = {
        "kind": KIND_ADAPTER,
        "format_version": FORMAT_VERSION,
        "layout": asdict(adapter.layout),
        "advice": asdict(adapter.advice),
        "parents": adapter.parents,
    }
    write_described(path, tensors, described)


def read_adapter(path: str | Path) -> Adapter:
    """Read an adapter file. Raises CheckpointError for anything else, saying what it is."""
    tensors, metadata = read_safetensors(path)
    described = read_metadata(path, metadata)
    if described.get("kind") != KIND_ADAPTER:
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        raise CheckpointError(
            f"{path} is {what_is(shapes, described)}, not a DA-VAE adapter: pick an adapter (models/loras)."
        )
    try:
        edges = {name: tensors.pop(PREFIX + EDGES[name][0]) for name in EDGES}
        layout = LatentLayout(**described["layout"])
        advice = _advice(described["advice"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no whole DA-VAE adapter ({error} is missing or damaged): download or write it again."
        ) from error
    lora = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    return Adapter(layout, lora, edges, advice, dict(described.get("parents", {})))


def _advice(values: Mapping[str, Any]) -> Advice:
    return Advice(**{**values, "sizes": tuple(values["sizes"])})


def merge(
    base: Mapping[str, Tensor], adapter: Adapter, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """The widened model with the adapter in it, under Stability's names.

    `base` is under Stability's names too; each changed tensor is computed in float32 and cast to `dtype`, None to the
    base's own. Raises ValueError when the adapter does not fit the base.
    """
    merged = {name: tensor if dtype is None else tensor.to(dtype) for name, tensor in base.items()}
    for name, wide in widened_edges(base, adapter.layout).items():
        target = EDGES[name][1]
        if wide.shape != adapter.edges[name].shape:
            raise ValueError(
                f"the adapter's {name} has shape {list(adapter.edges[name].shape)}, "
                f"the widened base's {list(wide.shape)}"
            )
        merged[target] = (wide + adapter.edges[name].float()).to(merged[target].dtype)
    for target, delta in _lora_deltas(adapter.lora, base).items():
        merged[target] = (base[target].float() + delta).to(merged[target].dtype)
    return merged


def _lora_deltas(lora: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Float32 deltas of whole Stability tensors, thirds of fused layers in their place."""
    blocks = count_blocks(base)
    deltas: dict[str, Tensor] = {}
    for name, down in lora.items():
        layer = name.removesuffix(".lora_A.weight")
        if layer == name:
            continue
        place = place_of(layer, blocks)
        target = "" if place is None else f"{place.layer}.weight"
        if place is None or target not in base:
            raise ValueError(f"the adapter changes {layer}, which this base does not have")
        delta = lora[f"{layer}.lora_B.weight"].float() @ down.float()
        delta = swap_halves(delta) if place.swapped else delta
        whole = deltas.setdefault(target, torch.zeros(base[target].shape))
        rows = whole if place.part is None else whole.chunk(3)[place.part]
        if rows.shape != delta.shape:
            raise ValueError(
                f"the adapter's {layer} has shape {list(delta.shape)}, this base's {list(rows.shape)}"
            )
        rows.add_(delta)
    return deltas
