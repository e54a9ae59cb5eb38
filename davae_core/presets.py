"""Known codecs. Only here do the numbers of a particular model stand."""

from .codec.sizes import CodecConfig, KLConfig, SmallConfig
from .layout import LatentLayout

SD3 = CodecConfig(
    layout=LatentLayout(
        base_channels=16,
        detail_channels=16,
        base_factor=8,
        ratio=2,
        base_shift=0.0609,
        base_scale=1.5305,
    ),
    backbone=KLConfig(widths=(128, 256, 512, 512), res_blocks=2, norm_groups=32),
    stem_order="detail_first",
)
"""Stable Diffusion 3 and 3.5 (docs/method.md, "Presets")."""

IMAGENET = CodecConfig(
    layout=LatentLayout(
        base_channels=32,
        detail_channels=96,
        base_factor=16,
        ratio=2,
        base_shift=0.0,
        base_scale=1.0,
    ),
    backbone=KLConfig(
        widths=(128, 128, 256, 256, 512),
        res_blocks=2,
        norm_groups=32,
        attention_levels=(4,),
        quant_conv=True,
    ),
    stem_order="base_first",
    shared_trunk=False,
)
"""The paper's ImageNet codec on VA-VAE f16d32."""

MINI = CodecConfig(
    layout=LatentLayout(
        base_channels=16, detail_channels=16, base_factor=8, ratio=2, base_shift=0.0, base_scale=1.0
    ),
    backbone=KLConfig(widths=(16, 32, 64, 64), res_blocks=1, norm_groups=4),
    stem_order="detail_first",
)
"""The miniature's sizes; shift and scale are measured when its base VAE is trained and stand in its file."""

SMALL = CodecConfig(
    layout=SD3.layout,
    backbone=SmallConfig(
        width=64,
        levels=4,
        blocks=3,
        shift=SD3.layout.base_shift,
        scale=SD3.layout.base_scale,
    ),
    stem_order="detail_first",
)
"""A codec on the latent space of Stable Diffusion 3 that is small enough for a CPU, with TAESD3's sizes."""

PATCH = 2
"""Latent cells along one side of a token, in every transformer of Stable Diffusion 3."""

PRESETS: dict[str, CodecConfig] = {"sd3": SD3, "imagenet": IMAGENET, "mini": MINI, "small": SMALL}
