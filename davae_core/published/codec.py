"""The published DA-VAE checkpoint's layout -> ours (docs/method.md, "Published checkpoints").

The published stage-1 file is a pickle with two full diffusers VAEs (`vae.*`, `original_vae_model.vae.*`) and the two
resolution blocks (`dc_down.*`, `dc_up.*`). It is read with weights_only, so nothing in it can run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from ..codec.autoencoder import CodecConfig, DetailAlignedVAE
from ..codec.files import BaseVae, empty_codec
from ..codec.stock_vae import kl_config_of, to_ldm_names
from ..files import CheckpointError, read_safetensors, reason_of
from ..format import check_weights, shapes_of
from ..layout import Number
from ..presets import SD3
from ..reading.json_text import read_json
from ..reading.plain_text import plain
from ..reading.typed import Length, build, picked
from .pickles import read_plain_weights

STATS_NAME = "latent_norm_stats.json"
_OWN, _BASE = "vae.", "original_vae_model.vae."


def convert_codec(
    source: str | Path,
    stats: str | Path | None = None,
    base: BaseVae | None = None,
    compact: bool = False,
) -> DetailAlignedVAE:
    """The codec of a published stage-1 checkpoint, its weights as they are stored there.

    `stats`: JSON with the detail channels' mean and std; None: see `statistics_file`, and 0 and 1 without one.
    `base`: the pretrained VAE, needed only when the checkpoint does not hold it whole. `compact`: the base decoder may
    be missing. Raises CheckpointError, also for `full`-mode checkpoints, which are another model.
    """
    source = Path(source)
    published = _read_published(source)
    check_weights(source, published)
    if "dc_down.conv.weight" not in published or "dc_up.conv.weight" not in published:
        raise CheckpointError(
            f"{source} is not a published DA-VAE checkpoint (no dc_down and dc_up): give the stage-1 file."
        )
    own = _vae_under(published, _OWN)
    base_tensors = _base_tensors(source, published, base, compact)
    config = _config(source, published, own, base_tensors, base)
    tensors = _tensors(published, own, base_tensors, config, _statistics(source, stats))
    codec = empty_codec(source, config, shapes_of(tensors))
    assert isinstance(codec, DetailAlignedVAE)
    codec.load_state_dict(tensors, assign=True)
    return codec


def _read_published(source: Path) -> dict[str, Tensor]:
    if source.suffix == ".safetensors":
        return read_safetensors(source)[0]
    loaded = read_plain_weights(source, "the published pytorch_model.bin")
    inner = loaded.get("state_dict", loaded)
    held = inner if isinstance(inner, dict) else loaded
    return {str(name): value for name, value in held.items() if isinstance(value, Tensor)}


def _vae_under(published: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    part = {
        name.removeprefix(prefix): tensor
        for name, tensor in published.items()
        if name.startswith(prefix)
    }
    return to_ldm_names(part)


def _base_tensors(
    source: Path, published: Mapping[str, Tensor], base: BaseVae | None, compact: bool
) -> dict[str, Tensor]:
    held = _vae_under(published, _BASE)
    given = {} if base is None else base.vae.state_dict()
    if held and (compact or any(name.startswith("decoder.") for name in held)):
        return held
    if not held and not given:
        raise CheckpointError(
            f"{source} does not hold its base VAE: give the pretrained VAE it was trained on with --base."
        )
    if not given:
        raise CheckpointError(
            f"{source} holds the encoder of its base VAE but not the decoder, which drafts need: "
            "give the pretrained VAE with --base, or add --compact to do without drafts."
        )
    if not all(name in given and _nearly_equal(given[name], held[name]) for name in held):
        raise CheckpointError(
            f"{source} holds the encoder of another base VAE than --base names: give the VAE it was trained on."
        )
    return given


def _nearly_equal(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors can be copies of each other, rounded to bfloat16 or not."""
    return first.shape == second.shape and torch.allclose(
        first.float(), second.float(), rtol=2**-7, atol=1e-6
    )


