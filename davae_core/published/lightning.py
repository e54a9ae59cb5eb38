"""Published LightningDiT weights: pickles of `{"model": ..., "ema": ...}`, or the same tensors as safetensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ..files import CheckpointError, read_safetensors, reason_of
from ..format import KIND_CLASS_MODEL, check_weights, read_metadata, shapes_of, what_is
from ..latents import ChannelStatistics
from ..lightning.files import check_lightning, read_class_model, statistics_of
from ..lightning.sizes import LABELS, LightningSizes, lightning_sizes
from .pickles import read_plain_weights

Part = Literal["model", "ema"]
"""Which weights of a training's file: those that trained, or their average."""
_WRAPPED = "module."


@dataclass(frozen=True)
class LightningWeights:
    """A pretrained LightningDiT; `statistics` of its latents where its file has them."""

    weights: dict[str, Tensor]
    sizes: LightningSizes
    statistics: ChannelStatistics | None = None


def load_lightning(path: str | Path, part: Part = "model") -> LightningWeights:
    """A LightningDiT from a published .pt file, a safetensors file of the same tensors, or one of this project.

    `part`: which of a .pt file's weights, where it has both. Raises CheckpointError for anything else.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        loaded = read_plain_weights(path, "a published LightningDiT (.pt)")
        return _checked(path, _part_of(loaded, part))
    tensors, metadata = read_safetensors(path)
    described = read_metadata(path, metadata)
    if described.get("kind") == KIND_CLASS_MODEL:
        own = read_class_model(path)
        return LightningWeights(own.weights, own.sizes, own.statistics)
    if described or LABELS not in tensors:
        raise CheckpointError(
            f"{path} is {what_is(shapes_of(tensors), described)}, not a LightningDiT: give a published one, or one "
            "that `python -m training dit` wrote."
        )
    return _checked(path, tensors)


def load_statistics(path: str | Path, channels: int) -> ChannelStatistics:
    """The mean and deviation of `channels` latent channels, as `latents_stats.pt` holds them, or as safetensors.

    Raises CheckpointError when there are none, or others.
    """
    path = Path(path)
    found: Mapping[str, Any] = (
        read_safetensors(path)[0]
        if path.suffix == ".safetensors"
        else read_plain_weights(path, "a latents_stats.pt")
    )
    mean, std = found.get("mean"), found.get("std")
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        raise CheckpointError(f"{path} holds no mean and std of latents: give a latents_stats.pt.")
    try:
        return statistics_of(mean, std, channels)
    except ValueError as error:
        raise CheckpointError(
            f"{path} holds no statistics of these latents ({reason_of(error)}): give those of the pretrained "
            "transformer's VAE."
        ) from error


def _part_of(loaded: Mapping[str, Any], part: Part) -> dict[str, Tensor]:
    held = [name for name in (part, "model", "ema") if isinstance(loaded.get(name), dict)]
    inner = loaded[held[0]] if held else loaded
    return {
        str(name).removeprefix(_WRAPPED): value
        for name, value in inner.items()
        if isinstance(value, Tensor)
    }


def _checked(path: Path, tensors: dict[str, Tensor]) -> LightningWeights:
    check_weights(path, tensors)
    try:
        sizes = lightning_sizes(tensors)
    except ValueError as error:
        raise CheckpointError(
            f"{path} is no LightningDiT ({reason_of(error)}): give a published one, such as "
            "lightningdit-xl-imagenet256-800ep.pt."
        ) from error
    check_lightning(path, tensors, sizes)
    return LightningWeights(tensors, sizes)
