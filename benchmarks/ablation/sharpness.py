"""Sharpness: the energy in the frequencies that a picture of half the size cannot hold."""

from __future__ import annotations

import torch
from torch import Tensor

LOWEST = 0.25
"""Cycles per pixel; a picture of half the size ends there."""
_LUMA = (0.299, 0.587, 0.114)
"""Rec. 601."""


def high_frequency_energy(pictures: Tensor) -> Tensor:
    """[B, 3, H, W] in [-1, 1] -> [B]: mean power of the brightness above LOWEST in either direction, Hann-windowed.

    A ratio of two sets' means is their sharpness: 1 is as sharp, less is blurred, more is grained or ragged.
    """
    grey = torch.einsum("bchw,c->bhw", pictures.float(), torch.tensor(_LUMA))
    height, width = grey.shape[-2:]
    window = torch.outer(torch.hann_window(height), torch.hann_window(width))
    power = torch.fft.fft2(grey * window).abs().square() / window.square().sum()
    rows, columns = torch.fft.fftfreq(height).abs(), torch.fft.fftfreq(width).abs()
    high = torch.maximum(rows[:, None], columns[None, :]) > LOWEST
    return power[..., high].double().mean(dim=-1)
