"""Stable Diffusion 3.5 Medium's transformer as ComfyUI runs it: the stock one, and ours of a quarter of the tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from davae_core.flow import shifted_sigmas
from davae_core.presets import SD3
from davae_core.transformer.presets import SD35_MEDIUM, UNTRAINED

from .comfyui import stock_transformer
from .scale import Scale

GUIDANCE = 2.5
"""Above 1, so that every step runs the transformer on two texts, in one batch as ComfyUI does where memory allows."""
LATENTS = {
    "ours": (SD3.layout.channels, SD3.layout.factor),
    "stock": (SD3.layout.base_channels, SD3.layout.base_factor),
}
"""Channels, and pixels of a cell, of the latents that each draws."""
_TIMESTEPS = 1000.0


@dataclass(frozen=True)
class Drawing:
    """A transformer and the pixels of a cell of the latents it draws."""

    transformer: nn.Module
    channels: int
    factor: int
    scale: Scale

    def drawn(self, side: int, batch: int, steps: int, guided: bool = True) -> Callable[[], Tensor]:
        """What draws latents [batch, channels, side / factor, side / factor] in so many Euler steps."""
        cells, texts = side // self.factor, 2 if guided else 1
        like = {"device": self.scale.device, "dtype": self.scale.dtype}
        noise = torch.randn(batch, self.channels, cells, cells, **like)
        context = torch.randn(texts * batch, self.scale.words, SD35_MEDIUM.context_width, **like)
        pooled = torch.randn(texts * batch, SD35_MEDIUM.pooled_width, **like)
        levels = shifted_sigmas(steps, UNTRAINED.shift).tolist()

        def draw() -> Tensor:
            latents = noise
            for level, following in pairwise(levels):
                times = torch.full((texts * batch,), level * _TIMESTEPS, **like)
                made = self.transformer(torch.cat([latents] * texts), times, pooled, context)
                # Without guidance the last is the first.
                wanted, empty = made[:batch], made[-batch:]
                latents = latents + (following - level) * torch.lerp(empty, wanted, GUIDANCE)
            return latents

        return draw


def drawings(scale: Scale) -> dict[str, Drawing]:
    """Ours and the stock one, with random weights."""
    return {
        who: Drawing(_random(channels, scale), channels, factor, scale)
        for who, (channels, factor) in LATENTS.items()
    }


def random_weights(transformer: nn.Module) -> None:
    """Fill it, in place, with values under which a deep transformer stays finite."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in transformer.state_dict().items():
            if name.endswith(("ln_q.weight", "ln_k.weight")):
                tensor.fill_(1.0)
            elif tensor.ndim > 1:
                tensor.normal_(std=0.5 * tensor[0].numel() ** -0.5)
            else:
                tensor.zero_()


def _random(channels: int, scale: Scale) -> nn.Module:
    built = stock_transformer(channels, scale.blocks, scale.dtype, scale.device)
    random_weights(built)
    return built.eval().requires_grad_(False)
