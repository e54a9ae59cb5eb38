"""The small autoencoder: TAESD's layers under its published names, for codecs that must run on a CPU.

It speaks another VAE's latent: inside, latents are that VAE's in model space and pictures are in [0, 1]; outside it is
like any VAE here, pictures in [-1, 1] and latents in VAE space (docs/method.md, "The small autoencoder").
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Ops
from .sizes import SmallConfig as SmallConfig
from .subpixel import upsample_conv

_CERTAIN = -30.0
"""Log-variance of a latent without uncertainty, the least that a posterior has here."""


class SmallBlock(nn.Module):
    """[B, width, H, W] -> the same: three convolutions beside the input."""

    def __init__(self, width: int, ops: Ops) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(ops, width, width), nn.ReLU(), _conv(ops, width, width), nn.ReLU(),
            _conv(ops, width, width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return F.relu(self.conv(x) + x)
        # The same numbers, with nothing kept that is not needed any more.
        hidden = x
        for layer in self.conv:
            hidden = hidden.relu_() if isinstance(layer, nn.ReLU) else layer(hidden)
        return hidden.add_(x).relu_()


class SmallEncoder(nn.Sequential):
    """Picture [B, 3, H, W] in [-1, 1] -> moments [B, 2 C, H/f, W/f] in VAE space, the log-variance always the least.

    Without `channels` the last convolution is left out and `features` is all there is: the trunk of the detail head.
    """

    def __init__(self, config: SmallConfig, channels: int | None, ops: Ops = nn) -> None:
        layers: list[nn.Module] = [
            _conv(ops, 3, config.width),
            SmallBlock(config.width, ops),
        ]
        for _ in range(config.levels - 1):
            layers.append(_conv(ops, config.width, config.width, stride=2, bias=False))
            layers += [SmallBlock(config.width, ops) for _ in range(config.blocks)]
        last = [] if channels is None else [_conv(ops, config.width, channels)]
        super().__init__(*layers, *last)
        self.config, self.has_conv_out = config, bool(last)

    @property
    def conv_out(self) -> nn.Module | None:
        """The convolution that makes the latent in model space from the features."""
        return self[-1] if self.has_conv_out else None

    def features(self, images: Tensor) -> Tensor:
        """What the last convolution reads: [B, width, H/f, W/f]."""
        x = images / 2 + 0.5
        for layer in list(self)[: len(self) - self.has_conv_out]:
            x = layer(x)
        return x

    def moments(self, features: Tensor) -> Tensor:
        """What the last convolution makes of them: [B, 2 C, H/f, W/f] in VAE space."""
        assert self.conv_out is not None
        mean = self.conv_out(features) / self.config.scale + self.config.shift
        return torch.cat([mean, torch.full_like(mean, _CERTAIN)], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        return features if self.conv_out is None else self.moments(features)


class SmallDecoder(nn.Sequential):
    """Latent [B, channels, h, w] in VAE space -> picture [B, 3, h * f, w * f], not clamped.

    Without `channels` the first layers are left out and the decoder starts from features [B, width, h, w]: this is the
    joint decoder, fed by the stem.
    """

    def __init__(self, config: SmallConfig, channels: int | None, ops: Ops = nn) -> None:
        first = [] if channels is None else [_Clamp(), _conv(ops, channels, config.width)]
        layers: list[nn.Module] = [nn.ReLU()]
        for _ in range(config.levels - 1):
            layers += [SmallBlock(config.width, ops) for _ in range(config.blocks)]
            layers.append(nn.Upsample(scale_factor=2))
            layers.append(_conv(ops, config.width, config.width, bias=False))
        layers += [SmallBlock(config.width, ops), _conv(ops, config.width, 3)]
        # Numbered as in the published file also where the first two are missing.
        numbered = [*zip(("0", "1"), first, strict=False)]
        numbered += [(str(number), layer) for number, layer in enumerate(layers, start=2)]
        super().__init__(OrderedDict(numbered))
        self.config = config

    @property
    def conv_in(self) -> nn.Module | None:
        """The convolution that makes features of a clamped latent in model space."""
        return self._modules.get("1")

    @property
    def conv_out(self) -> nn.Module:
        """The convolution that makes the picture."""
        return self[-1]

    def first_features(self, latents: Tensor) -> Tensor:
        """What the first convolution makes of a latent in VAE space: [B, width, h, w]."""
        scaled = (latents - self.config.shift) * self.config.scale
        return self[1](self[0](scaled))  # type: ignore[no-any-return]

    def forward(self, latents: Tensor) -> Tensor:
        whole = self.conv_in is not None
        x = self.first_features(latents) if whole else latents
        layers = iter(list(self)[2 if whole else 0 :])
        for layer in layers:
            doubles = isinstance(layer, nn.Upsample) and not torch.is_grad_enabled()
            x = upsample_conv(x, next(layers)) if doubles else layer(x)
        return x * 2 - 1


class _Clamp(nn.Module):
    """Values far out are bent towards +-3, as TAESD's decoder begins."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def _conv(ops: Ops, inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Module:
    return ops.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=bias)  # type: ignore[no-any-return]
