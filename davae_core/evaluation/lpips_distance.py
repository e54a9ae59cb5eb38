"""LPIPS (Zhang et al. 2018) with its backbone's weights from a local file; its linear weights come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

from ..files import CheckpointError, read_safetensors
from ..published.pickles import read_plain_weights

Net = Literal["vgg", "alex", "squeeze"]
"""LPIPS' backbones."""
BACKBONE_FILES: dict[Net, str] = {
    "vgg": "vgg16-397923af.pth",
    "alex": "alexnet-owt-7be5be79.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}
"""torchvision's files of them, below SOURCE."""
SOURCE = "https://download.pytorch.org/models"
_EDGES: dict[Net, tuple[str, tuple[int, ...]]] = {
    "alex": ("features.0.weight", (64, 3, 11, 11)),
    "squeeze": ("features.3.squeeze.weight", (16, 64, 1, 1)),
    "vgg": ("features.28.weight", (512, 512, 3, 3)),
}
"""A tensor of each backbone that the others do not have."""


def load_lpips(net: Net, path: Path, weights: dict[str, Tensor], device: torch.device) -> nn.Module:
    """LPIPS on the backbone `net`, with the `weights` that `read_backbone` found at `path`; nothing in it learns.

    It takes two batches [B, 3, H, W] in [-1, 1]. Raises CheckpointError when they are another backbone's, ImportError
    without the package lpips.
    """
    import lpips

    distance = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    _load_backbone(distance.net, weights, path, net)
    distance.requires_grad_(False)
    return cast("nn.Module", distance.to(device).eval())


def read_backbone(path: Path) -> dict[str, Tensor]:
    """The tensors of torchvision's file, a .pth or the same as safetensors. Raises CheckpointError."""
    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    return read_plain_weights(path, "torchvision's own file")


def backbone_in(path: Path, weights: dict[str, Tensor]) -> Net:
    """Which backbone the weights are. Raises CheckpointError, saying where to get one, when they are none."""
    for net, (name, shape) in _EDGES.items():
        if isinstance(weights.get(name), Tensor) and tuple(weights[name].shape) == shape:
            return net
    raise CheckpointError(
        f"{path} holds no backbone of LPIPS: give torchvision's {BACKBONE_FILES['vgg']} or {BACKBONE_FILES['alex']} "
        f"from {SOURCE}."
    )


def _load_backbone(backbone: nn.Module, weights: dict[str, Tensor], path: Path, net: Net) -> None:
    """torchvision names `features.<n>.…` to lpips' `slice<k>.<n>.…`; the classifier's weights are not used."""
    wanted = backbone.state_dict()
    found = {name: weights.get("features." + name.partition(".")[2]) for name in wanted}
    fitting = {
        name: tensor
        for name, tensor in found.items()
        if isinstance(tensor, Tensor) and tensor.shape == wanted[name].shape
    }
    if len(fitting) < len(wanted):
        raise CheckpointError(
            f"{path} does not hold the backbone {net} of LPIPS ({len(wanted) - len(fitting)} of {len(wanted)} tensors "
            f"missing or of another shape): give torchvision's {BACKBONE_FILES[net]}."
        )
    backbone.load_state_dict(fitting)