def _config(
    source: Path,
    published: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    base_tensors: Mapping[str, Tensor],
    base: BaseVae | None,
) -> CodecConfig:
    try:
        backbone = kl_config_of(base_tensors)
        channels = base_tensors["encoder.conv_out.weight"].shape[0] // 2
        up, down = published["dc_up.conv.weight"], published["dc_down.conv.weight"]
        ratio = isqrt(up.shape[0] // backbone.widths[-1])
        posterior, stem = down.shape[0] * ratio**2 // 2, up.shape[1]
    except KeyError as error:
        raise CheckpointError(
            f"{source} is not a whole DA-VAE checkpoint ({plain(str(error))} is missing): get it again."
        ) from error
    except (ArithmeticError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"{source} is not a whole DA-VAE checkpoint ({reason_of(error)}): get it again."
        ) from error
    if posterior == stem:
        raise CheckpointError(
            f"{source} was trained in `full` mode (one posterior of {posterior} channels and no kept base latent), "
            "which is not the DA-VAE of the paper: use a checkpoint trained with da_mode diff."
        )
    if posterior + channels != stem:
        raise CheckpointError(
            f"{source} does not fit together (detail {posterior} + base {channels} channels, but a stem of "
            f"{stem}): get the checkpoint again."
        )
    try:
        layout = replace(
            SD3.layout if base is None else base.layout,
            base_channels=channels,
            detail_channels=posterior,
            base_factor=backbone.factor,
            ratio=ratio,
        )
        shared = _same_trunk(own, base_tensors)
        return CodecConfig(layout, backbone, stem_order="detail_first", shared_trunk=shared)
    except ValueError as error:
        raise CheckpointError(
            f"{source} is not a whole DA-VAE checkpoint ({reason_of(error)}): get it again."
        ) from error


def _trunk(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix("encoder."): tensor
        for name, tensor in tensors.items()
        if name.startswith("encoder.") and not name.startswith("encoder.conv_out.")
    }


def _same_trunk(own: Mapping[str, Tensor], base_tensors: Mapping[str, Tensor]) -> bool:
    mine, theirs = _trunk(own), _trunk(base_tensors)
    return mine.keys() == theirs.keys() and all(
        torch.equal(mine[name], theirs[name]) for name in mine
    )


def _tensors(
    published: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    base_tensors: Mapping[str, Tensor],
    config: CodecConfig,
    statistics: tuple[Tensor, Tensor] | None,
) -> dict[str, Tensor]:
    detail = config.layout.detail_channels
    mean, std = statistics if statistics is not None else (torch.zeros(detail), torch.ones(detail))
    if mean.shape != (detail,) or std.shape != (detail,):
        raise CheckpointError(
            f"The detail statistics hold {mean.numel()} channels, the checkpoint {detail}: give its own."
        )
    tensors = dict(base_tensors)
    if not config.shared_trunk:
        tensors |= {f"detail.trunk.{name}": tensor for name, tensor in _trunk(own).items()}
    tensors |= {
        f"joint.{name}": tensor
        for name, tensor in own.items()
        if name.startswith("decoder.") and not name.startswith("decoder.conv_in.")
    }
    for name, tensor in published.items():
        if name.startswith("dc_down."):
            tensors[f"detail.down.{name.removeprefix('dc_down.')}"] = tensor
        elif name.startswith("dc_up."):
            tensors[f"joint.up.{name.removeprefix('dc_up.')}"] = tensor
    return tensors | {"detail.mean": mean, "detail.std": std}


@dataclass(frozen=True)
class _Statistics:
    """The detail channels' mean and standard deviation, as the published training writes them."""

    mean: Annotated[tuple[Number, ...], Length(4096)]
    std: Annotated[tuple[Number, ...], Length(4096)]


def statistics_file(source: str | Path, stats: str | Path | None) -> Path | None:
    """`stats`, or else the latent_norm_stats.json beside `source`, or None when there is neither."""
    beside = Path(source).parent / STATS_NAME
    if stats is not None:
        return Path(stats)
    return beside if beside.is_file() else None


def _statistics(source: Path, stats: str | Path | None) -> tuple[Tensor, Tensor] | None:
    path = statistics_file(source, stats)
    if path is None:
        return None
    try:
        found = build(_Statistics, picked(_Statistics, read_json(path)))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f'{path} is not a statistics file like {{"mean": [...], "std": [...]}}: check it.'
        ) from error
    mean, std = torch.tensor(found.mean), torch.tensor(found.std)
    return mean.float(), torch.where(std > 0, std, torch.full_like(std, 1e-6)).float()
