"""Small autoencoders in files: TAESD's published pair, the one file stock ComfyUI reads, and sizes from shapes."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..files import CheckpointError, read_safetensors, reason_of
from ..latents import LatentLayout
from .level_counts import small_level_blocks
from .small import SmallConfig

PREFIX = "taesd_"
"""Before `encoder.` and `decoder.` in the one file that holds both, as ComfyUI knows it."""
SHIFT, SCALE = "vae_shift", "vae_scale"
"""Numbers in that file that lead to the latent's model space."""
_HALVES = ("encoder", "decoder")


def small_vae_tensors(file: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """`encoder.…` and `decoder.…` of a small autoencoder: of one file, or of a published half and the other beside it.

    None when the tensors are no such thing. Raises CheckpointError when the other half is missing.
    """
    one = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in tensors.items()
        if name.startswith(tuple(f"{PREFIX}{half}." for half in _HALVES))
    }
    if one:
        return one
    if not any(
        name.split(".")[:2] == ["3", "conv"] or name == "1.conv.0.weight" for name in tensors
    ):
        return None
    halves = {half: _half(file, half) for half in _HALVES}
    return {f"{half}.{name}": t for half, found in halves.items() for name, t in found.items()}


def _half(file: Path, half: str) -> dict[str, Tensor]:
    name = file.name.replace("encoder", half).replace("decoder", half)
    beside = file.with_name(name)
    if not beside.is_file():
        raise CheckpointError(
            f"{file} is one half of a small VAE and {name} is not beside it: put both into one folder."
        )
    return read_safetensors(beside)[0]


def latent_channels(file: Path, weights: Mapping[str, Tensor]) -> int:
    """C of a small autoencoder's weights. Raises CheckpointError when its decoder has no first convolution."""
    first = weights.get("decoder.1.weight")
    if first is None or first.ndim != 4:
        raise CheckpointError(f"{file} holds no whole small VAE: download it again.")
    return first.shape[1]


def small_config_of(
    file: Path,
    weights: Mapping[str, Tensor],
    numbers: Mapping[str, Tensor],
    like: LatentLayout | None,
) -> SmallConfig:
    """Sizes read off the encoder's names; shift and scale from the file's `numbers`, else from `like`, else 0 and 1.

    Raises CheckpointError when the weights are no such encoder.
    """
    first = weights.get("encoder.0.weight")
    levels, blocks = small_level_blocks(weights)
    if first is None or first.ndim != 4 or levels < 2 or not blocks:
        raise CheckpointError(f"{file} holds no whole small VAE: download it again.")
    shift, scale = (0.0, 1.0) if like is None else (like.base_shift, like.base_scale)
    try:
        if numbers.keys() >= {SHIFT, SCALE}:
            # Stored in float32, where 0.0609 is not quite that number.
            shift, scale = (round(_number(name, numbers[name]), 6) for name in (SHIFT, SCALE))
        return SmallConfig(first.shape[0], levels, blocks, shift, scale)
    except ValueError as error:
        raise CheckpointError(
            f"{file} holds no whole small VAE ({reason_of(error)}): download it again."
        ) from error


def _number(name: str, tensor: Tensor) -> float:
    if tensor.numel() != 1 or not tensor.is_floating_point() or not torch.isfinite(tensor):
        raise ValueError(f"{name} is no number")
    return float(tensor)


def as_one_file(weights: Mapping[str, Tensor], config: SmallConfig) -> dict[str, Tensor]:
    """The weights as the one file that stock ComfyUI loads from models/vae, shift and scale beside them."""
    named = {PREFIX + name: tensor for name, tensor in weights.items()}
    return named | {SHIFT: torch.tensor(config.shift), SCALE: torch.tensor(config.scale)}
