"""Which point of the detail's posterior a cache holds: its mean or, as the published ImageNet code does, drawn ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from davae_core.codec.autoencoder import DetailAlignedVAE
from davae_core.codec.files import AnyCodec
from davae_core.latents import join

from ..errors import TrainingError

Posterior = Literal["mean", "sample", "noised"]
"""mean; a sample; a sample with a standard normal number added to it once more."""


def drawing_detail(codec: AnyCodec, posterior: Posterior) -> Callable[[Tensor], Tensor]:
    """`codec.encode`, its detail drawn instead of meant; what is drawn is a function of the picture's pixels alone.

    The published code's `encode_images` adds another standard normal number to the sample it drew: `noised`. Raises
    TrainingError for a packed codec, whose detail has no posterior.
    """
    if posterior == "mean":
        return codec.encode
    if not isinstance(codec, DetailAlignedVAE):
        raise TrainingError(
            f"vae.posterior is {posterior}, but vae.file is a packed DA-VAE, whose detail is not drawn: set it to mean."
        )

    def encode(images: Tensor) -> Tensor:
        codec.check_images(images)
        moments = codec.encode_moments(images)
        noise = _noise_of(images, (2, *moments.detail.mean.shape[1:])).to(moments.detail.mean)
        detail = moments.detail.sample(noise[:, 0])
        if posterior == "noised":
            detail = detail + noise[:, 1]
        return join(moments.base.mean, codec.normalise_detail(detail), codec.layout)

    return encode


def _noise_of(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers [B, *shape] on the CPU, each picture's seeded by its own pixels."""
    drawn = []
    for image in images.detach().float().cpu():
        digest = hashlib.sha256(image.contiguous().numpy().tobytes()).digest()
        random = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        drawn.append(torch.randn(shape, generator=random))
    return torch.stack(drawn)
