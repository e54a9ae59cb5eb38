"""What builds the halves of the two kinds of pretrained autoencoder that a codec grows from."""

from torch import nn

from .blocks import Decoder, Encoder, Ops
from .sizes import Backbone as Backbone
from .sizes import SmallConfig
from .small import SmallDecoder, SmallEncoder


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
