"""What is measured once at the end of a training and stored in its file: the latent's shift and scale, the detail's
mean and standard deviation."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from einops import rearrange
from torch import Tensor


def channel_means(latents: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and mean square of each channel over batches of latents [B, channels, h, w]: both [channels], float64."""
    total = squares = torch.zeros((), dtype=torch.float64)
    count = 0
    for batch in latents:
        values = rearrange(batch.detach().to("cpu", torch.float64), "b c h w -> c (b h w)")
        total = total + values.sum(dim=1)
        squares = squares + values.square().sum(dim=1)
        count += values.shape[1]
    return total / count, squares / count


def deviation(mean: Tensor, mean_square: Tensor) -> Tensor:
    """The standard deviation that belongs to a mean and a mean square."""
    return (mean_square - mean.square()).clamp(min=0.0).sqrt()
