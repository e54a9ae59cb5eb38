"""What is measured once at the end of a training and stored in its file: the latent's shift and scale, the detail's
mean and standard deviation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor


@dataclass
class ChannelStatistics:
    """Running per-channel sums of latents [B, channels, h, w], kept in float64."""

    total: Tensor
    squares: Tensor
    count: int = 0

    @classmethod
    def empty(cls, channels: int) -> ChannelStatistics:
        """No latents yet."""
        return cls(
            torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
        )

    def add(self, latents: Tensor) -> None:
        """Take in a batch."""
        values = rearrange(latents.detach().to("cpu", torch.float64), "b c h w -> c (b h w)")
        self.total += values.sum(dim=1)
        self.squares += values.square().sum(dim=1)
        self.count += values.shape[1]

    @property
    def mean(self) -> Tensor:
        """Mean of each channel, float64."""
        return self.total / self.count

    @property
    def std(self) -> Tensor:
        """Standard deviation of each channel, float64."""
        return (self.squares / self.count - self.mean.square()).clamp(min=0.0).sqrt()

    @property
    def overall(self) -> tuple[float, float]:
        """Mean and standard deviation over all channels together."""
        mean = self.total.sum() / (self.count * len(self.total))
        square = self.squares.sum() / (self.count * len(self.total))
        return float(mean), float((square - mean.square()).clamp(min=0.0).sqrt())
