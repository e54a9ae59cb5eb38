"""Whether a small VAE's latents are Stable Diffusion 3's: files of other models have the same names and shapes.

TAEF1, for FLUX.1's latents, differs from TAESD3 in nothing but its numbers. What it makes of single colours tells them
apart, for a latent of a flat picture says little more than which channel means what.
"""

import torch
from torch import Tensor

from .autoencoder import KLAutoencoder
from .small import SmallConfig

_COLOURS = ((0, 0, 0), (1, -1, -1), (-1, -1, 1), (-1, 1, -1))
"""Grey, red, blue and green in [-1, 1]."""
_MEANS = (
    (0.58, -0.47, -1.50, -0.87, 1.99, -0.62, -1.02, -1.36, -0.60, 0.55, 0.97, -0.03, 0.54, -2.02, -0.41, -0.05),
    (-1.19, -1.97, 1.02, -0.41, 2.73, -2.49, 0.58, -4.57, -0.60, -0.60, -0.44, -0.74, -0.72, -0.45, -0.19, 0.46),
    (3.07, 0.66, -2.81, -0.10, -0.97, -2.93, -1.22, -0.29, 2.39, -0.31, 0.02, -2.23, 1.36, -3.05, 0.53, 1.47),
    (-0.19, -0.30, -1.11, -2.47, 1.34, 2.52, -2.79, -0.21, -1.05, 2.63, 0.55, 2.98, -0.15, 0.87, -0.10, -0.23),
)  # fmt: skip
"""Channel means of their latents in model space by TAESD3, measured away from the border."""
LEAST_LIKENESS = 0.8
"""A VAE trained on from TAESD3 with its latents held lies above 0.99, random weights about 0."""
_SIDE, _BORDER = 64, 2


@torch.no_grad()
def sd3_likeness(vae: KLAutoencoder) -> float:
    """Cosine between the latents of four flat pictures and those that TAESD3 makes of them, in model space: 1 is alike.

    Raises ValueError for anything but a small VAE of 16 latent channels.
    """
    backbone = vae.backbone
    if not isinstance(backbone, SmallConfig) or vae.latent_channels != len(_MEANS[0]):
        raise ValueError(
            "Only a small VAE of 16 latent channels can be compared with TAESD3: leave this one out."
        )
    weight = next(vae.parameters())
    colours = torch.tensor(_COLOURS, device=weight.device, dtype=weight.dtype)
    flat = colours[:, :, None, None].expand(-1, -1, _SIDE, _SIDE)
    latents = (vae.encode_moments(flat).mean - backbone.shift) * backbone.scale
    inner = latents[..., _BORDER:-_BORDER, _BORDER:-_BORDER].mean(dim=(-1, -2)).float().cpu()
    return float(_cosine(inner.flatten(), torch.tensor(_MEANS).flatten()))


def _cosine(found: Tensor, wanted: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(found, wanted, dim=0)
