"""A patch discriminator and the hinge losses of both sides."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davae_core.files import reason_of

from ..errors import TrainingError
from .config import GanConfig

_GROUPS = 8


class PatchDiscriminator(nn.Module):
    """[B, 3, H, W] -> one score per patch, [B, 1, h, w]: strided 4x4 convolutions.

    Group norm, not batch norm, so that a sample's score does not depend on its neighbours in the batch.
    """

    def __init__(self, config: GanConfig) -> None:
        super().__init__()
        width = config.channels
        stages: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for layer in range(1, config.layers + 1):
            inputs, width = width, config.channels * min(2**layer, 8)
            stride = 2 if layer < config.layers else 1
            stages += [
                nn.Conv2d(inputs, width, 4, stride=stride, padding=1, bias=False),
                nn.GroupNorm(min(_GROUPS, width), width),
                nn.LeakyReLU(0.2),
            ]
        stages.append(nn.Conv2d(width, 1, 4, stride=1, padding=1))
        self.stages = nn.Sequential(*stages)

    def forward(self, images: Tensor) -> Tensor:
        return self.stages(images)  # type: ignore[no-any-return]


def build_discriminator(config: GanConfig, crop: int) -> PatchDiscriminator:
    """A fresh discriminator on the CPU, tried once on a crop. Raises TrainingError when it cannot judge one."""
    try:
        critic = PatchDiscriminator(config)
        with torch.no_grad():
            critic(torch.zeros(1, 3, crop, crop))
    except (ValueError, RuntimeError) as error:
        reason = reason_of(error).replace("\n", " ")
        raise TrainingError(
            f"loss.gan.channels {config.channels} and loss.gan.layers {config.layers} make no discriminator for crops "
            f"of {crop} pixels ({reason}): take channels that are a multiple of 8, fewer layers or a larger data.crop."
        ) from error
    return critic


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Hinge loss of the discriminator on its scores of real and reconstructed pictures."""
    return 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + made).mean())


def generator_loss(made: Tensor) -> Tensor:
    """Hinge loss of the generator on the scores of what it made."""
    return -made.mean()
