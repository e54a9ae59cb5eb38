"""Codecs in closed form on the six held-out photographs: packed ones, and learned ones before any training.

    .venv/bin/python -m benchmarks.miniature.packed_codes

Fitted to the middle of each training photograph of the miniature, as `davae pack` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from davae_core import mini
from davae_core.cli.pack import middle
from davae_core.codec.autoencoder import Codec, DetailAlignedVAE
from davae_core.codec.files import BaseVae, load_base_vae
from davae_core.codec.packing_fit import pack
from davae_core.images import image_from_pil
from davae_core.latents import crop_to_multiple
from davae_core.presets import SMALL
from training.mini import photographs
from training.vae.fitting import fit_codec
from training.vae.initialisation import initialise_detail

from .measures import Fidelity, fidelity, held_out_pictures, rebuild_all

CHANNELS = (16, 32, 48, 64)


def bundled_base() -> BaseVae:
    """The miniature's base VAE in float32."""
    found = load_base_vae(mini.davae_path())
    return BaseVae(found.vae.float().requires_grad_(False), found.layout)


def crops() -> Iterator[Tensor]:
    """The middles of the training photographs."""
    for photo in photographs.TRAINING:
        picture = image_from_pil(photographs.load(photo))
        yield middle(crop_to_multiple(picture, SMALL.layout.factor), SMALL.layout.factor)


def untrained(base: BaseVae, packed: bool) -> DetailAlignedVAE:
    """A learned codec of the miniature's sizes as stage 1 starts it."""
    torch.manual_seed(0)
    layout = replace(base.layout, detail_channels=SMALL.layout.detail_channels, ratio=2)
    codec = DetailAlignedVAE.from_base(base.vae, replace(SMALL, layout=layout)).eval()
    initialise_detail(codec)
    fit_codec(codec, crops, detail_learned=True, packed=packed)
    return codec


def rows() -> dict[str, Callable[[], Codec]]:
    """What is measured, by its name in the table."""
    base = bundled_base()
    packings = {
        f"packed, D = {count}": lambda count=count: pack(base, crops(), detail_channels=count)
        for count in CHANNELS
    }
    starts = {
        f"learned, D = 16, before training, `model.init: {name}`": lambda name=name: untrained(
            base, name == "packed"
        )
        for name in ("good", "packed")
    }
    return {**packings, **starts}


def measure(codec: Codec) -> Fidelity:
    """PSNR and SSIM on the six held-out photographs."""
    pictures = held_out_pictures(codec.layout.factor)
    return fidelity(pictures, rebuild_all(pictures, lambda part: codec.decode(codec.encode(part))))


def main() -> None:
    """Print the table."""
    for name, build in rows().items():
        found = measure(build())
        print(f"| {name} | {found.mean_psnr:.2f} ({found.mean_ssim:.3f}) |", flush=True)


if __name__ == "__main__":
    main()
