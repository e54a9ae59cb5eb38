"""Grain: how a set of pictures spreads its energy over frequencies, beside real pictures."""

from __future__ import annotations

import torch
from torch import Tensor

BANDS = ((0.0625, 0.125), (0.125, 0.25), (0.25, 0.375), (0.375, 0.5))
"""Cycles per pixel; a picture of half the size ends at 0.25."""
_LUMA = (0.299, 0.587, 0.114)


def band_powers(pictures: Tensor) -> Tensor:
    """[B, 3, H, W] in [-1, 1] -> [B, bands]: mean power of the brightness in each ring of frequencies."""
    grey = torch.einsum("bchw,c->bhw", pictures.float(), torch.tensor(_LUMA))
    height, width = grey.shape[-2:]
    window = torch.outer(torch.hann_window(height), torch.hann_window(width))
    power = torch.fft.fft2(grey * window).abs().square() / window.square().sum()
    rows, columns = torch.fft.fftfreq(height), torch.fft.fftfreq(width)
    radius = torch.hypot(rows[:, None], columns[None, :])
    rings = [power[..., (radius >= low) & (radius < high)].mean(dim=-1) for low, high in BANDS]
    return torch.stack(rings, dim=-1).double()


def grain_distance(powers: Tensor, real: Tensor) -> float:
    """Mean over bands of |log2| of the ratio of mean powers [N, bands]: 1 is twice or half of real pictures' energy."""
    ratio = powers.mean(dim=0) / real.mean(dim=0)
    return float(ratio.log2().abs().mean())
