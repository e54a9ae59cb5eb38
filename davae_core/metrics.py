"""How close two pictures are: PSNR and SSIM, per picture, for tensors in [-1, 1]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_WINDOW = 11
_SIGMA = 1.5
#: The pictures span [-1, 1].
_RANGE = 2.0


def psnr(pictures: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over all channels.

    Args:
        pictures: ``[B, 3, H, W]`` in [-1, 1]; values outside are clamped.
        references: the same shape.

    Returns:
        ``[B]`` float64; infinite for equal pictures.

    Raises:
        ValueError: when the shapes differ or are not ``[B, C, H, W]``.
    """
    first, second = _checked(pictures, references)
    error = (first - second).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(_RANGE**2 / error)


def ssim(pictures: Tensor, references: Tensor) -> Tensor:
    """Structural similarity of Wang et al. 2004: Gaussian window of 11 pixels with sigma 1.5,
    K1 = 0.01, K2 = 0.03, averaged over the channels and over the places where the window fits.

    Args:
        pictures: ``[B, C, H, W]`` in [-1, 1], both sides at least 11; values outside are clamped.
        references: the same shape.

    Returns:
        ``[B]`` float64, 1 for equal pictures.

    Raises:
        ValueError: when the shapes differ or a side is smaller than the window.
    """
    first, second = _checked(pictures, references)
    if min(first.shape[-2:]) < _WINDOW:
        raise ValueError(
            f"SSIM needs pictures of at least {_WINDOW}x{_WINDOW} pixels, not {first.shape[-1]}x{first.shape[-2]}."
        )
    mean_a, mean_b = _blur(first), _blur(second)
    variance_a = _blur(first * first) - mean_a**2
    variance_b = _blur(second * second) - mean_b**2
    covariance = _blur(first * second) - mean_a * mean_b
    c1, c2 = (0.01 * _RANGE) ** 2, (0.03 * _RANGE) ** 2
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )
    return similarity.mean(dim=(1, 2, 3))


def _checked(pictures: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    if pictures.ndim != 4 or pictures.shape != references.shape:
        raise ValueError(
            f"Two batches of pictures [B, C, H, W] of the same shape are needed, not {list(pictures.shape)} and "
            f"{list(references.shape)}."
        )
    return pictures.double().clamp(-1, 1), references.double().clamp(-1, 1)


def _blur(pictures: Tensor) -> Tensor:
    """Gaussian mean of every window that lies wholly inside the picture."""
    offsets = torch.arange(_WINDOW, dtype=pictures.dtype, device=pictures.device) - _WINDOW // 2
    kernel = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    kernel = kernel / kernel.sum()
    channels = pictures.shape[1]
    rows = kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    columns = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    return F.conv2d(F.conv2d(pictures, rows, groups=channels), columns, groups=channels)
