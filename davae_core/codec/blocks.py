"""Layers of the codec: the KL autoencoder's encoder and decoder, and the two blocks that change its resolution.

Names follow the LDM/Stability single-file VAE, so a stock file maps without renaming. Every layer comes from the
injected `ops` namespace (torch.nn by default, comfy.ops inside ComfyUI), which needs Conv2d and GroupNorm only.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor, nn

from .sizes import KLConfig as KLConfig
from .sizes import require_even_stem, require_even_unshuffle
from .stripes import (
    is_large,
    norm_silu_conv,
    residual_block,
    residual_block_over,
    upsampled_halves,
)
from .subpixel import upsample_conv

Ops = Any
"""A namespace with Conv2d and GroupNorm that take torch.nn's arguments; comfy.ops has no common type with torch.nn."""


def _conv3(ops: Ops, inputs: int, outputs: int) -> nn.Module:
    return ops.Conv2d(inputs, outputs, kernel_size=3, stride=1, padding=1)  # type: ignore[no-any-return]


def _conv1(ops: Ops, inputs: int, outputs: int, bias: bool = True) -> nn.Module:
    return ops.Conv2d(inputs, outputs, kernel_size=1, bias=bias)  # type: ignore[no-any-return]


def _norm(ops: Ops, width: int, groups: int) -> nn.Module:
    return ops.GroupNorm(num_groups=groups, num_channels=width, eps=1e-6)  # type: ignore[no-any-return]


class ResnetBlock(nn.Module):
    """[B, inputs, H, W] -> [B, outputs, H, W]: two normalised convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, groups: int, ops: Ops) -> None:
        super().__init__()
        self.norm1 = _norm(ops, inputs, groups)
        self.conv1 = _conv3(ops, inputs, outputs)
        self.norm2 = _norm(ops, outputs, groups)
        self.conv2 = _conv3(ops, outputs, outputs)
        self.nin_shortcut = _conv1(ops, inputs, outputs) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return residual_block(self, x) if is_large(x) else self._in_place(x)
        hidden: Tensor = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        shortcut: Tensor = x if self.nin_shortcut is None else self.nin_shortcut(x)
        return shortcut + hidden

    def _in_place(self, x: Tensor) -> Tensor:
        """The same numbers, to the last bit, with nothing kept that is not needed any more."""
        hidden: Tensor = self.conv1(F.silu(self.norm1(x), inplace=True))
        hidden = self.norm2(hidden)
        hidden = self.conv2(F.silu(hidden, inplace=True))
        return hidden.add_(x if self.nin_shortcut is None else self.nin_shortcut(x))


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions of [B, width, H, W], added to its input."""

    def __init__(self, width: int, groups: int, ops: Ops) -> None:
        super().__init__()
        self.norm = _norm(ops, width, groups)
        self.q = _conv1(ops, width, width)
        self.k = _conv1(ops, width, width)
        self.v = _conv1(ops, width, width)
        self.proj_out = _conv1(ops, width, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(x)
        # Contiguous, or PyTorch falls back to attention that holds all pairs of positions: 16 GB at 2048 pixels.
        q, k, v = (
            rearrange(layer(hidden), "b c h w -> b 1 (h w) c").contiguous()
            for layer in (self.q, self.k, self.v)
        )
        hidden = F.scaled_dot_product_attention(q, k, v)
        update: Tensor = self.proj_out(rearrange(hidden, "b 1 (h w) c -> b c h w", h=x.shape[-2]))
        return x + update


def _downsample(ops: Ops, width: int) -> nn.Module:
    """Halves both sides with a strided convolution padded at the right and bottom."""
    conv = ops.Conv2d(width, width, kernel_size=3, stride=2, padding=0)
    return nn.Sequential(OrderedDict(pad=nn.ZeroPad2d((0, 1, 0, 1)), conv=conv))


class Upsample(nn.Module):
    """Doubles both sides by nearest neighbour, then a convolution."""

    def __init__(self, width: int, ops: Ops) -> None:
        super().__init__()
        self.conv = _conv3(ops, width, width)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return upsample_conv(x, self.conv)
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))  # type: ignore[no-any-return]


