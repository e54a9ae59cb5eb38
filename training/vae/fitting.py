"""A start for a codec that is fitted to pictures instead of drawn at random (docs/method.md, "A fitted start").

The pretrained encoder's latent of the full-size picture is what the pretrained decoder could draw from. The detail
head starts as the linear summary of it that the base latent explains least, or as what the base leaves of that summary:
a packed codec's detail (davae_core/codec/packed.py), as nearly as the head can make it. The stem starts as the
least-squares prediction, from base and detail, of what the decoder's first convolution would make of it. All are closed
forms over few crops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from einops import rearrange
from torch import Tensor

from davae_core.codec.autoencoder import DetailAlignedVAE, base_moments
from davae_core.codec.blocks import shuffle, unshuffle
from davae_core.codec.least_squares import LeastSquares, neighbourhoods, rows
from davae_core.codec.small import SmallEncoder
from davae_core.latents import base_to_model_space, downscale_image

from .convolutions import bias_of, conv_of

Crops = Callable[[], Iterator[Tensor]]
"""Gives the same crops [B, 3, H, W] in [-1, 1] each time it is called."""


@torch.no_grad()
def fit_codec(
    codec: DetailAlignedVAE, crops: Crops, detail_learned: bool, packed: bool = False
) -> None:
    """Fit the detail head's kernels and the stem; without a learned detail, the stem alone on the base.

    `packed`: the head starts as a packed codec's detail.
    """
    if detail_learned:
        base = _full_from_base(codec, crops)
        mixed = _leading_mixes(codec, base)
        if packed:
            _fit_to_packed_detail(codec, crops, base.solution(), mixed)
        else:
            _set_summary(codec, mixed)
    _fit_stem(codec, crops, detail_learned)


def _full_from_base(codec: DetailAlignedVAE, crops: Crops) -> LeastSquares:
    """The full-size latent's phases by the base's 3 x 3 surroundings."""
    layout = codec.layout
    channels, device = layout.base_channels, next(codec.parameters()).device
    squares = LeastSquares(9 * channels, layout.ratio**2 * channels, device)
    for images in crops():
        squares.add(*_base_and_phases(codec, images, codec.trunk_features(images)))
    return squares


def _base_and_phases(
    codec: DetailAlignedVAE, images: Tensor, features: Tensor
) -> tuple[Tensor, Tensor]:
    """One row a latent cell: the base's surroundings [N, 9 C] and the full-size latent's phases [N, s s C]."""
    ratio = codec.layout.ratio
    small = base_moments(codec, downscale_image(images, ratio)).mean
    phases = unshuffle(codec.full_size_moments(images, features).mean, ratio)
    return neighbourhoods(small, outside="zero"), rows(phases)


def _leading_mixes(codec: DetailAlignedVAE, squares: LeastSquares) -> Tensor:
    """The mixes of channels [kernels, C] that the base explains least, scaled to deviation 1 of what it leaves.

    One mix for all phases, because the head's convolution is the same in each.
    """
    layout = codec.layout
    cells = layout.ratio**2
    kernels = min(layout.detail_channels // cells, layout.base_channels)
    covariance = squares.residual_covariance(squares.solution())
    # Unshuffled channels run channel by channel, sub-position by sub-position within each.
    blocks = rearrange(covariance, "(a i) (b j) -> a i b j", i=cells, j=cells)
    per_channel = torch.einsum("aibi->ab", blocks) / cells
    values, vectors = torch.linalg.eigh(per_channel)
    leading = vectors[:, -kernels:].flip(1) / values[-kernels:].flip(0).clamp(min=1e-12).sqrt()
    mixes: Tensor = leading.T.to(conv_of(codec.detail.down.conv).weight.dtype)
    return mixes


def _set_summary(codec: DetailAlignedVAE, mixed: Tensor) -> None:
    """The head's first kernels: the pretrained latent itself, mixed."""
    weight, bias = _mean_convolution(codec)
    _set_kernels(codec, torch.einsum("kc,ciyx->kiyx", mixed, weight), mixed @ bias)


