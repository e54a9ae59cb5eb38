"""The frozen encoders behind a cache: a VAE of either kind, and the text encoders."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from davae_core.codec.description import read_codec_config
from davae_core.codec.files import encoding_part, load_codec
from davae_core.codec.latent_files import encoding_hash
from davae_core.files import value_hash
from davae_core.latents import LatentLayout
from davae_core.mini.clip_tokenizer import POSITIONS, ClipTokenizer
from davae_core.mini.text_encoder_files import load_text_encoder
from davae_core.reading.plain_text import shown

from ..base_source import load_base_source
from .config import CacheVaeConfig, TextConfig, TextPrecision
from .text_states import TextStates

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PictureEncoder:
    """`encode`: pictures [B, 3, H, W] in [-1, 1] -> latents of `layout` in VAE space (posterior means).

    `vae_hash`: of the weights that decide what such a latent means.
    """

    encode: Callable[[Tensor], Tensor]
    layout: LatentLayout
    vae_hash: str


def load_picture_encoder(config: CacheVaeConfig, device: torch.device) -> PictureEncoder:
    """The VAE that a cache is made with. Raises CheckpointError or TrainingError."""
    told = latents_of(config.file, config.kind == "davae", "vae.file")
    if config.kind == "davae":
        codec = load_codec(config.file, device, torch.float32).requires_grad_(False)
        return PictureEncoder(codec.encode, *told)
    vae = load_base_source(config.file, "vae.file").vae.float().to(device).requires_grad_(False)
    return PictureEncoder(lambda images: vae.encode_moments(images).mean, *told)


def latents_of(file: str, detail: bool, key: str) -> tuple[LatentLayout, str]:
    """The layout of the latents of a DA-VAE (`detail`) or of a plain VAE, and the hash they are known by.

    `key` is the setting that names the file. Raises CheckpointError or TrainingError.
    """
    if detail:
        return read_codec_config(file).layout, encoding_hash(file)
    base = load_base_source(file, key)
    return base.layout, value_hash(encoding_part(base.vae.state_dict()))


def load_caption_encoder(
    config: TextConfig, device: torch.device, precision: TextPrecision = "auto"
) -> Callable[[Sequence[str]], TextStates]:
    """The text encoders that a cache is made with, as one function. Raises CheckpointError or TrainingError.

    `precision` is that of SD3's; the miniature's has fp32.
    """
    if config.kind == "mini":
        encoder = load_text_encoder(config.source, device)

        def encode(captions: Sequence[str]) -> TextStates:
            context, pooled = encoder.encode([_cut(text, encoder.tokenizer) for text in captions])
            return TextStates(context[..., : encoder.model.config.hidden_size], None, pooled)

        return encode
    from .sd3_text import Sd3TextEncoders

    on_cpu = device.type == "cpu"
    half = precision == "bf16" or (precision == "auto" and not on_cpu)
    dtype = torch.bfloat16 if half else torch.float32
    return Sd3TextEncoders(config.source, config.t5_tokens, device, dtype).encode


def _cut(caption: str, tokenizer: ClipTokenizer) -> str:
    """As many words of a caption as the miniature's CLIP reads, and a line in the log where that is not all.

    Stable Diffusion's encoders cut by themselves.
    """
    most = POSITIONS - 2
    if len(tokenizer.words(caption)) <= most:
        return caption
    _LOG.warning(
        "cutting a caption of more than %d tokens, which begins with %s", most, shown(caption)
    )
    # Whole words, of which more never have fewer tokens; of a first word that is too long alone, as many letters.
    parts, between = caption.split(), " "
    if len(tokenizer.words(parts[0])) > most:
        parts, between = list(parts[0]), ""

    def tokens(count: int) -> int:
        return len(tokenizer.words(between.join(parts[:count])))

    return between.join(parts[: bisect_right(range(len(parts)), most, lo=1, key=tokens) - 1])
