"""The frozen encoders behind a cache: a VAE of either kind, and the text encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from davae_core.codec.files import load_codec, read_codec_file
from davae_core.codec.latent_files import encoding_hash
from davae_core.files import value_hash
from davae_core.mini.text_encoder import TextEncoder
from davae_core.mini.text_encoder_files import load_text_encoder

from ..base_source import load_base_source
from .config import CacheVaeConfig, TextConfig
from .latent_cache import LatentSpace
from .text_states import TextStates

_ENCODING_PARTS = ("encoder.", "quant_conv.")
_BASE_CHANNELS = 16


@dataclass(frozen=True)
class PictureEncoder:
    """`encode`: pictures [B, 3, H, W] in [-1, 1] -> latents in VAE space (posterior means)."""

    encode: Callable[[Tensor], Tensor]
    space: LatentSpace


def load_picture_encoder(config: CacheVaeConfig, device: torch.device) -> PictureEncoder:
    """The VAE that a cache is made with. Raises CheckpointError or TrainingError."""
    space = latent_space(config.file, config.kind == "davae")
    if config.kind == "davae":
        codec = load_codec(config.file, device, torch.float32).requires_grad_(False)
        return PictureEncoder(codec.encode, space)
    vae = load_base_source(config.file, _BASE_CHANNELS).vae.float().to(device).requires_grad_(False)
    return PictureEncoder(lambda images: vae.encode_moments(images).mean, space)


def latent_space(file: str, detail: bool) -> LatentSpace:
    """What latents of a DA-VAE (`detail`) or of a plain VAE are. Raises CheckpointError or TrainingError."""
    name = Path(file).name
    if detail:
        config, _ = read_codec_file(file)
        layout = config.layout
        return LatentSpace(
            layout.channels,
            layout.factor,
            layout.base_shift,
            layout.base_scale,
            name,
            encoding_hash(file),
            layout,
        )
    found = load_base_source(file, _BASE_CHANNELS)
    weights = found.vae.state_dict()
    encoding = {name: weights[name] for name in weights if name.startswith(_ENCODING_PARTS)}
    factor = 2 ** (len(found.vae.backbone.widths) - 1)
    return LatentSpace(
        found.vae.latent_channels, factor, found.shift, found.scale, name, value_hash(encoding)
    )


def load_caption_encoder(
    config: TextConfig, device: torch.device
) -> Callable[[Sequence[str]], TextStates]:
    """The text encoders that a cache is made with, as one function. Raises CheckpointError or TrainingError."""
    if config.kind == "mini":
        encoder = load_text_encoder(config.source, device)
        return lambda captions: _mini_states(encoder, captions)
    from .sd3_text import Sd3TextEncoders

    return Sd3TextEncoders(config.source, config.t5_tokens, device).encode


def _mini_states(encoder: TextEncoder, captions: Sequence[str]) -> TextStates:
    context, pooled = encoder.encode(captions)
    return TextStates(context[..., : encoder.model.config.hidden_size], None, pooled)
