"""DA-VAE in pure PyTorch: the detail-aligned codec, without ComfyUI, diffusers or data sets."""

from .codec.autoencoder import CodecConfig, CodecMoments, DetailAlignedVAE, KLAutoencoder, Moments
from .codec.blocks import KLConfig
from .latents import LatentLayout
from .presets import PRESETS

__all__ = [
    "PRESETS",
    "CodecConfig",
    "CodecMoments",
    "DetailAlignedVAE",
    "KLAutoencoder",
    "KLConfig",
    "LatentLayout",
    "Moments",
]
