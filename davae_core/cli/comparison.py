"""One picture through the codec, beside what the pretrained VAE makes of it: pictures, scores, shapes, tokens."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec.autoencoder import Codec, KLAutoencoder
from ..latents import token_count
from ..metrics import psnr, ssim
from ..presets import PATCH

BASE_FULL, BASE_HALF, DAVAE = "base_full_size", "base_half_size", "davae"
"""Ways to rebuild a picture: the pretrained VAE on the picture itself (s * s times the tokens); the pretrained VAE at
1/s of the size, scaled up bicubically; the codec."""


@dataclass(frozen=True)
class Score:
    """How near a rebuilt picture comes to the original, and the latent it was rebuilt from."""

    psnr: float
    ssim: float
    latent_shape: tuple[int, ...]
    tokens: int


@dataclass(frozen=True)
class PictureScores:
    """The scores of one picture by way of rebuilding."""

    name: str
    width: int
    height: int
    ways: dict[str, Score]


@dataclass(frozen=True)
class Comparison:
    """One picture [1, 3, H, W] in [-1, 1], what each way made of it, and the scores."""

    original: Tensor
    rebuilt: dict[str, Tensor]
    scores: PictureScores


@torch.inference_mode()
def compare(
    name: str,
    original: Tensor,
    codec: Codec,
    base: KLAutoencoder | None = None,
    tiled: bool = False,
) -> Comparison:
    """Send `original` [1, 3, H, W] in [-1, 1] through the codec; sides must be multiples of its factor.

    BASE_HALF is left out for a compact codec, BASE_FULL when `base` is None.
    """
    height, width = original.shape[-2:]
    layout = codec.layout
    latents = codec.encode_tiled(original) if tiled else codec.encode(original)
    shape, tokens = latents.shape[1:], token_count(width, height, layout, PATCH)
    rebuilt, latent = {}, {}
    if base is not None:
        mean = base.encode_moments(original).mean
        rebuilt[BASE_FULL] = base.decode(mean).clamp(-1, 1)
        plain_tokens = token_count(width * layout.ratio, height * layout.ratio, layout, PATCH)
        latent[BASE_FULL] = (tuple(mean.shape[1:]), plain_tokens)
    if codec.decoder is not None:
        draft = codec.decode_base(latents)
        rebuilt[BASE_HALF] = F.interpolate(draft, size=(height, width), mode="bicubic").clamp(-1, 1)
        latent[BASE_HALF] = ((layout.base_channels, *shape[1:]), tokens)
    rebuilt[DAVAE] = codec.decode_tiled(latents) if tiled else codec.decode(latents)
    latent[DAVAE] = (tuple(shape), tokens)
    ways = {
        way: Score(psnr(original, picture).item(), ssim(original, picture).item(), *latent[way])
        for way, picture in rebuilt.items()
    }
    return Comparison(original, rebuilt, PictureScores(name, width, height, ways))
