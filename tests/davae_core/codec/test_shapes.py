"""The listed shapes are those of the modules, for every kind of codec."""

from dataclasses import replace

import pytest
import torch

from davae_core.codec.files import build_codec
from davae_core.codec.shapes import codec_shapes
from davae_core.codec.sizes import CodecConfig, KLConfig, PackedConfig, SmallConfig
from davae_core.format import shapes_of
from davae_core.latents import LatentLayout
from davae_core.presets import PRESETS

LAYOUT = LatentLayout(16, 16, 4, 2, 0.0, 1.0)
KL = KLConfig(widths=(8, 8, 16), res_blocks=2, norm_groups=4)
SMALL = SmallConfig(width=8, levels=3, blocks=2, shift=0.0, scale=1.0)
TINY = CodecConfig(LAYOUT, KL)


def built(config, base_decoder):
    with torch.device("meta"):
        codec = build_codec(config, ["decoder.conv_in.weight"] if base_decoder else [])
    return shapes_of(codec.state_dict())


@pytest.mark.parametrize("base_decoder", [True, False], ids=["whole", "compact"])
@pytest.mark.parametrize(
    "config",
    [
        *PRESETS.values(),
        TINY,
        replace(TINY, shared_trunk=False),
        replace(TINY, backbone=replace(KL, quant_conv=True, attention_levels=(0, 2))),
        # The groups of the detail head's shortcut do not come out even, so it has a convolution.
        replace(TINY, layout=replace(LAYOUT, detail_channels=48)),
        replace(TINY, layout=replace(LAYOUT, ratio=4)),
        replace(TINY, backbone=replace(KL, widths=(8,)), layout=replace(LAYOUT, base_factor=1)),
        replace(TINY, backbone=SMALL),
        replace(TINY, backbone=SMALL, shared_trunk=False),
        PackedConfig(LAYOUT, KL, 1.0),
        PackedConfig(LAYOUT, replace(KL, quant_conv=True), 0.5),
        PackedConfig(LAYOUT, SMALL, 0.0),
    ],
    ids=str,
)  # fmt: skip
def test_the_listed_tensors_are_the_modules(config, base_decoder):
    assert codec_shapes(config, base_decoder) == built(config, base_decoder)


@pytest.mark.parametrize("change", [{"detail_channels": 5}, {"base_channels": 15}])
def test_channels_that_cannot_be_shared_out_are_refused_in_the_modules_words(change):
    config = replace(TINY, layout=replace(LAYOUT, **change))
    with pytest.raises(ValueError, match=r"multiple of|must divide") as listed:
        codec_shapes(config, True)
    with pytest.raises(ValueError, match=r"multiple of|must divide") as wanted:
        built(config, True)
    assert str(listed.value) == str(wanted.value)
