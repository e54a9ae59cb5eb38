"""Tiny ControlNets with random weights for the tiny model, in the two layouts that SD3's and SD3.5's come in."""

from pathlib import Path

import torch
from diffusers import SD3ControlNetModel
from safetensors.torch import save_file
from torch import Tensor

from .tiny_models import CONTEXT, POOLED, POSITIONS, WIDTH

DIFFUSERS = "tiny_diffusers.safetensors"
WIDE = "wide_diffusers.safetensors"
STABILITY = "tiny_stability.safetensors"
STABILITY_DOUBLE = "tiny_stability_double.safetensors"
SD35_POOLED = 2048


def write_controlnets(folder: Path) -> None:
    """Fill models/controlnet."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(9)
    save_file(diffusers_controlnet(WIDTH), folder / DIFFUSERS)
    save_file(diffusers_controlnet(WIDTH + 64), folder / WIDE)
    save_file(stability_controlnet(double=False), folder / STABILITY)
    save_file(stability_controlnet(double=True), folder / STABILITY_DOUBLE)


def diffusers_controlnet(width: int) -> dict[str, Tensor]:
    """One block of that width."""
    net = SD3ControlNetModel(
        num_layers=1,
        num_attention_heads=width // 64,
        joint_attention_dim=CONTEXT,
        caption_projection_dim=width,
        pooled_projection_dim=POOLED,
        pos_embed_max_size=POSITIONS,
    )
    return {name: visible(name, tensor) for name, tensor in net.state_dict().items()}


def visible(name: str, tensor: Tensor) -> Tensor:
    """A ControlNet's last layers start at zero, which would change nothing."""
    return torch.randn_like(tensor) * 0.1 if name.startswith("controlnet_blocks") else tensor


def stability_controlnet(double: bool) -> dict[str, Tensor]:
    """One block under Stability's names. `double`: it has a patch embedder and borrows the model's pooled embedder."""
    pooled = WIDTH if double else SD35_POOLED
    layers = {
        "t_embedder.mlp.0": (WIDTH, 256),
        "t_embedder.mlp.2": (WIDTH, WIDTH),
        "y_embedder.mlp.0": (WIDTH, pooled),
        "y_embedder.mlp.2": (WIDTH, WIDTH),
        "transformer_blocks.0.attn.qkv": (3 * WIDTH, WIDTH),
        "transformer_blocks.0.attn.proj": (WIDTH, WIDTH),
        "transformer_blocks.0.mlp.fc1": (4 * WIDTH, WIDTH),
        "transformer_blocks.0.mlp.fc2": (WIDTH, 4 * WIDTH),
        "transformer_blocks.0.adaLN_modulation.1": (6 * WIDTH, WIDTH),
        "controlnet_blocks.0": (WIDTH, WIDTH),
        "pos_embed_input.proj": (WIDTH, 16, 2, 2),
    }
    if double:
        layers["x_embedder.proj"] = (WIDTH, 16, 2, 2)
    weights = {f"{name}.weight": 0.1 * torch.randn(shape) for name, shape in layers.items()}
    biases = {f"{name}.bias": 0.1 * torch.randn(shape[0]) for name, shape in layers.items()}
    return weights | biases
