"""The LPIPS distance with its backbone weights from a local file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from davae_core.evaluation.lpips_distance import (
    BACKBONE_FILES,
    SOURCE,
    load_lpips,
    read_backbone,
)

from ..errors import TrainingError
from .config import PerceptualConfig

if TYPE_CHECKING:
    from .losses import Perceptual


def build_perceptual(config: PerceptualConfig, device: torch.device) -> Perceptual | None:
    """The perceptual distance the configuration asks for, or None.

    The linear weights come with the `lpips` package; the backbone's are torchvision's, from `weights` or from torch's
    own cache. Raises TrainingError when the package or the file is missing, CheckpointError when it holds anything
    else: nothing is downloaded.
    """
    if config.kind == "none":
        return None
    try:
        import lpips  # noqa: F401
    except ImportError as error:
        raise TrainingError(
            "loss.perceptual is lpips, but the package lpips is not installed: pip install lpips, or set "
            "loss.perceptual.kind to none."
        ) from error
    path = _weights_file(config)
    return load_lpips(config.net, path, read_backbone(path), device)


def _weights_file(config: PerceptualConfig) -> Path:
    name = BACKBONE_FILES[config.net]
    standard = Path(torch.hub.get_dir()) / "checkpoints" / name
    path = standard if config.weights is None else Path(config.weights).expanduser()
    if not path.is_file():
        raise TrainingError(
            f"loss.perceptual needs the backbone weights {path}, which are not there: download {SOURCE}/{name} into "
            f"{path.parent}, name another file in loss.perceptual.weights, or set loss.perceptual.kind to none."
        )
    return path
