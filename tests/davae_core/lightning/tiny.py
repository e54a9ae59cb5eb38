"""A tiny LightningDiT with random weights, none of them zero."""

from pathlib import Path

import torch

from davae_core.latents import ChannelStatistics, LatentLayout
from davae_core.lightning.description import ClassAdvice
from davae_core.lightning.files import ClassModel, write_class_model
from davae_core.lightning.model import LightningDiT
from davae_core.lightning.sizes import LightningSizes

TINY = LightningSizes(
    channels=6, patch=1, blocks=2, width=32, heads=2, side=4, classes=3, normed=True
)


def random_weights(sizes: LightningSizes, seed: int = 0) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LightningDiT(sizes)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
    return dict(model.state_dict())


LAYOUT = LatentLayout(2, 4, 2, 2, 0.0, 1.0)
MODEL = ClassModel(
    LAYOUT,
    TINY,
    ChannelStatistics(torch.arange(6.0), torch.arange(1.0, 7.0)),
    random_weights(TINY),
    ClassAdvice(steps=7),
    {"vae": "ab"},
)


def write_tiny(path: Path) -> Path:
    write_class_model(path, MODEL)
    return path
