"""What the ImageNet branch starts from, at sizes that train in seconds: a VA-VAE, a LightningDiT, settings to match.

The recipes stay what they are; only sizes, lengths and places are set. LPIPS, whose weights are not here, is off.
"""

from pathlib import Path

import torch

from davae_core.codec.autoencoder import KLAutoencoder
from davae_core.codec.blocks import KLConfig
from davae_core.lightning.sizes import LightningSizes
from tests.davae_core.lightning.tiny import random_weights

WIDTHS = (32,) * 5
BASE, DETAIL, SIDE = 4, 12, 64
CODEC = {
    "model.sizes.widths": list(WIDTHS),
    "model.sizes.res_blocks": 1,
    "model.sizes.base_channels": BASE,
    "model.sizes.detail_channels": DETAIL,
    "data.crop": SIDE,
    "data.workers": 0,
    "loss.perceptual": "none",
    "loss.gan.channels": 8,
    "loss.gan.start_step": 1,
    "train.device": "cpu",
    "train.precision": "fp32",
    "train.steps": 2,
    "train.batch_size": 2,
    "train.statistics_samples": 4,
    "validation.pictures": 1,
    "validation.size": SIDE,
    "output.tensorboard": False,
}
CACHE = {
    "images.side": SIDE,
    "images.sizes": [f"{SIDE}x{SIDE}"],
    "work.device": "cpu",
    "work.precision": "fp32",
    "work.batch_size": 4,
    "prompts": ["n02"],
}
DIT = {
    "data.workers": 0,
    "loss.ramp_steps": 2,
    "train.device": "cpu",
    "train.precision": "fp32",
    "train.steps": 2,
    "train.batch_size": 2,
    "validation.samples_every": 2,
    "validation.sampling_steps": 3,
    "output.tensorboard": False,
}
SAMPLES = {
    "samples.count": 3,
    "work.device": "cpu",
    "work.precision": "fp32",
    "work.batch_size": 2,
}


def write_vavae(path: Path) -> Path:
    """A small VAE of VA-VAE's kind, as its file is published."""
    torch.manual_seed(0)
    backbone = KLConfig(WIDTHS, 1, norm_groups=32, attention_levels=(4,), quant_conv=True)
    torch.save({"state_dict": KLAutoencoder(backbone, BASE).state_dict()}, path)
    return path


def write_lightning(path: Path, classes: int, normed: bool = True) -> Path:
    """A small LightningDiT over that VAE's latents of half of SIDE, as its file is published."""
    sizes = LightningSizes(BASE, 1, 2, 32, 2, SIDE // 32, classes, normed)
    weights = random_weights(sizes)
    torch.save({"model": weights, "ema": weights, "config": {}}, path)
    return path
