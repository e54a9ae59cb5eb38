"""Pictures drawn on the way, and from finished weights: fixed prompts, fixed noise, Euler with guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from davae_core.codec.files import load_codec
from davae_core.flow import Velocity, even_sigmas, sample_detail, sample_euler, shifted_sigmas
from davae_core.images import write_image
from davae_core.latents import ChannelStatistics, LatentLayout, ModelSpace, split

from ..base_source import load_base_source
from ..cache.text_states import TextStates, stack
from ..engine.randomness import Stream, sample_noise
from .class_denoiser import AnyDenoiser

FULL = "full"
"""The name of whole pictures, beside drafts of the base alone."""
_COLUMNS = 4


@dataclass(frozen=True)
class SamplingPlan:
    """How pictures are drawn: shift, steps and guidance of the sampler, and the latent's height and width.

    Guidance acts at levels up to `guided_below`. `even`: a class-conditional model's levels (`flow.even_sigmas`), not
    SD3's.
    """

    shift: float
    steps: int
    guidance: float
    height: int
    width: int
    guided_below: float = 1.0
    even: bool = False

    def sigmas(self) -> Tensor:
        """The levels to sample at, [steps + 1]."""
        return (even_sigmas if self.even else shifted_sigmas)(self.steps, self.shift)


@torch.no_grad()
def draw_latents(
    denoiser: AnyDenoiser,
    texts: Sequence[TextStates],
    empty: TextStates,
    channels: int,
    plan: SamplingPlan,
    device: torch.device,
    seed: int = 0,
    first: int = 0,
    progress: Callable[[int, int], None] | None = None,
    numbers: Sequence[int] | None = None,
) -> Tensor:
    """Latents [B, channels, h, w] in model space, one per text; row i's noise depends on `seed` and `first` + i.

    `numbers`: other numbers than those from `first` on, one per text. `progress` is told (steps done, steps in all).
    """
    numbers = range(first, first + len(texts)) if numbers is None else numbers
    noise = _noise(seed, numbers, channels, plan).to(device)
    told, untold = (_under(denoiser, part, device) for part in (texts, [empty] * len(texts)))
    return sample_euler(
        told, noise, plan.sigmas(), plan.guidance, untold, progress, plan.guided_below
    )


@torch.no_grad()
def draw_detail(
    denoiser: AnyDenoiser,
    texts: Sequence[TextStates],
    empty: TextStates,
    bases: Tensor,
    layout: LatentLayout,
    plan: SamplingPlan,
    seed: int = 0,
    first: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """`draw_latents` by a detail pass: [B, C + D, h, w] over `bases` [B, C, h, w], which come back bit for bit.

    The detail starts from the noise that `draw_latents` would give it; `bases` drawn with the same seed know nothing of
    it.
    """
    numbers = range(first, first + len(texts))
    noise = _noise(seed, numbers, layout.channels, plan).to(bases)
    told, untold = (_under(denoiser, part, bases.device) for part in (texts, [empty] * len(texts)))
    detail = split(noise, layout)[1]
    return sample_detail(
        told, bases, detail, plan.sigmas(), layout, plan.guidance, untold, progress
    )


def _noise(seed: int, numbers: Sequence[int], channels: int, plan: SamplingPlan) -> Tensor:
    return sample_noise(seed, numbers, (channels, plan.height, plan.width), Stream.SAMPLE)


def _under(denoiser: AnyDenoiser, texts: Sequence[TextStates], device: torch.device) -> Velocity:
    text = denoiser.under(stack(texts).to(device))
    return lambda latents, sigma: denoiser(latents, sigma, *text).float()


class PictureDecoder:
    """Turns drawn latents into pictures with the VAE that the cache was made with; loaded when first used."""

    def __init__(
        self,
        vae: str,
        layout: LatentLayout,
        device: torch.device,
        statistics: ChannelStatistics | None = None,
    ) -> None:
        self._vae, self.layout, self._device = vae, layout, device
        self._space = ModelSpace(layout, statistics)

    @torch.no_grad()
    def pictures(self, latents: Tensor) -> dict[str, Tensor]:
        """By name: `full`, and with detail channels `draft` from the base alone.

        Latents in model space -> [B, 3, H, W] in [-1, 1] on the CPU.
        """
        latents = self._space.leave(latents)
        return {name: _one_by_one(decode, latents) for name, decode in self._decoders.items()}

    @torch.no_grad()
    def full(self, latents: Tensor) -> Tensor:
        """The full pictures alone: latents [B, channels, h, w] in model space -> [B, 3, H, W] in [-1, 1] on the CPU."""
        return _one_by_one(self._decoders[FULL], self._space.leave(latents))

    @cached_property
    def _decoders(self) -> dict[str, Callable[[Tensor], Tensor]]:
        if not self.layout.detail_channels:
            vae = load_base_source(self._vae, "model.vae").vae.float().to(self._device)
            return {FULL: lambda latents: vae.decode(latents).clamp(-1, 1)}
        codec = load_codec(self._vae, self._device, torch.float32)
        decoders: dict[str, Callable[[Tensor], Tensor]] = {FULL: codec.decode}
        if codec.decoder is not None:
            decoders["draft"] = codec.decode_base
        return decoders


def _one_by_one(decode: Callable[[Tensor], Tensor], latents: Tensor) -> Tensor:
    # A large picture takes gigabytes, and a small one is decoded faster alone, where it fits a processor's cache.
    return torch.cat([decode(latent[None]).float().cpu() for latent in latents])


def write_grid(path: Path, pictures: Tensor) -> None:
    """Write pictures [B, 3, H, W] as one, four in a row. Raises ImageError or CheckpointError."""
    columns = min(_COLUMNS, len(pictures))
    filled = F.pad(pictures, (0, 0) * 3 + (0, -len(pictures) % columns), value=1.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, rearrange(filled, "(r k) c h w -> c (r h) (k w)", k=columns))
