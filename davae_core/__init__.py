"""DA-VAE in pure PyTorch: the detail-aligned codec, without ComfyUI, diffusers or data sets.

What it offers is imported when it is asked for: a header can be read without PyTorch, which takes seconds to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .codec.autoencoder import CodecMoments, DetailAlignedVAE, KLAutoencoder, Moments
    from .codec.sizes import CodecConfig, KLConfig
    from .layout import LatentLayout
    from .presets import PRESETS

_HOMES = {
    "PRESETS": "presets",
    "CodecConfig": "codec.sizes",
    "CodecMoments": "codec.autoencoder",
    "DetailAlignedVAE": "codec.autoencoder",
    "KLAutoencoder": "codec.autoencoder",
    "KLConfig": "codec.sizes",
    "LatentLayout": "layout",
    "Moments": "codec.autoencoder",
}
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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
