"""A transformer as the trainer builds it, its trained parts at random instead of trained, and the adapter of it."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from davae_core.latents import LatentLayout
from davae_core.transformer.adapter import Adapter
from davae_core.transformer.description import Advice
from davae_core.transformer.fingerprint import base_fingerprint
from training.dit.config import DitModelConfig, LoraConfig
from training.dit.denoiser import Denoiser
from training.dit.export import adapter_of
from training.dit.transformer import build_transformer

LORA = LoraConfig(rank=4, alpha=8)
CHANGE = 0.1
"""As large as a weight of the small bases that the tests use."""


def random_adapter(
    base: Mapping[str, Tensor], layout: LatentLayout, targets: str
) -> tuple[nn.Module, Adapter]:
    """The trainer's own model of a base (Stability's names) with LoRA on `targets`, and its adapter in float32."""
    lora = LoraConfig(LORA.rank, LORA.alpha, (targets,))
    config = DitModelConfig(base="base.safetensors", vae="davae.safetensors", lora=lora)
    with torch.random.fork_rng():
        torch.manual_seed(6)
        model = build_transformer(config, base, layout.base_channels, layout.detail_channels)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * CHANGE)
    model.eval()
    adapter = adapter_of(
        Denoiser(model).state_dict(),
        base,
        layout,
        LORA.alpha / LORA.rank,
        Advice(),
        {"base": base_fingerprint(base)},
        torch.float32,
    )
    return model, adapter
