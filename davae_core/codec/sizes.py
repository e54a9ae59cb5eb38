"""The sizes of codecs and of the pretrained autoencoders that they grow from: plain data, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ..layout import LatentLayout
from ..reading.typed import Length, Limits, check_limits

StemOrder = Literal["detail_first", "base_first"]


@dataclass(frozen=True)
class KLConfig:
    """Sizes of a KL autoencoder.

    `widths` holds a channel count per resolution level, full resolution first; `attention_levels` the levels whose
    residual blocks are followed by attention (the middle always has one); `quant_conv` tells whether 1x1 convolutions
    stand between the encoder and the moments and between the latent and the decoder.
    """

    widths: Annotated[tuple[Annotated[int, Limits(1, 8192)], ...], Length(8)]
    res_blocks: Annotated[int, Limits(1, 16)]
    norm_groups: Annotated[int, Limits(1, 8192)]
    attention_levels: Annotated[tuple[Annotated[int, Limits(0, 7)], ...], Length(8)] = ()
    quant_conv: bool = False

    def __post_init__(self) -> None:
        check_limits(self)
        if not self.widths:
            raise ValueError("An autoencoder needs a width for each level.")
        for width in self.widths:
            if width % self.norm_groups:
                raise ValueError(
                    f"The width {width} cannot be divided into {self.norm_groups} normalisation groups."
                )

    @property
    def factor(self) -> int:
        """Picture pixels per latent cell along one side."""
        return 1 << (len(self.widths) - 1)

    @property
    def features(self) -> int:
        """Channels at the latent's resolution, which the detail head reads and the stem makes."""
        return self.widths[-1]


@dataclass(frozen=True)
class SmallConfig:
    """Sizes of a small autoencoder: `width` channels at each of `levels` resolutions, `blocks` residual blocks in each.

    Full resolution has one block. `shift` and `scale` lead to the model space that its latents are in.
    """

    width: Annotated[int, Limits(1, 8192)]
    levels: Annotated[int, Limits(1, 8)]
    blocks: Annotated[int, Limits(1, 16)]
    shift: Annotated[float, Limits(-1e6, 1e6)]
    scale: Annotated[float, Limits(-1e6, 1e6)]

    def __post_init__(self) -> None:
        check_limits(self)
        if self.scale == 0:
            raise ValueError("The scale of a small autoencoder must not be 0.")

    @property
    def factor(self) -> int:
        """Picture pixels per latent cell along one side."""
        return 1 << (self.levels - 1)

    @property
    def features(self) -> int:
        """Channels at the latent's resolution, which the detail head reads and the stem makes."""
        return self.width


Backbone = KLConfig | SmallConfig
"""The two kinds of pretrained autoencoder that a codec grows from."""


@dataclass(frozen=True)
class CodecConfig:
    """Everything that decides the shapes of a DetailAlignedVAE.

    `stem_order` is the channel order the decoder stem was trained with; latents are base first everywhere else.
    `shared_trunk`: the detail head reads the base encoder's own trunk instead of a copy of it.
    """

    layout: LatentLayout
    backbone: Backbone
    stem_order: StemOrder = "detail_first"
    shared_trunk: bool = True

    def __post_init__(self) -> None:
        self.layout.require_detail()
        require_factor(self.layout, self.backbone)
        if self.stem_order not in ("detail_first", "base_first"):
            raise ValueError(
                f"stem_order must be detail_first or base_first, not {self.stem_order!r}."
            )


@dataclass(frozen=True)
class PackedConfig:
    """Everything that decides the shapes of a PackedVAE, and how it was fitted.

    `alignment`: the share of the base's prediction that is taken off the detail, in [0, 1]; 1 leaves what the base does
    not tell, 0 the pretrained latent's own phases.
    """

    layout: LatentLayout
    backbone: Backbone
    alignment: float

    def __post_init__(self) -> None:
        self.layout.require_detail()
        require_factor(self.layout, self.backbone)
        if self.layout.detail_channels > phase_channels(self.layout):
            raise ValueError(
                f"{self.layout.ratio} times {self.layout.ratio} latent cells of {self.layout.base_channels} channels "
                f"are {phase_channels(self.layout)} numbers, so {self.layout.detail_channels} detail channels are too "
                "many."
            )
        if not 0 <= self.alignment <= 1:
            raise ValueError(f"alignment must be between 0 and 1, not {self.alignment}.")


AnyConfig = CodecConfig | PackedConfig


def require_factor(layout: LatentLayout, backbone: Backbone) -> None:
    """Raise ValueError unless the backbone makes the layout's base latent cells."""
    if layout.base_factor != backbone.factor:
        raise ValueError(
            f"The layout says {layout.base_factor} pixels per base latent cell, but the backbone's "
            f"resolution levels make {backbone.factor}."
        )


def phase_channels(layout: LatentLayout) -> int:
    """Channels of the pretrained VAE's full-size latent once its phases are channels: s * s * C."""
    return layout.ratio**2 * layout.base_channels


def require_even_unshuffle(moments: int, ratio: int) -> None:
    """Raise ValueError unless a pixel-unshuffle of `ratio` can make so many channels of moments."""
    if moments % ratio**2:
        raise ValueError(
            f"{moments} moment channels cannot be made by a pixel-unshuffle of {ratio}: "
            f"twice the detail channels must be a multiple of {ratio**2}."
        )


def require_even_stem(channels: int, features: int, ratio: int) -> None:
    """Raise ValueError unless a stem can repeat so many latent channels evenly into `features` at `ratio` times."""
    if features * ratio**2 % channels:
        raise ValueError(
            f"The stem cannot repeat {channels} latent channels evenly into {features} features at {ratio} times the "
            f"size: base plus detail channels must divide {features * ratio**2}."
        )
