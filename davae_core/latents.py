"""A latent as a tensor: which channels are base, which are detail, and in which numbers they are given.

Two spaces exist (docs/method.md, section "Two spaces"):

* VAE space, what files and ComfyUI's LATENT hold: base channels are the pretrained VAE's posterior mean, unscaled;
  detail channels are the detail posterior's mean, normalised with the statistics in the codec's file.
* Model space, what the transformer sees: base = (x - shift) * scale of the pretrained VAE; detail unchanged. A
  class-conditional model has statistics of every channel instead (`ModelSpace`).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .layout import Channels as Channels
from .layout import LatentLayout as LatentLayout
from .layout import Number as Number
from .layout import token_count as token_count


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and standard deviation [C + D] of each channel of a latent in VAE space, float32.

    Raises ValueError unless both are of one length, finite, and every deviation is above 0.
    """

    mean: Tensor
    std: Tensor

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.std.shape:
            raise ValueError("mean and std must be two rows of one length")
        if not (torch.isfinite(self.mean).all() and torch.isfinite(self.std).all()):
            raise ValueError("mean and std must be finite")
        if not (self.std > 0).all():
            raise ValueError("std must be above 0 in every channel")


@dataclass(frozen=True)
class ModelSpace:
    """What a transformer sees of a latent of `layout`: the pretrained VAE's shift and scale or, where a model has
    `statistics`, every channel in deviations from its mean."""

    layout: LatentLayout
    statistics: ChannelStatistics | None = None

    def enter(self, latents: Tensor) -> Tensor:
        """VAE space -> model space, [B, C + D, h, w]."""
        if self.statistics is None:
            return to_model_space(latents, self.layout)
        mean, std = self._per_channel(latents, self.statistics)
        return (latents - mean) / std

    def leave(self, latents: Tensor) -> Tensor:
        """Model space -> VAE space, the inverse of `enter`."""
        if self.statistics is None:
            return to_vae_space(latents, self.layout)
        mean, std = self._per_channel(latents, self.statistics)
        return latents * std + mean

    @staticmethod
    def _per_channel(latents: Tensor, found: ChannelStatistics) -> tuple[Tensor, Tensor]:
        mean, std = (row.to(latents)[:, None, None] for row in (found.mean, found.std))
        return mean, std


def check_latents(latents: Tensor, layout: LatentLayout) -> None:
    """Raise ValueError unless `latents` is [B, C + D, h, w], no side 0, with finite values."""
    if latents.ndim != 4 or latents.shape[1] != layout.channels or not latents.numel():
        raise ValueError(
            f"This latent has the shape {list(latents.shape)}, but this DA-VAE needs [batch, {layout.channels}, "
            f"height/{layout.factor}, width/{layout.factor}]: use a latent made for it (DA-VAE Encode or "
            "Empty DA-VAE Latent)."
        )
    check_finite(latents)


def check_finite(latents: Tensor) -> None:
    """Raise ValueError for NaN and infinite values."""
    if not torch.isfinite(latents).all():
        raise ValueError(
            "This latent holds NaN or infinite values, so no picture can be made of it: "
            "look at the step that made it (a sampler in fp16, or a damaged file)."
        )


def split(latents: Tensor, layout: LatentLayout) -> tuple[Tensor, Tensor]:
    """Base [B, C, h, w] and detail [B, D, h, w] of a latent, as views."""
    return latents[:, : layout.base_channels], latents[:, layout.base_channels :]


def join(base: Tensor, detail: Tensor, layout: LatentLayout) -> Tensor:
    """The latent [B, C + D, h, w] of its two parts; raises ValueError when their shapes do not fit the layout."""
    wanted = (layout.base_channels, layout.detail_channels)
    sizes = {(part.ndim, part.shape[:1], part.shape[2:]) for part in (base, detail)}
    if len(sizes) > 1 or base.ndim != 4 or (base.shape[1], detail.shape[1]) != wanted:
        raise ValueError(
            f"Base {list(base.shape)} and detail {list(detail.shape)} do not make one latent: their channels must be "
            f"{wanted[0]} and {wanted[1]}, and their batches, heights and widths equal."
        )
    return torch.cat([base, detail], dim=1)


def to_model_space(latents: Tensor, layout: LatentLayout) -> Tensor:
    """VAE space -> model space, [B, C + D, h, w] -> the same shape."""
    base, detail = split(latents, layout)
    return torch.cat([base_to_model_space(base, layout), detail], dim=1)


def to_vae_space(latents: Tensor, layout: LatentLayout) -> Tensor:
    """Model space -> VAE space, the inverse of `to_model_space`."""
    base, detail = split(latents, layout)
    return torch.cat([base / layout.base_scale + layout.base_shift, detail], dim=1)


def base_to_model_space(base: Tensor, layout: LatentLayout) -> Tensor:
    """The base channels alone, [B, C, h, w], from VAE space to model space."""
    return (base - layout.base_shift) * layout.base_scale


def downscale_image(images: Tensor, ratio: int) -> Tensor:
    """The base encoder's input: [B, 3, H, W] in [-1, 1] -> [B, 3, H/ratio, W/ratio] in [-1, 1].

    Bicubic with a = -0.75 and no antialiasing, clamped before and after, as the published SD3 wrapper does.
    """
    height, width = images.shape[-2] // ratio, images.shape[-1] // ratio
    small = F.interpolate(
        images.clamp(-1, 1), size=(height, width), mode="bicubic", align_corners=False
    )
    return small.clamp(-1, 1)


def crop_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Central crop of [B, 3, H, W] to sides that are multiples of `multiple`.

    Raises ValueError when a side is shorter than one multiple.
    """
    height, width = images.shape[-2:]
    if height < multiple or width < multiple:
        raise ValueError(
            f"The picture is {width}x{height} pixels; both sides must be at least {multiple}."
        )
    new_height, new_width = height - height % multiple, width - width % multiple
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return images[..., top : top + new_height, left : left + new_width]
