"""LightningDiT as the trainer sees a transformer: a velocity of a noisy latent, its level and a condition."""

from __future__ import annotations

from torch import Tensor, nn

from davae_core.lightning.model import LightningDiT

from ..cache.class_list import labels_of
from ..cache.text_states import TextStates
from .denoiser import Denoiser


class ClassDenoiser(nn.Module):
    """A LightningDiT in this project's conventions: level 1 is noise, and the velocity is noise - data.

    Its own time is 1 - level, and its own velocity the other way round.
    """

    def __init__(self, transformer: LightningDiT) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, latents: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        """Velocity [B, C + D, h, w] of latents in model space; sigma [B], classes [B] (int64)."""
        velocity: Tensor = -self.transformer(latents, 1.0 - sigma, labels)
        return velocity

    def under(self, text: TextStates) -> tuple[Tensor]:
        """The classes that stand in place of texts (`cache/class_list.py`)."""
        return (labels_of(text),)


AnyDenoiser = Denoiser | ClassDenoiser
