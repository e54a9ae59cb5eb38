"""What the report measures: fidelity of every way to rebuild a picture, and how aligned the detail is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from davae_core.codec.alignment import project
from davae_core.codec.autoencoder import DetailAlignedVAE, KLAutoencoder
from davae_core.images import image_from_pil, read_image
from davae_core.latents import base_to_model_space, crop_to_multiple, downscale_image, join
from davae_core.metrics import psnr, ssim
from training.mini import photographs

Rebuild = Callable[[Tensor], Tensor]
"""[1, 3, H, W] in [-1, 1] -> what a way to store the picture makes of it."""


@dataclass(frozen=True)
class Fidelity:
    """PSNR in dB and SSIM by picture."""

    psnr: dict[str, float]
    ssim: dict[str, float]

    @property
    def mean_psnr(self) -> float:
        """Mean of the pictures' PSNR."""
        return sum(self.psnr.values()) / len(self.psnr)

    @property
    def mean_ssim(self) -> float:
        """Mean of the pictures' SSIM."""
        return sum(self.ssim.values()) / len(self.ssim)


@dataclass(frozen=True)
class Correlation:
    """Pearson correlation of Proj(z_d) with z_b over all places of all pictures, channel by channel."""

    channels: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the channels."""
        return sum(self.channels) / len(self.channels)


def held_out_pictures(multiple: int) -> dict[str, Tensor]:
    """The six photographs as ``[1, 3, H, W]``, at native size cut centrally to multiples of ``multiple``."""
    return {
        photo.name: crop_to_multiple(image_from_pil(photographs.load(photo)), multiple)
        for photo in photographs.HELD_OUT
    }


def pictures_in(folder: Path, multiple: int) -> dict[str, Tensor]:
    """The PNG files of a folder by name, as ``held_out_pictures`` gives its own. Raises ValueError without any."""
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise ValueError(f"{folder} holds no PNG file: name a folder of photographs.")
    return {path.stem: crop_to_multiple(read_image(path), multiple) for path in paths}


@torch.inference_mode()
def rebuild_all(pictures: Mapping[str, Tensor], rebuild: Rebuild) -> dict[str, Tensor]:
    """Every picture as ``rebuild`` gives it back."""
    return {name: rebuild(picture) for name, picture in pictures.items()}


def fidelity(pictures: Mapping[str, Tensor], rebuilt: Mapping[str, Tensor]) -> Fidelity:
    """How near the rebuilt pictures come, in floats clamped to the range."""
    return Fidelity(
        psnr={name: psnr(rebuilt[name], picture).item() for name, picture in pictures.items()},
        ssim={name: ssim(rebuilt[name], picture).item() for name, picture in pictures.items()},
    )


def base_at_full_size(base: KLAutoencoder) -> Rebuild:
    """(a) the base VAE on the picture itself: ratio * ratio times the tokens."""
    return lambda picture: base.decode(base.encode_moments(picture).mean).clamp(-1, 1)


def base_at_reduced_size(base: KLAutoencoder, ratio: int, antialias: bool = False) -> Rebuild:
    """(b) the base VAE on the reduced picture, scaled up bicubically.

    The picture is reduced as the codec reduces it, or with antialiasing.
    """

    def rebuild(picture: Tensor) -> Tensor:
        height, width = picture.shape[-2:]
        small = _antialiased(picture, ratio) if antialias else downscale_image(picture, ratio)
        draft = base.decode(base.encode_moments(small).mean).clamp(-1, 1)
        return F.interpolate(draft, size=(height, width), mode="bicubic").clamp(-1, 1)

    return rebuild


def _antialiased(picture: Tensor, ratio: int) -> Tensor:
    size = [side // ratio for side in picture.shape[-2:]]
    return F.interpolate(picture, size=size, mode="bicubic", antialias=True).clamp(-1, 1)


def through_codec(codec: DetailAlignedVAE, detail: bool = True) -> Rebuild:
    """(c) the codec; without ``detail`` its decoder sees zeros in place of it, as the control's did in training."""

    def rebuild(picture: Tensor) -> Tensor:
        if detail:
            return codec.decode(codec.encode(picture))
        moments = codec.encode_moments(picture)
        nothing = codec.normalise_detail(torch.zeros_like(moments.detail.mean))
        return codec.decode(join(moments.base.mean, nothing, codec.layout))

    return rebuild


@torch.inference_mode()
def correlation(pictures: Mapping[str, Tensor], codec: DetailAlignedVAE) -> Correlation:
    """How far the codec's detail, projected, follows the base latent in model space."""
    details, bases = [], []
    for picture in pictures.values():
        moments = codec.encode_moments(picture)
        details.append(project(moments.detail.mean, codec.layout.base_channels))
        bases.append(base_to_model_space(moments.base.mean, codec.layout))
    return channel_correlation(details, bases)


def channel_correlation(first: Sequence[Tensor], second: Sequence[Tensor]) -> Correlation:
    """Correlation of channel i with channel i over latents ``[1, C, h, w]``, all places pooled.

    A channel that never moves follows nothing: its correlation is 0.
    """
    a = _centred(torch.cat([_by_channel(latent) for latent in first], dim=1))
    b = _centred(torch.cat([_by_channel(latent) for latent in second], dim=1))
    scale = (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-12)
    return Correlation(tuple(((a * b).sum(dim=1) / scale).tolist()))


def _by_channel(latent: Tensor) -> Tensor:
    return rearrange(latent.double(), "b c h w -> c (b h w)")


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(dim=1, keepdim=True)
