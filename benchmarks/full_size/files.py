"""Random weights of Stable Diffusion 3.5 Medium's size, with a codec and an adapter for them.

Only the sizes are real. The transformer has Stability's names and prefix, bfloat16, and is written tensor by tensor, so
that making it takes the memory of its largest tensor.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from davae_core.codec.autoencoder import DetailAlignedVAE
from davae_core.codec.files import save_codec
from davae_core.files import stream_safetensors
from davae_core.format import shapes_of
from davae_core.presets import SD3
from davae_core.transformer.adapter import DOWN, UP, Adapter, widened_edges, write_adapter
from davae_core.transformer.diffusers_model import diffusers_transformer
from davae_core.transformer.fingerprint import base_fingerprint
from davae_core.transformer.names import EDGES, diffusers_to_stability
from davae_core.transformer.presets import LORA_RANK, LORA_TARGETS, SD35_MEDIUM

BASE, ADAPTER, CODEC = "base.safetensors", "adapter.safetensors", "codec.safetensors"
PREFIX = "model.diffusion_model."


def write_files(folder: Path) -> None:
    """Write those of BASE, ADAPTER and CODEC that `folder` lacks, about 6 GB."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    base, adapter, codec = folder / BASE, folder / ADAPTER, folder / CODEC
    transformer = transformer_without_weights()
    if not base.exists():
        shapes = base_shapes(transformer)
        kinds = {name: (shape, torch.bfloat16) for name, shape in shapes.items()}
        stream_safetensors(base, kinds, lambda name: random_tensor(name, shapes[name]), {})
    if not adapter.exists():
        write_adapter(adapter, random_adapter(transformer, base))
    if not codec.exists():
        save_codec(codec, DetailAlignedVAE(SD3))


def transformer_without_weights() -> nn.Module:
    """diffusers' SD3.5 Medium without memory, and with one position instead of its computed table of them."""
    with torch.device("meta"):
        return diffusers_transformer(replace(SD35_MEDIUM, positions=1))


def base_shapes(transformer: nn.Module) -> dict[str, tuple[int, ...]]:
    """Every tensor of the file under Stability's names, the table of positions at its real size."""
    shapes = shapes_of(diffusers_to_stability(transformer.state_dict()))
    shapes["pos_embed"] = (1, SD35_MEDIUM.positions**2, SD35_MEDIUM.width)
    return {PREFIX + name: shape for name, shape in shapes.items()}


def lora_layers(transformer: nn.Module) -> dict[str, nn.Linear]:
    """The layers that the published stage 2 trains by LoRA, under diffusers' names."""
    ends = tuple(f".{target}" for target in LORA_TARGETS["published"])
    return {
        name: layer
        for name, layer in transformer.named_modules()
        if isinstance(layer, nn.Linear) and name.endswith(ends)
    }


def random_adapter(transformer: nn.Module, base: Path) -> Adapter:
    """An adapter of the published size for the file `base`; its LoRA is bfloat16 as the published one is."""
    with safe_open(base, framework="pt") as file:
        edges = {name: file.get_tensor(PREFIX + name) for name in EDGES.values()}
    lora = {}
    for name, layer in lora_layers(transformer).items():
        lora[name + DOWN] = normal((LORA_RANK, layer.in_features), LORA_RANK**-0.5)
        lora[name + UP] = normal((layer.out_features, LORA_RANK), 0.001)
    differences = {
        name: normal(tuple(edge.shape), 0.01).float()
        for name, edge in widened_edges(edges, SD3.layout).items()
    }
    return Adapter(SD3.layout, lora, differences, parents={"base": base_fingerprint(edges)})


def random_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """Bfloat16 values under which a deep transformer stays finite."""
    if name.endswith(".bias"):
        return torch.zeros(shape, dtype=torch.bfloat16)
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    fan_in = 1 if name.endswith("pos_embed") else torch.Size(shape[1:]).numel()
    return normal(shape, 0.5 * fan_in**-0.5)


def normal(shape: tuple[int, ...], deviation: float) -> Tensor:
    return torch.empty(shape, dtype=torch.bfloat16).normal_(std=deviation)
