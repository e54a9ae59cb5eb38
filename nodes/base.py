"""A LATENT as the base that detail is drawn on: one of the base channels alone, or a whole DA-VAE one."""

from typing import Any

import torch

from ..davae_core.latents import LatentLayout, join
from .compat.host import without_scale


def has_detail(latent: dict[str, Any], layout: LatentLayout) -> bool:
    """Whether the LATENT has detail channels beside the base's."""
    return bool(latent["samples"].shape[1] != layout.base_channels)


def with_detail(latent: dict[str, Any], layout: LatentLayout) -> dict[str, Any]:
    """The LATENT with all channels [B, C + D, h, w], for a sampler: a base gets detail of zeros.

    A base's noise mask is left out: it says which part of the base was drawn, but no part has a detail to keep.
    """
    kept = without_scale(latent)
    if has_detail(latent, layout):
        return kept
    base = latent["samples"]
    batch, _, height, width = base.shape
    detail = torch.zeros(batch, layout.detail_channels, height, width).to(base)
    kept.pop("noise_mask", None)
    return {**kept, "samples": join(base, detail, layout)}
