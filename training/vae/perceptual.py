"""The LPIPS distance with its backbone weights from a local file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from davae_core.files import read_safetensors
from davae_core.published.pickles import read_plain_weights

from ..errors import TrainingError
from .config import PerceptualConfig

if TYPE_CHECKING:
    from .losses import Perceptual

_TORCHVISION_FILES = {
    "vgg": "vgg16-397923af.pth",
    "alex": "alexnet-owt-7be5be79.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}
_SOURCE = "https://download.pytorch.org/models"


def build_perceptual(config: PerceptualConfig, device: torch.device) -> Perceptual | None:
    """The perceptual distance the configuration asks for, or None.

    The linear weights come with the `lpips` package; the backbone's are torchvision's, from `weights` or from torch's
    own cache. Raises TrainingError when the package or the file is missing: nothing is downloaded.
    """
    if config.kind == "none":
        return None
    try:
        import lpips
    except ImportError as error:
        raise TrainingError(
            "loss.perceptual is lpips, but the package lpips is not installed: pip install lpips, or set "
            "loss.perceptual.kind to none."
        ) from error
    path = _weights_file(config)
    weights = _read_weights(path)
    distance = lpips.LPIPS(net=config.net, pnet_rand=True, verbose=False)
    _load_backbone(distance.net, weights, path)
    distance.requires_grad_(False)
    return distance.to(device).eval()  # type: ignore[no-any-return]


def _weights_file(config: PerceptualConfig) -> Path:
    name = _TORCHVISION_FILES[config.net]
    standard = Path(torch.hub.get_dir()) / "checkpoints" / name
    path = standard if config.weights is None else Path(config.weights).expanduser()
    if not path.is_file():
        raise TrainingError(
            f"loss.perceptual needs the backbone weights {path}, which are not there: download {_SOURCE}/{name} into "
            f"{path.parent}, name another file in loss.perceptual.weights, or set loss.perceptual.kind to none."
        )
    return path


def _read_weights(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    return read_plain_weights(path, "torchvision's own file")


def _load_backbone(backbone: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """torchvision names `features.<n>.…` to lpips' `slice<k>.<n>.…`; the classifier's weights are not used."""
    wanted = backbone.state_dict()
    found = {name: weights.get("features." + name.partition(".")[2]) for name in wanted}
    fitting = {
        name: tensor
        for name, tensor in found.items()
        if isinstance(tensor, Tensor) and tensor.shape == wanted[name].shape
    }
    if len(fitting) < len(wanted):
        raise TrainingError(
            f"{path} does not hold the backbone that loss.perceptual.net asks for ({len(wanted) - len(fitting)} of "
            f"{len(wanted)} tensors missing or of another shape): give torchvision's file for that net."
        )
    backbone.load_state_dict(fitting)
