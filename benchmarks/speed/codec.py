"""Decode and encode at Stable Diffusion 3's size: ours and ComfyUI's stock VAE, counted and timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from davae_core.codec.autoencoder import DetailAlignedVAE
from davae_core.presets import PRESETS

from .comfyui import stock_halves
from .counts import Count, counted

Ways = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Both:
    """Ours and the stock VAE's halves, on one device in one type."""

    ours: DetailAlignedVAE
    encoder: nn.Module
    decoder: nn.Module

    def decodes(self, pixels: int) -> Ways:
        """A picture of `pixels` a side from its latent, by ours and by the stock decoder."""
        base, latent = self._zeros(16, pixels // 16), self._zeros(16, pixels // 8)
        detail = torch.zeros_like(base)
        return {
            "ours": lambda: self.ours.decode_joint(base, detail),
            "stock": lambda: self.decoder(latent),
        }

    def encodes(self, pixels: int) -> Ways:
        """A latent from a picture of `pixels` a side."""
        picture = self._zeros(3, pixels)
        return {
            "ours": lambda: self.ours.encode_moments(picture),
            "stock": lambda: self.encoder(picture),
        }

    def _zeros(self, channels: int, side: int) -> Tensor:
        like = next(self.decoder.parameters())
        return torch.zeros(1, channels, side, side, device=like.device, dtype=like.dtype)


def both(device: str, dtype: torch.dtype) -> Both:
    """With random weights; `device` may be meta."""
    torch.manual_seed(0)
    with torch.device(device):
        encoder, decoder = stock_halves(on_cpu=not torch.cuda.is_available())
        ours = DetailAlignedVAE(PRESETS["sd3"])
    parts = (part.to(dtype).eval().requires_grad_(False) for part in (ours, encoder, decoder))
    ours, encoder, decoder = parts  # type: ignore[assignment]
    return Both(ours, encoder, decoder)


def counts(sides: tuple[int, ...]) -> dict[str, dict[int, dict[str, Count]]]:
    """In bfloat16, by half and by side of the picture."""
    halves = both("meta", torch.bfloat16)
    return {
        name: {side: {who: counted(run) for who, run in ways(side).items()} for side in sides}
        for name, ways in (("decode", halves.decodes), ("encode", halves.encodes))
    }
