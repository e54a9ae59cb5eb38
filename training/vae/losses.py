"""The terms of the training loss, each switched by its weight."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from davae_core.codec.autoencoder import Moments

from ..engine.updates import Parts
from .config import KLLossConfig, LossConfig
from .trainees import Forward

_WINDOW = 8

Perceptual = Callable[[Tensor, Tensor], Tensor]


def reconstruction_loss(
    outputs: Forward, config: LossConfig, perceptual: Perceptual | None
) -> tuple[Tensor, Parts]:
    """Weighted sum of L1, mean squared error, texture and perceptual distance to the target, and each unweighted."""
    made, wanted = outputs.reconstruction.float(), outputs.target.float()
    parts = {"l1": F.l1_loss(made, wanted), "mse": F.mse_loss(made, wanted)}
    total = config.l1 * parts["l1"] + config.mse * parts["mse"]
    if config.texture:
        parts["texture"] = texture_loss(made, wanted)
        total = total + config.texture * parts["texture"]
    if perceptual is not None:
        parts["perceptual"] = perceptual(made, wanted).mean()
        total = total + config.perceptual.weight * parts["perceptual"]
    return total, parts


def texture_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """How far the strength of the finest structure is off, window by window, whatever its place: a scalar.

    Strength is the root mean square of differences to the right and lower neighbours in 8 x 8 windows, half
    overlapping. Least squares alone prefers a blur, which this punishes without asking where each edge is; a flat
    surface has no strength, so speckle is punished too. Both [B, 3, H, W].
    """
    return F.l1_loss(_strength(made), _strength(wanted))


def _strength(images: Tensor) -> Tensor:
    across = (images[..., :-1, 1:] - images[..., :-1, :-1]).square()
    down = (images[..., 1:, :-1] - images[..., :-1, :-1]).square()
    # The root's slope at 0 is infinite; a thousandth of the range of pixels is invisible.
    return (F.avg_pool2d(across + down, _WINDOW, _WINDOW // 2) + 1e-6).sqrt()


def kl_loss(posterior: Moments, config: KLLossConfig) -> Tensor:
    """Divergence from a standard normal in nats, per latent value or per picture, unweighted."""
    nats = Moments(posterior.mean.float(), posterior.logvar.float()).kl().mean()
    return nats / posterior.mean[0].numel() if config.per == "value" else nats


def gradient_ratio(
    reference: Tensor,
    loss: Tensor,
    layer: Tensor,
    average: Callable[[Tensor], Tensor],
) -> Tensor:
    """|grad reference| / (|grad loss| + 1e-4) at `layer`: the factor that makes `loss` pull as hard as `reference`.

    `average` averages a gradient over processes, so that all of them use the factor of the whole batch. Detached, in
    [0, 1e4].
    """
    norms = []
    for value in (reference, loss):
        (gradient,) = torch.autograd.grad(value, layer, retain_graph=True)
        norms.append(average(gradient.float()).norm())
    ratio: Tensor = norms[0] / (norms[1] + 1e-4)
    return ratio.clamp(0.0, 1e4).detach()
