"""Decode and encode at Stable Diffusion 3's size: ours and ComfyUI's stock VAE, counted and timed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from davae_core.codec.autoencoder import DetailAlignedVAE
from davae_core.presets import PRESETS

from .case import Case, weight_bytes
from .comfyui import stock_halves
from .counts import Count, counted
from .scale import CHANNELS_LAST, COMPILED, Scale
from .turns import Ways


@dataclass(frozen=True)
class Both:
    """Ours and the stock VAE's halves, on one device in one type."""

    ours: DetailAlignedVAE
    encoder: nn.Module
    decoder: nn.Module

    def decodes(self, pixels: int) -> Ways:
        """A picture of `pixels` a side from its latent, by ours and by the stock decoder."""
        base, latent = self._random(16, pixels // 16), self._random(16, pixels // 8)
        detail = torch.randn_like(base)
        return {
            "ours": lambda: self.ours.decode_joint(base, detail),
            "stock": lambda: self.decoder(latent),
        }

    def encodes(self, pixels: int) -> Ways:
        """A latent from a picture of `pixels` a side."""
        picture = self._random(3, pixels)
        return {
            "ours": lambda: self.ours.encode_moments(picture),
            "stock": lambda: self.encoder(picture),
        }

    def lay_out(self, memory_format: torch.memory_format) -> None:
        """Every kernel, in place; what they make is laid out alike."""
        for part in (self.ours, self.encoder, self.decoder):
            part.to(memory_format=memory_format)

    def _random(self, channels: int, side: int) -> Tensor:
        like = next(self.decoder.parameters())
        return torch.randn(1, channels, side, side, device=like.device, dtype=like.dtype)


def both(device: str, dtype: torch.dtype) -> Both:
    """With random weights; `device` may be meta."""
    torch.manual_seed(0)
    with torch.device(device):
        encoder, decoder = stock_halves()
        ours = DetailAlignedVAE(PRESETS["sd3"])
    parts = (part.to(dtype).eval().requires_grad_(False) for part in (ours, encoder, decoder))
    ours, encoder, decoder = parts  # type: ignore[assignment]
    return Both(ours, encoder, decoder)


def cases(scale: Scale) -> Iterator[Case]:
    """A decode and an encode at each size, in every variant."""
    halves = both(scale.device, scale.dtype)
    for variant in scale.variants:
        last = variant == CHANNELS_LAST
        halves.lay_out(torch.channels_last if last else torch.contiguous_format)
        yield from _cases(halves, scale, variant)


def _cases(halves: Both, scale: Scale, variant: str) -> Iterator[Case]:
    weights = {
        "decode": {"ours": weight_bytes(halves.ours.joint), "stock": weight_bytes(halves.decoder)},
        "encode": {
            "ours": weight_bytes(halves.ours.encoder, halves.ours.detail),
            "stock": weight_bytes(halves.encoder),
        },
    }
    for side in scale.decoded:
        for half, ways in (("decode", halves.decodes(side)), ("encode", halves.encodes(side))):
            compiled = variant == COMPILED
            if compiled:
                ways = {who: torch.compile(do, dynamic=False) for who, do in ways.items()}
            yield Case("codec", half, side, 1, ways, weights[half], variant, counted=not compiled)


def counts(sides: tuple[int, ...]) -> dict[str, dict[int, dict[str, Count]]]:
    """In bfloat16, by half and by side of the picture."""
    halves = both("meta", torch.bfloat16)
    return {
        name: {side: {who: counted(run) for who, run in ways(side).items()} for side in sides}
        for name, ways in (("decode", halves.decodes), ("encode", halves.encodes))
    }
