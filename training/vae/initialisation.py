"""A start for small KL autoencoders that keeps brightness and contrast alive through the group norms.

Residual branches start at zero, the straight path keeps the variance, and alternating biases on it dominate each
group's variance, so that a group norm begins as an almost affine map instead of wiping out what a group has in common
(its brightness). Layers and names stay those of a stock VAE.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from davae_core.codec.autoencoder import DetailAlignedVAE, KLAutoencoder
from davae_core.codec.blocks import AttnBlock, Decoder, Encoder, Level, ResnetBlock

from .convolutions import bias_of, conv_of

_OFFSET = 1.5
_INITIAL_LOGVAR = -6.0


@torch.no_grad()
def initialise_base_vae(vae: KLAutoencoder) -> None:
    """Overwrite a fresh autoencoder's weights with the start described above, its log-variance starting at -6."""
    for module in vae.modules():
        if isinstance(module, ResnetBlock):
            _initialise_branch(module)
        elif isinstance(module, AttnBlock):
            _zero(module.proj_out)
    _initialise_straight_path(_straight_encoder(vae.encoder))
    _initialise_straight_path(_straight_decoder(vae.decoder))
    _initialise_moments(vae.encoder.conv_out, vae.latent_channels)
    _initialise_output(vae.decoder.conv_out)


@torch.no_grad()
def initialise_detail(codec: DetailAlignedVAE) -> None:
    """Let a fresh detail head's log-variance start low (its share of the bias at -6): the decoder hears it at once."""
    bias = bias_of(conv_of(codec.detail.down.conv))
    bias[bias.numel() // 2 :] = _INITIAL_LOGVAR


def _initialise_branch(block: ResnetBlock) -> None:
    conv1 = conv_of(block.conv1)
    nn.init.normal_(conv1.weight, std=1.0 / math.sqrt(_fan_in(conv1)))
    bias_of(conv1).copy_(_alternating(conv1.out_channels))
    _zero(block.conv2)


def _straight_encoder(encoder: Encoder) -> list[nn.Conv2d]:
    levels = [conv for level in encoder.down for conv in _straight_level(level)]
    return [conv_of(encoder.conv_in), *levels]


def _straight_decoder(decoder: Decoder) -> list[nn.Conv2d]:
    levels = [conv for level in reversed(decoder.up) for conv in _straight_level(level)]
    return levels if decoder.conv_in is None else [conv_of(decoder.conv_in), *levels]


def _straight_level(level: nn.Module) -> list[nn.Conv2d]:
    assert isinstance(level, Level)
    blocks = (block for block in level.block if isinstance(block, ResnetBlock))
    path = [conv_of(block.nin_shortcut) for block in blocks if block.nin_shortcut is not None]
    resizes = (part for part in (level.downsample, level.upsample) if part is not None)
    return path + [conv_of(part.conv) for part in resizes]


def _initialise_straight_path(path: list[nn.Conv2d]) -> None:
    """Variance-preserving kernels; each bias also takes back what the kernel makes of the offsets before it."""
    before: Tensor | None = None
    for conv in path:
        nn.init.normal_(conv.weight, std=1.0 / math.sqrt(_fan_in(conv)))
        offsets = _alternating(conv.out_channels)
        carried = torch.zeros(()) if before is None else conv.weight.sum(dim=(2, 3)) @ before
        bias_of(conv).copy_(offsets - carried)
        before = offsets


def _initialise_moments(module: nn.Module | None, channels: int) -> None:
    conv = conv_of(module)
    nn.init.normal_(conv.weight, std=1.0 / math.sqrt(_fan_in(conv)))
    conv.weight[channels:].zero_()
    bias_of(conv)[:channels].zero_()
    bias_of(conv)[channels:].fill_(_INITIAL_LOGVAR)


def _initialise_output(module: nn.Module) -> None:
    conv = conv_of(module)
    nn.init.normal_(conv.weight, std=0.1 / math.sqrt(_fan_in(conv)))
    bias_of(conv).zero_()


def _alternating(channels: int) -> Tensor:
    signs = 1.0 - 2.0 * (torch.arange(channels) % 2)
    return _OFFSET * signs


def _zero(module: nn.Module) -> None:
    conv = conv_of(module)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(bias_of(conv))


def _fan_in(conv: nn.Conv2d) -> int:
    return conv.weight[0].numel()