class Level(nn.Module):
    """The blocks of one resolution: `block`, `attn` (empty without attention), then `downsample` or `upsample`."""

    def __init__(
        self, inputs: int, outputs: int, blocks: int, attention: bool, groups: int, ops: Ops
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ResnetBlock(inputs if index == 0 else outputs, outputs, groups, ops)
            for index in range(blocks)
        )
        self.attn = nn.ModuleList(
            AttnBlock(outputs, groups, ops) for _ in range(blocks if attention else 0)
        )
        self.downsample: nn.Module | None = None
        self.upsample: Upsample | None = None

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers():
            x = layer(x)
        return x

    def layers(self) -> Iterator[nn.Module]:
        """Its layers in order.

        Whoever runs them one by one holds no picture longer than the layer that reads it.
        """
        for index, block in enumerate(self.block):
            yield block
            if self.attn:
                yield self.attn[index]
        for resize in (self.downsample, self.upsample):
            if resize is not None:
                yield resize


def layers_of(levels: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The layers of several levels in order."""
    for level in levels:
        assert isinstance(level, Level)
        yield from level.layers()


def _middle(ops: Ops, width: int, groups: int) -> nn.Module:
    """Residual block, attention, residual block at the lowest resolution."""
    return nn.Sequential(
        OrderedDict(
            block_1=ResnetBlock(width, width, groups, ops),
            attn_1=AttnBlock(width, groups, ops),
            block_2=ResnetBlock(width, width, groups, ops),
        )
    )


class Encoder(nn.Module):
    """Picture [B, 3, H, W] in [-1, 1] -> [B, outputs, H/f, W/f].

    Without `outputs` the last convolution is left out and the features before it, [B, widths[-1], H/f, W/f] after the
    final normalisation and SiLU, are returned: this is the trunk that the detail head reads.
    """

    def __init__(self, config: KLConfig, outputs: int | None, ops: Ops = nn) -> None:
        super().__init__()
        groups, widths = config.norm_groups, config.widths
        self.conv_in = _conv3(ops, 3, widths[0])
        self.down = nn.ModuleList()
        for index, width in enumerate(widths):
            inputs = widths[max(index - 1, 0)]
            level = Level(
                inputs, width, config.res_blocks, index in config.attention_levels, groups, ops
            )
            if index < len(widths) - 1:
                level.downsample = _downsample(ops, width)
            self.down.append(level)
        self.mid = _middle(ops, widths[-1], groups)
        self.norm_out = _norm(ops, widths[-1], groups)
        self.conv_out = None if outputs is None else _conv3(ops, widths[-1], outputs)

    def features(self, images: Tensor) -> Tensor:
        """What the last convolution reads: [B, widths[-1], H/f, W/f]."""
        x = self.conv_in(images)
        for layer in layers_of(self.down):
            x = layer(x)
        return F.silu(self.norm_out(self.mid(x)))

    def moments(self, features: Tensor) -> Tensor:
        """What the last convolution makes of them: [B, outputs, H/f, W/f]."""
        assert self.conv_out is not None
        return self.conv_out(features)  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        return features if self.conv_out is None else self.moments(features)


class Decoder(nn.Module):
    """Latent [B, inputs, h, w] -> picture [B, 3, h * f, w * f], not clamped.

    Without `inputs` the first convolution is left out and the decoder starts from features [B, widths[-1], h, w]:
    this is the joint decoder, fed by the stem.
    """

    def __init__(self, config: KLConfig, inputs: int | None, ops: Ops = nn) -> None:
        super().__init__()
        self.config = config
        groups, widths = config.norm_groups, config.widths
        self.conv_in = None if inputs is None else _conv3(ops, inputs, widths[-1])
        self.mid = _middle(ops, widths[-1], groups)
        self.up = nn.ModuleList()
        for index, width in enumerate(widths):
            above = widths[min(index + 1, len(widths) - 1)]
            level = Level(
                above, width, config.res_blocks + 1, index in config.attention_levels, groups, ops
            )
            if index > 0:
                level.upsample = Upsample(width, ops)
            self.up.append(level)
        self.norm_out = _norm(ops, widths[0], groups)
        self.conv_out = _conv3(ops, widths[0], 3)

    def first_features(self, latents: Tensor) -> Tensor:
        """What the first convolution makes of a latent: [B, widths[-1], h, w]."""
        assert self.conv_in is not None
        return self.conv_in(latents)  # type: ignore[no-any-return]

    def forward(self, latents: Tensor) -> Tensor:
        x = self.mid(latents if self.conv_in is None else self.first_features(latents))
        layers = layers_of(reversed(self.up))
        for layer in layers:
            if layer is self._last_upsample and not torch.is_grad_enabled() and is_large(x):
                assert isinstance(layer, Upsample)
                # The largest picture of all, which its first block writes over.
                halves = upsampled_halves(x, layer.conv)
                del x
                x = residual_block_over(next(layers), halves)
                del halves
            else:
                x = layer(x)
        if not torch.is_grad_enabled() and is_large(x):
            return norm_silu_conv(x, self.norm_out, self.conv_out)
        return self.conv_out(F.silu(self.norm_out(x)))  # type: ignore[no-any-return]

    @property
    def _last_upsample(self) -> nn.Module | None:
        """What makes the full size, if the block after it halves the channels."""
        if len(self.up) < 2 or self.config.widths[1] != 2 * self.config.widths[0]:
            return None
        level = self.up[1]
        assert isinstance(level, Level)
        return level.upsample


class DCDown(nn.Module):
    """Detail head: trunk features [B, inputs, H, W] -> moments [B, outputs, H/s, W/s] (docs/method.md, "Detail head").

    A convolution and a pixel-unshuffle, beside a shortcut without a convolution: the unshuffled features averaged over
    groups of consecutive channels, or a zero-initialised 1x1 convolution of them where the groups do not come out
    even. Raises ValueError when `outputs` is no multiple of s * s.
    """

    def __init__(self, inputs: int, outputs: int, ratio: int, ops: Ops = nn) -> None:
        super().__init__()
        require_even_unshuffle(outputs, ratio)
        self.ratio, self.outputs = ratio, outputs
        self.conv = _conv3(ops, inputs, outputs // ratio**2)
        self.shortcut_proj: nn.Module | None = None
        if inputs * ratio**2 % outputs:
            self.shortcut_proj = _conv1(ops, inputs * ratio**2, outputs, bias=False)
            nn.init.zeros_(self.shortcut_proj.weight)  # type: ignore[arg-type]

    def shortcut(self, features: Tensor) -> Tensor:
        """What stands beside the convolution: [B, inputs, H, W] -> [B, outputs, H/s, W/s]."""
        cells = unshuffle(features, self.ratio)
        if self.shortcut_proj is not None:
            return self.shortcut_proj(cells)  # type: ignore[no-any-return]
        return reduce(cells, "b (c g) h w -> b c h w", "mean", c=self.outputs)

    def forward(self, features: Tensor) -> Tensor:
        return unshuffle(self.conv(features), self.ratio) + self.shortcut(features)


class DCUp(nn.Module):
    """Decoder stem: latent [B, inputs, h, w] -> features [B, outputs, h * s, w * s] (docs/method.md, "Stem").

    A convolution and a pixel-shuffle, beside each input channel repeated and shuffled. Raises ValueError when
    outputs * s * s is no multiple of `inputs`.
    """

    def __init__(self, inputs: int, outputs: int, ratio: int, ops: Ops = nn) -> None:
        super().__init__()
        require_even_stem(inputs, outputs, ratio)
        self.ratio, self.repeats = ratio, outputs * ratio**2 // inputs
        self.conv = _conv3(ops, inputs, outputs * ratio**2)

    def shortcut(self, latents: Tensor) -> Tensor:
        """Each input channel repeated, beside the convolution: [B, inputs, h, w] -> [B, outputs * s * s, h, w]."""
        return repeat(latents, "b c h w -> b (c n) h w", n=self.repeats)

    def forward(self, latents: Tensor) -> Tensor:
        cells: Tensor = self.conv(latents) + self.shortcut(latents)
        return shuffle(cells, self.ratio)


def shuffle(x: Tensor, ratio: int) -> Tensor:
    """[B, c * s * s, h, w] -> [B, c, h * s, w * s], the inverse of `unshuffle`."""
    return rearrange(x, "b (c i j) h w -> b c (h i) (w j)", i=ratio, j=ratio)


def unshuffle(x: Tensor, ratio: int) -> Tensor:
    """[B, c, h * s, w * s] -> [B, c * s * s, h, w]: the pixels of a cell become channels, channel by channel."""
    return rearrange(x, "b c (h i) (w j) -> b (c i j) h w", i=ratio, j=ratio)