def _fit_to_packed_detail(
    codec: DetailAlignedVAE, crops: Crops, by_base: Tensor, mixed: Tensor
) -> None:
    """The head's first kernels: what `by_base` [1 + 9 C, s s C] leaves of the latent, mixed, as the trunk tells it."""
    down = codec.detail.down
    weight, ratio = conv_of(down.conv).weight, codec.layout.ratio
    squares = LeastSquares(9 * weight.shape[1], len(mixed), weight.device)
    for images in crops():
        features = codec.trunk_features(images)
        base, phases = _base_and_phases(codec, images, features)
        left = phases - (by_base[0] + base.double() @ by_base[1:]).to(phases.dtype)
        channels = len(mixed) * ratio**2
        shortcut = down.shortcut(features)[:, :channels]
        cells = rearrange(left, "(b h w) p -> b p h w", h=shortcut.shape[-2], w=shortcut.shape[-1])
        wanted = torch.einsum("kc,bchw->bkhw", mixed, shuffle(cells, ratio))
        squares.add(
            neighbourhoods(features, outside="zero"), rows(wanted - shuffle(shortcut, ratio))
        )
    found = squares.solution().to(weight.dtype)
    _set_kernels(codec, found[1:].T.reshape(len(mixed), *weight.shape[1:]), found[0])


def _set_kernels(codec: DetailAlignedVAE, weight: Tensor, bias: Tensor) -> None:
    head = conv_of(codec.detail.down.conv)
    head.weight[: len(weight)], bias_of(head)[: len(bias)] = weight, bias


def _fit_stem(codec: DetailAlignedVAE, crops: Crops, detail_learned: bool) -> None:
    layout, stem = codec.layout, conv_of(codec.joint.up.conv)
    squares = LeastSquares(9 * layout.channels, stem.out_channels, stem.weight.device)
    for images in crops():
        features = codec.trunk_features(images)
        moments = codec.encode_moments(images, features)
        base, detail = base_to_model_space(moments.base.mean, layout), moments.detail.mean
        detail = detail if detail_learned else torch.zeros_like(detail)
        detail_first = codec.config.stem_order == "detail_first"
        latents = torch.cat((detail, base) if detail_first else (base, detail), dim=1)
        wanted = unshuffle(_first_features(codec, images, features), layout.ratio)
        squares.add(
            neighbourhoods(latents, outside="zero"), rows(wanted - codec.joint.up.shortcut(latents))
        )
    found = squares.solution().to(stem.weight.dtype)
    bias_of(stem).copy_(found[0])
    stem.weight.copy_(found[1:].T.reshape_as(stem.weight))


def _first_features(codec: DetailAlignedVAE, images: Tensor, features: Tensor) -> Tensor:
    """What the pretrained decoder's first convolution makes of the full-size latent: [B, w, H/f, W/f]."""
    assert codec.decoder is not None
    latent = codec.full_size_moments(images, features).mean
    if codec.post_quant_conv is not None:
        latent = codec.post_quant_conv(latent)
    return codec.decoder.first_features(latent)


def _mean_convolution(codec: DetailAlignedVAE) -> tuple[Tensor, Tensor]:
    """Kernel [C, w, 3, 3] and bias [C] that make the base posterior's mean from trunk features."""
    if isinstance(codec.encoder, SmallEncoder):
        own, config = conv_of(codec.encoder.conv_out), codec.encoder.config
        return own.weight / config.scale, bias_of(own) / config.scale + config.shift
    last, channels = conv_of(codec.encoder.conv_out), codec.layout.base_channels
    if codec.quant_conv is None:
        return last.weight[:channels], bias_of(last)[:channels]
    after = conv_of(codec.quant_conv)
    mix = after.weight[:channels, :, 0, 0]
    weight = torch.einsum("cm,miyx->ciyx", mix, last.weight)
    return weight, mix @ bias_of(last) + bias_of(after)[:channels]
