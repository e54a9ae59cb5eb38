"""The two kinds of pretrained autoencoder a codec grows from, and what builds their halves."""

from torch import nn

from .blocks import Decoder, Encoder, KLConfig, Ops
from .small import SmallConfig, SmallDecoder, SmallEncoder

Backbone = KLConfig | SmallConfig


def build_encoder(
    backbone: Backbone, channels: int | None, ops: Ops = nn
) -> Encoder | SmallEncoder:
    """Picture -> moments of `channels` latent channels; without them the trunk alone, up to its features."""
    if isinstance(backbone, SmallConfig):
        return SmallEncoder(backbone, channels, ops)
    return Encoder(backbone, None if channels is None else 2 * channels, ops)


def build_decoder(
    backbone: Backbone, channels: int | None, ops: Ops = nn
) -> Decoder | SmallDecoder:
    """Latent of `channels` channels -> picture; without them from the features that a stem makes."""
    kind = SmallDecoder if isinstance(backbone, SmallConfig) else Decoder
    return kind(backbone, channels, ops)  # type: ignore[arg-type]
