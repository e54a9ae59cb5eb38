"""The class-conditional transformer of stage 2: read, widened or new, its latents' statistics, and as a file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from davae_core.files import CheckpointError
from davae_core.latents import ChannelStatistics, LatentLayout
from davae_core.lightning.files import build_lightning
from davae_core.lightning.model import LightningDiT, start_from_nothing
from davae_core.lightning.sizes import LightningSizes
from davae_core.lightning.widening import add_norms, widen_lightning
from davae_core.published.lightning import LightningWeights, load_lightning, load_statistics

from ..cache.class_list import labels_of
from ..cache.latent_cache import LatentCache
from ..engine.randomness import Stream, numpy_generator
from ..errors import TrainingError
from ..hub import existing_path
from .config import DitModelConfig

_LOG = logging.getLogger(__name__)
MOST_MEASURED = 10_000
"""Latents that statistics are taken over, as in the published code."""
_SMALLEST_STD = 1e-6


def read_class_base(config: DitModelConfig, channels: int) -> LightningWeights | None:
    """The pretrained LightningDiT, with the statistics of its latents where they are known; None without one.

    `channels`: the base's. Raises TrainingError, and CheckpointError for statistics that cannot be read.
    """
    if not config.base:
        return None
    path = existing_path(config.base, "model.base", "a published LightningDiT, or one trained here")
    try:
        found = load_lightning(path, config.lightning.weights)
    except CheckpointError as error:
        raise TrainingError(f"model.base cannot be used: {error}") from error
    if found.sizes.channels != channels:
        raise TrainingError(
            f"model.base {path} reads {found.sizes.channels} latent channels, but the base channels of model.vae are "
            f"{channels}: give the transformer that belongs to that VAE."
        )
    statistics = found.statistics
    if config.lightning.statistics:
        statistics = load_statistics(Path(config.lightning.statistics).expanduser(), channels)
    return LightningWeights(*_with_norms(config, found), statistics)


def _with_norms(
    config: DitModelConfig, found: LightningWeights
) -> tuple[dict[str, Tensor], LightningSizes]:
    wanted, normed = config.lightning.qk_norm, found.sizes.normed
    if wanted is None or wanted == normed:
        return found.weights, found.sizes
    if not wanted:
        raise TrainingError(
            f"model.lightning.qk_norm is false, but model.base {config.base} has norms of queries and keys: leave the "
            "setting empty."
        )
    _LOG.warning(
        "%s has no norms of queries and keys: they are added, so the run does not start from exactly that model",
        config.base,
    )
    return add_norms(found.weights, found.sizes)


def sizes_of_run(
    config: DitModelConfig, caches: Sequence[LatentCache], base: LightningWeights | None
) -> LightningSizes:
    """The sizes of the model that is trained on the caches, widened or from nothing.

    Raises TrainingError when the caches have captions for classes, latents that are not all one square, or others than
    `base` was made for.
    """
    check_classes(caches[0])
    channels = caches[0].head.layout.channels
    patch = config.lightning.patch if base is None else base.sizes.patch
    side, classes = _side(caches, patch), class_count(caches[0])
    if base is None:
        new = config.lightning
        try:
            return LightningSizes(
                channels, patch, new.blocks, new.width, new.heads, side, classes, bool(new.qk_norm)
            )
        except ValueError as error:
            raise TrainingError(f"model.lightning cannot be built: {error}.") from error
    told = {"classes": (base.sizes.classes, classes), "tokens a side": (base.sizes.side, side)}
    for name, (found, wanted) in told.items():
        if found != wanted:
            raise TrainingError(
                f"model.base {config.base} has {found} {name}, but data.caches have {wanted}: make them for it, or "
                "give the transformer that belongs to them."
            )
    return replace(base.sizes, channels=channels)


def _side(caches: Sequence[LatentCache], patch: int) -> int:
    """Tokens along a side of every latent. Raises TrainingError unless all are one square of whole patches."""
    tables = [cache.pictures for cache in caches]
    all_sizes = np.concatenate([np.stack([table.heights, table.widths], 1) for table in tables])
    latents: list[list[int]] = np.unique(all_sizes, axis=0).tolist()
    height, width = latents[0]
    if len(latents) > 1 or height != width or height % patch:
        raise TrainingError(
            f"data.caches hold latents of {', '.join(f'{w}x{h}' for h, w in latents[:4])} cells, but a class model has "
            f"one square grid of patches of {patch}: make them with one size in images.sizes."
        )
    return height // patch


def build_class_transformer(
    sizes: LightningSizes, base: LightningWeights | None, layout: LatentLayout
) -> LightningDiT:
    """The model to train, float32: from nothing, or the base, widened by zeros where the layout has detail."""
    if base is None:
        model = LightningDiT(sizes)
        start_from_nothing(model)
        return model
    weights = {name: tensor.float().clone() for name, tensor in base.weights.items()}
    if layout.detail_channels:
        weights = widen_lightning(weights, layout)
    return build_lightning(sizes, weights)


def class_statistics(
    base: LightningWeights | None, caches: Sequence[LatentCache], layout: LatentLayout, seed: int
) -> ChannelStatistics:
    """Mean and deviation of every channel over at most MOST_MEASURED latents of the caches, drawn by `seed`.

    The base channels have those that a pretrained model was trained with, where they are known, so that it goes on
    seeing what it saw. Raises TrainingError for latents that are not finite.
    """
    places = [(cache, number) for cache in caches for number in range(len(cache.pictures))]
    random = numpy_generator(seed, Stream.STATISTICS, 0)
    drawn = np.sort(random.permutation(len(places))[:MOST_MEASURED])
    sums = torch.zeros(3, layout.channels, dtype=torch.float64)
    for place in drawn:
        cache, number = places[place]
        latent = cache.read(number)[0][0].double()
        sums += torch.stack([latent.new_full((len(latent),), latent[0].numel()),
                             latent.sum(dim=(1, 2)), latent.square().sum(dim=(1, 2))])  # fmt: skip
    count, total, squares = sums
    mean = total / count
    std = ((squares / count - mean.square()).clamp(min=0) * count / (count - 1)).sqrt()
    if base is not None and base.statistics is not None:
        own = layout.base_channels
        mean[:own], std[:own] = base.statistics.mean[:own], base.statistics.std[:own]
    try:
        return ChannelStatistics(mean.float(), std.clamp(min=_SMALLEST_STD).float())
    except ValueError as error:
        raise TrainingError(
            f"The latents in data.caches have no statistics ({error}): make the caches again in empty folders."
        ) from error


def published_weights(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """A trained denoiser's weights under the published names, on the CPU; the tables stay in float32."""
    own = {
        name.removeprefix("transformer."): tensor.detach().cpu() for name, tensor in weights.items()
    }
    return {
        name: tensor.float() if name.startswith(("pos_embed", "feat_rope.")) else tensor.to(dtype)
        for name, tensor in own.items()
    }


def check_classes(cache: LatentCache) -> None:
    """Raise TrainingError unless a cache's pictures have classes for captions."""
    if cache.head.settings.get("text.kind") != "classes":
        raise TrainingError(
            f"The cache {cache.folder} has captions, but model.kind is lightning, which is told classes: make it with "
            "text.kind classes."
        )


def class_count(cache: LatentCache) -> int:
    """How many classes a cache's list has: the number of none of them."""
    return int(labels_of(cache.empty_text())[0])
