"""Random weights of Stable Diffusion 3.5 Medium's size, with a codec and an adapter for them.

Only the sizes are real. The transformer has Stability's names and prefix, bfloat16, and is written tensor by tensor, so
that making it takes the memory of its largest tensor.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import SD3Transformer2DModel
from safetensors import safe_open
from torch import Tensor, nn

from davae_core.codec.autoencoder import DetailAlignedVAE
from davae_core.codec.files import save_codec
from davae_core.files import stream_safetensors
from davae_core.presets import SD3
from davae_core.transformer.adapter import Adapter, widened_edges, write_adapter
from davae_core.transformer.fingerprint import base_fingerprint
from davae_core.transformer.names import EDGES, diffusers_to_stability

BASE, ADAPTER, CODEC = "base.safetensors", "adapter.safetensors", "codec.safetensors"
PREFIX = "model.diffusion_model."
WIDTH, BLOCKS, DUAL_BLOCKS, POSITIONS = 1536, 24, 13, 384
RANK = 256
LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.2", "norm1.linear")
"""What the published stage 2 trains by LoRA: these layers of the picture's stream, no other's."""
TRAINABLE = 245_369_984
"""Numbers the published stage 2 trains. It has two patch embedders, base and detail, each with a bias [WIDTH]; fused
they have one, so an adapter holds WIDTH numbers less."""


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
        return SD3Transformer2DModel(
            num_layers=BLOCKS,
            attention_head_dim=64,
            num_attention_heads=WIDTH // 64,
            caption_projection_dim=WIDTH,
            pooled_projection_dim=2048,
            joint_attention_dim=4096,
            pos_embed_max_size=1,
            dual_attention_layers=tuple(range(DUAL_BLOCKS)),
            qk_norm="rms_norm",
        )


def base_shapes(transformer: nn.Module) -> dict[str, tuple[int, ...]]:
    """Every tensor of the file under Stability's names, the table of positions at its real size."""
    tensors = diffusers_to_stability(transformer.state_dict())
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    shapes["pos_embed"] = (1, POSITIONS**2, WIDTH)
    return {PREFIX + name: shape for name, shape in shapes.items()}


def lora_layers(transformer: nn.Module) -> dict[str, nn.Linear]:
    """The layers that the published stage 2 trains by LoRA, under diffusers' names."""
    return {
        name: layer
        for name, layer in transformer.named_modules()
        if isinstance(layer, nn.Linear) and name.endswith(tuple(f".{end}" for end in LORA_TARGETS))
    }


def random_adapter(transformer: nn.Module, base: Path) -> Adapter:
    """An adapter of the published size for the file `base`; its LoRA is bfloat16 as the published one is."""
    with safe_open(base, framework="pt") as file:
        edges = {name: file.get_tensor(PREFIX + name) for name in EDGES.values()}
    lora = {}
    for name, layer in lora_layers(transformer).items():
        down, up = (RANK, layer.in_features), (layer.out_features, RANK)
        lora[f"{name}.lora_A.weight"] = normal(down, RANK**-0.5)
        lora[f"{name}.lora_B.weight"] = normal(up, 0.001)
    differences = {
        name: normal(tuple(edge.shape), 0.01).float()
        for name, edge in widened_edges(edges, SD3.layout).items()
    }
    return Adapter(SD3.layout, lora, differences, parents={"base": base_fingerprint(edges)})


def trainable_numbers(adapter: Adapter) -> int:
    """How many numbers the adapter holds."""
    return sum(tensor.numel() for part in (adapter.lora, adapter.edges) for tensor in part.values())


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
