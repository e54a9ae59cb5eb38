"""A start for a codec that is fitted to pictures instead of drawn at random (docs/method.md, "A fitted start").

The pretrained encoder's latent of the full-size picture is what the pretrained decoder could draw from. The detail
head starts as the linear summary of it that the base latent explains least; the stem as the least-squares prediction,
from base and detail, of what the decoder's first convolution would make of it. Both are closed forms over few crops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from einops import rearrange
from torch import Tensor

from davae_core.codec.autoencoder import DetailAlignedVAE, base_moments
from davae_core.codec.blocks import unshuffle
from davae_core.codec.least_squares import LeastSquares, neighbourhoods, rows
from davae_core.latents import base_to_model_space

from .convolutions import bias_of, conv_of

Crops = Callable[[], Iterator[Tensor]]
"""Gives the same crops [B, 3, H, W] in [-1, 1] each time it is called."""


@torch.no_grad()
def fit_codec(codec: DetailAlignedVAE, crops: Crops, detail_learned: bool) -> None:
    """Fit the detail head's kernels and the stem; without a learned detail, the stem alone on the base."""
    if detail_learned:
        _fit_detail(codec, crops)
    _fit_stem(codec, crops, detail_learned)


def _fit_detail(codec: DetailAlignedVAE, crops: Crops) -> None:
    layout, head = codec.layout, conv_of(codec.detail.down.conv)
    cells = layout.ratio**2
    kernels = min(layout.detail_channels // cells, layout.base_channels)
    squares = LeastSquares(
        9 * layout.base_channels, cells * layout.base_channels, head.weight.device
    )
    for images in crops():
        full = base_moments(codec, images).mean
        small = codec.encode_moments(images).base.mean
        squares.add(neighbourhoods(small, outside="zero"), rows(unshuffle(full, layout.ratio)))
    covariance = squares.residual_covariance(squares.solution())
    # Unshuffled channels run channel by channel, sub-position by sub-position within each.
    blocks = rearrange(covariance, "(a i) (b j) -> a i b j", i=cells, j=cells)
    per_channel = torch.einsum("aibi->ab", blocks) / cells
    values, vectors = torch.linalg.eigh(per_channel)
    leading = vectors[:, -kernels:].flip(1) / values[-kernels:].flip(0).clamp(min=1e-12).sqrt()
    weight, bias = _mean_convolution(codec)
    mixed = leading.T.to(weight.dtype)
    head.weight[:kernels] = torch.einsum("kc,ciyx->kiyx", mixed, weight)
    bias_of(head)[:kernels] = mixed @ bias


def _fit_stem(codec: DetailAlignedVAE, crops: Crops, detail_learned: bool) -> None:
    layout, stem = codec.layout, conv_of(codec.joint.up.conv)
    squares = LeastSquares(9 * layout.channels, stem.out_channels, stem.weight.device)
    for images in crops():
        moments = codec.encode_moments(images)
        base, detail = base_to_model_space(moments.base.mean, layout), moments.detail.mean
        detail = detail if detail_learned else torch.zeros_like(detail)
        detail_first = codec.config.stem_order == "detail_first"
        latents = torch.cat((detail, base) if detail_first else (base, detail), dim=1)
        wanted = unshuffle(_first_features(codec, images), layout.ratio)
        squares.add(
            neighbourhoods(latents, outside="zero"), rows(wanted - codec.joint.up.shortcut(latents))
        )
    found = squares.solution().to(stem.weight.dtype)
    bias_of(stem).copy_(found[0])
    stem.weight.copy_(found[1:].T.reshape_as(stem.weight))


def _first_features(codec: DetailAlignedVAE, images: Tensor) -> Tensor:
    """What the pretrained decoder's first convolution makes of the full-size latent: [B, w, H/f, W/f]."""
    assert codec.decoder is not None
    latent = base_moments(codec, images).mean
    if codec.post_quant_conv is not None:
        latent = codec.post_quant_conv(latent)
    return conv_of(codec.decoder.conv_in)(latent)  # type: ignore[no-any-return]


def _mean_convolution(codec: DetailAlignedVAE) -> tuple[Tensor, Tensor]:
    """Kernel [C, w, 3, 3] and bias [C] that make the base posterior's mean from trunk features."""
    last, channels = conv_of(codec.encoder.conv_out), codec.layout.base_channels
    if codec.quant_conv is None:
        return last.weight[:channels], bias_of(last)[:channels]
    after = conv_of(codec.quant_conv)
    mix = after.weight[:channels, :, 0, 0]
    weight = torch.einsum("cm,miyx->ciyx", mix, last.weight)
    return weight, mix @ bias_of(last) + bias_of(after)[:channels]
