"""A start for small KL autoencoders that keeps brightness and contrast alive through the group norms.

Residual branches start at zero, the straight path keeps the variance, and alternating biases on it dominate each
group's variance, so that a group norm begins as an almost affine map instead of wiping out what a group has in common
(its brightness). Layers and names stay those of a stock VAE.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from davae_core.codec.autoencoder import DetailAlignedVAE, KLAutoencoder
from davae_core.codec.blocks import AttnBlock, Decoder, Encoder, Level, ResnetBlock

from .convolutions import bias_of, conv_of

_OFFSET = 1.5
_INITIAL_LOGVAR = -6.0


@torch.no_grad()
def initialise_base_vae(vae: KLAutoencoder) -> None:
    """Overwrite a fresh autoencoder's weights with the start described above, its log-variance starting at -6.

    A small autoencoder has no group norms and no variance: PyTorch's own start serves it.
    """
    if not (isinstance(vae.encoder, Encoder) and isinstance(vae.decoder, Decoder)):
        return
    for module in vae.modules():
        if isinstance(module, ResnetBlock):
            conv1 = conv_of(module.conv1)
            _keep_variance(conv1)
            bias_of(conv1).copy_(_alternating(conv1.out_channels))
            _zero(module.conv2)
        elif isinstance(module, AttnBlock):
            _zero(module.proj_out)
    _initialise_straight_path(_straight_path(vae.encoder.conv_in, vae.encoder.down))
    _initialise_straight_path(_straight_path(vae.decoder.conv_in, reversed(vae.decoder.up)))
    moments, output = conv_of(vae.encoder.conv_out), conv_of(vae.decoder.conv_out)
    _keep_variance(moments)
    moments.weight[vae.latent_channels :].zero_()
    bias_of(moments)[: vae.latent_channels].zero_()
    bias_of(moments)[vae.latent_channels :].fill_(_INITIAL_LOGVAR)
    nn.init.normal_(output.weight, std=0.1 / math.sqrt(output.weight[0].numel()))
    bias_of(output).zero_()


@torch.no_grad()
def initialise_detail(codec: DetailAlignedVAE) -> None:
    """Let a fresh detail head's log-variance start low (its share of the bias at -6): the decoder hears it at once."""
    bias = bias_of(conv_of(codec.detail.down.conv))
    bias[bias.numel() // 2 :] = _INITIAL_LOGVAR


def _straight_path(conv_in: object, levels: Iterable[nn.Module]) -> list[nn.Conv2d]:
    """The convolutions that features pass outside the residual branches, in order."""
    path = [conv_of(conv_in)]
    for level in levels:
        assert isinstance(level, Level)
        shortcuts = [part.nin_shortcut for part in level.block if isinstance(part, ResnetBlock)]
        resizes = [part.conv for part in (level.downsample, level.upsample) if part is not None]
        path += [conv_of(conv) for conv in (*shortcuts, *resizes) if conv is not None]
    return path


def _initialise_straight_path(path: list[nn.Conv2d]) -> None:
    """Variance-preserving kernels; each bias also takes back what the kernel makes of the offsets before it."""
    before: Tensor | None = None
    for conv in path:
        _keep_variance(conv)
        offsets = _alternating(conv.out_channels)
        carried = torch.zeros(()) if before is None else conv.weight.sum(dim=(2, 3)) @ before
        bias_of(conv).copy_(offsets - carried)
        before = offsets


def _keep_variance(conv: nn.Conv2d) -> None:
    nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")


def _alternating(channels: int) -> Tensor:
    signs = 1.0 - 2.0 * (torch.arange(channels) % 2)
    return _OFFSET * signs


def _zero(module: nn.Module) -> None:
    conv = conv_of(module)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(bias_of(conv))
