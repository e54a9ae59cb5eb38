"""Alignment of the detail channels with the base channels (paper Eq. 3-4; docs/method.md, "Alignment")."""

import torch.nn.functional as F
from einops import reduce
from torch import Tensor


def project(detail: Tensor, base_channels: int) -> Tensor:
    """Proj(z_d): means of consecutive groups of detail channels, [B, D, h, w] -> [B, C, h, w].

    With D = C this is the identity. Raises ValueError when D is no multiple of C.
    """
    channels = detail.shape[1]
    if channels % base_channels:
        raise ValueError(
            f"{channels} detail channels cannot be averaged into {base_channels} groups: "
            "the detail channels must be a multiple of the base channels."
        )
    return reduce(detail, "b (c g) h w -> b c h w", "mean", c=base_channels)


def alignment_loss(detail: Tensor, base_model_space: Tensor) -> Tensor:
    """Mean squared distance between Proj(z_d) and the base latent in model space, a scalar.

    The base is detached: the pretrained latent is the target, never the thing that moves.
    """
    return F.mse_loss(project(detail, base_model_space.shape[1]), base_model_space.detach())
