"""A run that starts from an adapter there is, instead of from the pretrained model alone: `model.start_from`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from davae_core.files import CheckpointError
from davae_core.latents import LatentLayout
from davae_core.reading.plain_text import plain, shown
from davae_core.transformer.adapter import Adapter, read_adapter, widened_edges
from davae_core.transformer.description import Mode
from davae_core.transformer.fingerprint import require_same_base

from ..errors import TrainingError
from ..hub import existing_path
from .config import DitModelConfig
from .edges import fill_edges
from .transformer import LORA_PARTS


def read_start(
    config: DitModelConfig,
    base: Mapping[str, Tensor],
    layout: LatentLayout,
    vae_hash: str,
    mode: Mode,
) -> Adapter | None:
    """The adapter that a run starts from, None where it starts from the pretrained model.

    Raises TrainingError unless it was trained over `base`, for the same DA-VAE and in the same mode.
    """
    if not config.start_from:
        return None
    path = existing_path(config.start_from, "model.start_from", "an adapter of stage 2")
    try:
        adapter = read_adapter(path)
        require_same_base(adapter.parents, path, base, str(config.base))
    except CheckpointError as error:
        raise TrainingError(f"model.start_from cannot be used: {error}") from error
    if adapter.mode != mode:
        raise TrainingError(
            f"model.start_from {path} draws in the mode {adapter.mode}, but train.mode is {mode}: set that to "
            f"{adapter.mode}, or name another adapter."
        )
    if adapter.layout != layout or adapter.parents.get("vae", vae_hash) != vae_hash:
        raise TrainingError(
            f"model.start_from {path} was trained for another DA-VAE than model.vae {config.vae}: name that one, and "
            "caches made with it, or another adapter."
        )
    return adapter


def check_lora(transformer: nn.Module, adapter: Adapter, config: DitModelConfig) -> None:
    """Raise TrainingError unless the adapter has a LoRA of the rank and on the layers that shall train.

    `transformer`: as `build_transformer` gives it, on any device.
    """
    wanted = _lora_of(transformer)
    odd = sorted(adapter.lora.keys() ^ wanted.keys())
    if odd:
        lacking = "lacks" if odd[0] in wanted else "has beside what trains"
        raise TrainingError(
            f"model.start_from {config.start_from} {lacking} {plain(odd[0])}: set model.lora.targets to those of that "
            "adapter, or name another."
        )
    for name, parameter in wanted.items():
        if adapter.lora[name].shape != parameter.shape:
            raise TrainingError(
                f"model.start_from {config.start_from} has {plain(name)} {shown(list(adapter.lora[name].shape))} where "
                f"{list(parameter.shape)} trains: set model.lora.rank to that adapter's, or name another."
            )


@torch.no_grad()
def start_from(
    transformer: nn.Module, adapter: Adapter, base: Mapping[str, Tensor], config: DitModelConfig
) -> None:
    """Put an adapter's LoRA and edge layers into a transformer that `build_transformer` gave, in place.

    `base`: the pretrained transformer under Stability's names. Raises TrainingError when the LoRA is another.
    """
    check_lora(transformer, adapter, config)
    scale = config.lora.alpha / config.lora.rank
    for name, parameter in _lora_of(transformer).items():
        # A file's B holds the scale already.
        parameter.copy_(adapter.lora[name].float() / (scale if "lora_B" in name else 1.0))
    wide = widened_edges(base, adapter.layout)
    fill_edges(transformer, {name: wide[name] + adapter.edges[name].float() for name in wide})


def _lora_of(transformer: nn.Module) -> dict[str, nn.Parameter]:
    """The LoRA's parameters by their names in an adapter."""
    return {
        name.replace(".default.weight", ".weight"): parameter
        for name, parameter in transformer.named_parameters()
        if name.endswith(LORA_PARTS)
    }
