"""The networks that scores need, each from a file the user names: nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..files import CheckpointError, file_hash
from .clip_similarity import EXAMPLE, Clip, load_clip
from .inception import SOURCE as INCEPTION
from .inception import load_inception
from .lpips_distance import BACKBONE_FILES, backbone_in, load_lpips, read_backbone
from .lpips_distance import SOURCE as BACKBONES

if TYPE_CHECKING:
    from torch import nn

WITHOUT = {
    "inception": f"no --inception was given: the file is at {INCEPTION}",
    "clip": f"no --clip was given: {EXAMPLE}",
    "lpips": f"no --lpips was given: the file is {BACKBONES}/{BACKBONE_FILES['vgg']}",
}
"""Why a score is left out for want of its network, and where to get that."""


@dataclass(frozen=True)
class NetworkFiles:
    """Inception's file, a CLIP's folder, and the file of LPIPS' backbone; None for those that are not there."""

    inception: Path | None = None
    clip: Path | None = None
    lpips: Path | None = None


@dataclass(frozen=True)
class Networks:
    """The networks of the files that were given, on `device`, and what the report says of each."""

    device: str
    inception: nn.Module | None
    clip: Clip | None
    lpips: nn.Module | None
    told: dict[str, dict[str, str]]


def load_networks(files: NetworkFiles, device: str) -> Networks:
    """Load them. Raises CheckpointError for a file that is not there or not what it should be, else ImportError."""
    told: dict[str, dict[str, str]] = {}
    inception = clip = lpips = None
    if files.inception is not None:
        inception = load_inception(files.inception, device)
        told["inception"] = _told(files.inception)
    if files.clip is not None:
        clip = load_clip(files.clip, device)
        told["clip"] = {**_told(files.clip / "model.safetensors"), "file": files.clip.name}
    if files.lpips is not None:
        lpips, net = _lpips(files.lpips, device)
        told["lpips"] = {**_told(files.lpips), "backbone": net}
    return Networks(device, inception, clip, lpips, told)


def _lpips(path: Path, device: str) -> tuple[nn.Module, str]:
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist, but LPIPS needs its backbone's weights: download "
            f"{BACKBONES}/{BACKBONE_FILES['vgg']} and name it with --lpips."
        )
    weights = read_backbone(path)
    net = backbone_in(path, weights)
    try:
        return load_lpips(net, path, weights, torch.device(device)), net
    except ImportError as error:
        raise ImportError(
            "LPIPS needs the package lpips, which is not installed: run `pip install davae[train]`, or leave --lpips "
            "out."
        ) from error


def _told(path: Path) -> dict[str, str]:
    """A file's name and hash; a CLIP whose weights are in several files has no one hash."""
    return {"file": path.name, **({"sha256": file_hash(path)} if path.is_file() else {})}
