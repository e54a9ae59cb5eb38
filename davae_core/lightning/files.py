"""Files of class-conditional models: a LightningDiT under its published names, and what its latents are.

Beside the model's tensors, `latent.mean` and `latent.std` [C + D] hold the statistics that lead from VAE space to the
model's; the metadata key "davae" says layout, sizes, how to sample it, and the hash of the DA-VAE (docs/method.md,
"Files").
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import CheckpointError, read_safetensors
from ..format import (
    KIND_CLASS_MODEL,
    check_weights,
    damaged,
    shapes_of,
    write_described,
)
from ..latents import ChannelStatistics, LatentLayout
from ..reading.plain_text import plain, shown
from .description import ClassAdvice, describe_class_model
from .model import LightningDiT
from .rotary import RotaryTable
from .sizes import LightningSizes

MEAN, STD = "latent.mean", "latent.std"
_ROTARY = ("feat_rope.freqs_cos", "feat_rope.freqs_sin")


@dataclass(frozen=True)
class ClassModel:
    """A LightningDiT's weights by name with what they need: the latent's layout and statistics, and how to sample."""

    layout: LatentLayout
    sizes: LightningSizes
    statistics: ChannelStatistics
    weights: dict[str, Tensor]
    advice: ClassAdvice = field(default_factory=ClassAdvice)
    parents: dict[str, str] = field(default_factory=dict)


def write_class_model(path: str | Path, model: ClassModel) -> None:
    """Write a class-conditional model. Raises CheckpointError when it cannot or for NaN."""
    described: dict[str, Any] = {
        "layout": asdict(model.layout),
        "sizes": asdict(model.sizes),
        "advice": asdict(model.advice),
        "parents": dict(model.parents),
    }
    statistics = {MEAN: model.statistics.mean.float(), STD: model.statistics.std.float()}
    write_described(path, {**model.weights, **statistics}, KIND_CLASS_MODEL, described)


def read_class_model(path: str | Path) -> ClassModel:
    """Read a class-conditional model. Raises CheckpointError for anything else, saying what it is."""
    tensors, metadata = read_safetensors(path)
    told = describe_class_model(path, shapes_of(tensors), metadata)
    check_weights(path, tensors)
    weights = {name: tensor for name, tensor in tensors.items() if name not in (MEAN, STD)}
    check_lightning(path, weights, told.sizes)
    try:
        statistics = statistics_of(tensors[MEAN], tensors[STD], told.layout.channels)
    except (LookupError, ValueError) as error:
        raise damaged(path, error) from error
    return ClassModel(told.layout, told.sizes, statistics, weights, told.advice, told.parents)


def check_lightning(path: str | Path, weights: Mapping[str, Tensor], sizes: LightningSizes) -> None:
    """Raise CheckpointError unless these are all tensors of a LightningDiT of these sizes, tables of angles or not."""
    try:
        with torch.device("meta"):
            wanted = shapes_of(LightningDiT(sizes).state_dict())
    except RuntimeError as error:  # the sizes' product may be beyond any tensor's
        raise CheckpointError(f"{path} is no LightningDiT of any size: get it again.") from error
    found = shapes_of(weights)
    needed = wanted.keys() - set(_ROTARY)
    for name in sorted((found.keys() | needed) - (found.keys() & wanted.keys())):
        state = "lacks" if name in needed else "has beside a LightningDiT's tensors"
        raise CheckpointError(f"{path} {state} {plain(name)}: get the file again.")
    for name, shape in found.items():
        if shape != wanted[name]:
            raise CheckpointError(
                f"{path} holds {plain(name)} as {shown(list(shape))} instead of {list(wanted[name])}: get the file "
                "again."
            )


def build_lightning(sizes: LightningSizes, weights: Mapping[str, Tensor]) -> LightningDiT:
    """The model with these weights, which `check_lightning` accepts, in their own types."""
    with torch.device("meta"):
        model = LightningDiT(sizes)
    whole = dict(weights)
    if any(name not in whole for name in _ROTARY):
        table = RotaryTable(sizes.side, sizes.head_width).state_dict()
        whole |= {f"feat_rope.{name}": tensor for name, tensor in table.items()}
    model.load_state_dict(whole, assign=True)
    model.pos_embed.requires_grad_(False)
    return model


def statistics_of(mean: Tensor, std: Tensor, channels: int) -> ChannelStatistics:
    """Statistics of `channels` channels, however a file shapes them. Raises ValueError when they are none."""
    found = ChannelStatistics(mean.float().flatten(), std.float().flatten())
    if len(found.mean) != channels:
        raise ValueError(f"they are of {len(found.mean)} channels, not {channels}")
    return found
