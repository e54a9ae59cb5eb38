"""The tensors of a codec by name and shape, listed from its sizes: a file is compared with them without any module.

What the modules of blocks.py, small.py, autoencoder.py and packed.py hold, under the same names.
"""

from collections.abc import Iterator

from .sizes import (
    AnyConfig,
    Backbone,
    KLConfig,
    PackedConfig,
    SmallConfig,
    phase_channels,
    require_even_stem,
    require_even_unshuffle,
)

Shapes = dict[str, tuple[int, ...]]
_Part = Iterator[tuple[str, tuple[int, ...]]]


def codec_shapes(config: AnyConfig, base_decoder: bool) -> Shapes:
    """Every tensor of a codec of these sizes; without `base_decoder` of a compact one.

    Raises ValueError where channels cannot be shared out evenly, as building the codec does.
    """
    layout, backbone = config.layout, config.backbone
    base, features = layout.base_channels, backbone.features
    found = dict(_encoder("encoder", backbone, base))
    if base_decoder or isinstance(config, PackedConfig):
        found |= _decoder("decoder", backbone, base)
    if isinstance(backbone, KLConfig) and backbone.quant_conv:
        found |= _conv("quant_conv", 2 * base, 2 * base, 1)
        if base_decoder or isinstance(config, PackedConfig):
            found |= _conv("post_quant_conv", base, base, 1)
    if isinstance(config, PackedConfig):
        return found | dict(_packing(config))
    moments, ratio = 2 * layout.detail_channels, layout.ratio
    require_even_unshuffle(moments, ratio)
    require_even_stem(layout.channels, features, ratio)
    if not config.shared_trunk:
        found |= _encoder("detail.trunk", backbone, None)
    found |= _conv("detail.down.conv", features, moments // ratio**2)
    if features * ratio**2 % moments:
        found |= _conv("detail.down.shortcut_proj", features * ratio**2, moments, 1, bias=False)
    found |= {f"detail.{name}": (layout.detail_channels,) for name in ("mean", "std")}
    found |= _conv("joint.up.conv", layout.channels, features * ratio**2)
    return found | dict(_decoder("joint.decoder", backbone, None))


def _packing(config: PackedConfig) -> _Part:
    phases, detail = phase_channels(config.layout), config.layout.detail_channels
    yield "detail.prediction", (phases, config.layout.base_channels, 3, 3)
    yield "detail.mean", (phases,)
    yield "detail.axes", (detail, phases)
    yield "detail.std", (detail,)


def _encoder(name: str, backbone: Backbone, channels: int | None) -> _Part:
    """Picture to moments of so many latent channels, or without them to features."""
    if isinstance(backbone, SmallConfig):
        yield from _small_encoder(name, backbone, channels)
        return
    widths = backbone.widths
    yield from _conv(f"{name}.conv_in", 3, widths[0])
    for index, width in enumerate(widths):
        level, inputs = f"{name}.down.{index}", widths[max(index - 1, 0)]
        yield from _level(level, backbone, index, inputs, backbone.res_blocks)
        if index < len(widths) - 1:
            yield from _conv(f"{level}.downsample.conv", width, width)
    yield from _middle(f"{name}.mid", widths[-1])
    yield from _norm(f"{name}.norm_out", widths[-1])
    if channels is not None:
        yield from _conv(f"{name}.conv_out", widths[-1], 2 * channels)


def _decoder(name: str, backbone: Backbone, channels: int | None) -> _Part:
    """Latent of so many channels, or without them features, to picture."""
    if isinstance(backbone, SmallConfig):
        yield from _small_decoder(name, backbone, channels)
        return
    widths = backbone.widths
    if channels is not None:
        yield from _conv(f"{name}.conv_in", channels, widths[-1])
    yield from _middle(f"{name}.mid", widths[-1])
    for index, width in enumerate(widths):
        level, above = f"{name}.up.{index}", widths[min(index + 1, len(widths) - 1)]
        yield from _level(level, backbone, index, above, backbone.res_blocks + 1)
        if index > 0:
            yield from _conv(f"{level}.upsample.conv", width, width)
    yield from _norm(f"{name}.norm_out", widths[0])
    yield from _conv(f"{name}.conv_out", widths[0], 3)


def _level(name: str, backbone: KLConfig, index: int, inputs: int, blocks: int) -> _Part:
    width = backbone.widths[index]
    for block in range(blocks):
        yield from _residual(f"{name}.block.{block}", width if block else inputs, width)
        if index in backbone.attention_levels:
            yield from _attention(f"{name}.attn.{block}", width)


def _middle(name: str, width: int) -> _Part:
    yield from _residual(f"{name}.block_1", width, width)
    yield from _attention(f"{name}.attn_1", width)
    yield from _residual(f"{name}.block_2", width, width)


def _residual(name: str, inputs: int, outputs: int) -> _Part:
    yield from _norm(f"{name}.norm1", inputs)
    yield from _conv(f"{name}.conv1", inputs, outputs)
    yield from _norm(f"{name}.norm2", outputs)
    yield from _conv(f"{name}.conv2", outputs, outputs)
    if inputs != outputs:
        yield from _conv(f"{name}.nin_shortcut", inputs, outputs, 1)


def _attention(name: str, width: int) -> _Part:
    yield from _norm(f"{name}.norm", width)
    for layer in ("q", "k", "v", "proj_out"):
        yield from _conv(f"{name}.{layer}", width, width, 1)


def _small_encoder(name: str, config: SmallConfig, channels: int | None) -> _Part:
    width, number = config.width, 2
    yield from _conv(f"{name}.0", 3, width)
    yield from _small_block(f"{name}.1", width)
    for _ in range(config.levels - 1):
        yield from _conv(f"{name}.{number}", width, width, bias=False)
        for block in range(number + 1, number + 1 + config.blocks):
            yield from _small_block(f"{name}.{block}", width)
        number += 1 + config.blocks
    if channels is not None:
        yield from _conv(f"{name}.{number}", width, channels)


def _small_decoder(name: str, config: SmallConfig, channels: int | None) -> _Part:
    width, number = config.width, 3
    if channels is not None:
        yield from _conv(f"{name}.1", channels, width)
    for _ in range(config.levels - 1):
        for block in range(number, number + config.blocks):
            yield from _small_block(f"{name}.{block}", width)
        # Between the blocks and the convolution both sides are doubled, by a layer without weights.
        yield from _conv(f"{name}.{number + config.blocks + 1}", width, width, bias=False)
        number += config.blocks + 2
    yield from _small_block(f"{name}.{number}", width)
    yield from _conv(f"{name}.{number + 1}", width, 3)


def _small_block(name: str, width: int) -> _Part:
    for number in (0, 2, 4):
        yield from _conv(f"{name}.conv.{number}", width, width)


def _conv(name: str, inputs: int, outputs: int, side: int = 3, bias: bool = True) -> _Part:
    yield f"{name}.weight", (outputs, inputs, side, side)
    if bias:
        yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> _Part:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)
