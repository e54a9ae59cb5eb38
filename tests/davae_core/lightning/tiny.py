"""A tiny LightningDiT with random weights, none of them zero."""

import torch

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
