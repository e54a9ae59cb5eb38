"""A run that trains a codec on, instead of growing one from a pretrained VAE: `model.start_from`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE
from davae_core.codec.files import load_codec, require_base_decoder
from davae_core.files import CheckpointError
from davae_core.latents import LatentLayout

from ..errors import TrainingError
from ..hub import existing_path
from .config import ModelConfig


def read_start(
    config: ModelConfig, wanted: Callable[[LatentLayout], CodecConfig]
) -> DetailAlignedVAE:
    """The learned codec that `model.start_from` names, whole, on the CPU in float32.

    `wanted` gives the configured sizes in the model space that a file says. Raises TrainingError unless the file holds
    a learned codec of these sizes, with its base decoder.
    """
    path = existing_path(str(config.start_from), "model.start_from", "a DA-VAE file of stage 1")
    try:
        codec = load_codec(path)
        require_base_decoder(path, codec)
    except CheckpointError as error:
        raise TrainingError(f"model.start_from cannot be used: {error}") from error
    if not isinstance(codec, DetailAlignedVAE):
        raise TrainingError(
            f"model.start_from {path} is a packed DA-VAE, which has nothing to train: grow a davae from its base VAE "
            "with model.init packed."
        )
    _check_sizes(path, codec.config, wanted(codec.layout))
    return codec.float()


def _check_sizes(path: object, found: CodecConfig, wanted: CodecConfig) -> None:
    said, asked = _flat(asdict(found)), _flat(asdict(wanted))
    for name in sorted(said.keys() | asked.keys()):
        if said.get(name) != asked.get(name):
            raise TrainingError(
                f"model.start_from {path} has {name} {said.get(name)} where the configuration means "
                f"{asked.get(name)}: correct model.preset, model.sizes or model.trunk, or name another DA-VAE."
            )


def _flat(values: dict[str, object]) -> dict[str, object]:
    """The leaves of nested dictionaries by their own names, which no two of a codec's sizes share."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        flat |= _flat(value) if isinstance(value, dict) else {name: value}
    return flat
