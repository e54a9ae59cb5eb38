"""What a stage-2 step computes: the transformer under noise, and its loss split into base and detail."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from davae_core.flow import (
    cosine_loss,
    detail_loss,
    detail_weight,
    published_sample_weights,
    velocity_loss,
    velocity_target,
)
from davae_core.latents import LatentLayout
from davae_core.transformer.description import Mode

from ..cache.text_states import TextStates
from ..engine.updates import Parts
from .config import FlowLossConfig

TIMESTEPS = 1000.0
"""SD3's transformer is told the noise level times this."""


class Denoiser(nn.Module):
    """diffusers' SD3 transformer as a function of a noisy latent, its level and a text."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer
        config: Any = transformer.config
        self.context_width = int(config.joint_attention_dim)
        self.pooled_width = int(config.pooled_projection_dim)

    def forward(self, latents: Tensor, sigma: Tensor, context: Tensor, pooled: Tensor) -> Tensor:
        """Velocity [B, C + D, h, w] of latents in model space; sigma [B], context [B, N, width], pooled [B, p]."""
        velocity: Tensor = self.transformer(
            hidden_states=latents,
            encoder_hidden_states=context,
            pooled_projections=pooled,
            timestep=sigma * TIMESTEPS,
            return_dict=False,
        )[0]
        return velocity

    def under(self, text: TextStates) -> tuple[Tensor, Tensor]:
        """A text's context and pooled vector."""
        return text.context(self.context_width), text.pooled


def flow_loss(
    prediction: Tensor,
    latents: Tensor,
    noise: Tensor,
    sigma: Tensor,
    layout: LatentLayout,
    config: FlowLossConfig,
    step: int,
    mode: Mode = "joint",
) -> Parts:
    """The rectified-flow loss in step `step` (0-based) of a predicted velocity [B, C + D, h, w] at sigma [B].

    `loss`, and where there is detail `base`, `detail` (mean squared errors) and `detail_weight`; of a detail pass
    `loss` and `detail`, which are the same; with the published cosine term `cosine`, which is part of the loss.
    """
    weights, target = _sample_weights(sigma, config), velocity_target(latents, noise)
    if mode == "detail":
        alone = detail_loss(prediction, target, layout, weights)
        return {"loss": alone, "detail": alone}
    # w(n) is 1 throughout when the ramp is off.
    weight = detail_weight(step, config.ramp_steps) if config.ramp_steps else 1.0
    found = velocity_loss(prediction, target, layout, weight, weights)
    if layout.detail_channels:
        parts = {**found._asdict(), "detail_weight": found.loss.new_tensor(weight)}
    else:
        # The base is all there is; the detail's error is a mean of nothing, not a number.
        parts = {"loss": found.base}
    if not config.cosine:
        return parts
    angle = cosine_loss(prediction, target)
    return {**parts, "loss": parts["loss"] + config.cosine * angle, "cosine": angle}


def _sample_weights(sigma: Tensor, config: FlowLossConfig) -> Tensor | None:
    if config.weighting == "published":
        return published_sample_weights(sigma)
    # The latent that a velocity v leads to is x - sigma * v.
    return sigma.square() if config.weighting == "x0" else None
