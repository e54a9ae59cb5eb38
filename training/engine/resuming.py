"""Whether a checkpoint may be continued under a configuration, and continuing it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from davae_core.reading.plain_text import plain, shown

from ..errors import TrainingError
from ..hub import same_source
from .checkpointing import RunState, Trained, load_checkpoint, read_state
from .ema import WeightAverage

_LOG = logging.getLogger(__name__)
_FREE_SECTIONS = ("output.", "validation.")
_FREE_KEYS = frozenset(
    {
        "data.workers",
        "data.cache_mb",
        "train.device",
        "train.gradient_checkpointing",
        "train.statistics_samples",
    }
)

_BEFORE = {
    "train.mode": "joint",
    "loss.base_levels": "shared",
    "loss.base_noise": 0.0,
    "data.enlarge": True,
}
"""Settings that came later, and what every run did before there were any."""


def check_resumable(
    state: RunState,
    config: dict[str, Any],
    samples_per_step: int,
    frozen: str,
    frozen_key: str = "model.base_vae",
) -> None:
    """Raise TrainingError, naming the first setting that shapes the training and is not the checkpoint's.

    `frozen` is the hash of the weights that are not trained, `frozen_key` the setting that names their file.
    """
    for name, value in config.items():
        if name.startswith(_FREE_SECTIONS) or name in _FREE_KEYS:
            continue
        before = state.config.get(name, _BEFORE.get(name, value))
        if not same_source(before, value):
            raise TrainingError(
                f"{name} is {shown(value)}, but the checkpoint of step {state.step} was trained with "
                f"{shown(before)}: put it back to go on, or choose another output.folder."
            )
    if state.frozen and state.frozen != frozen:
        raise TrainingError(
            f"{frozen_key} ({config[frozen_key]}) holds other weights than the checkpoint of step {state.step} "
            "was trained over: put the file back to go on, or choose another output.folder."
        )
    if state.samples_per_step != samples_per_step:
        raise TrainingError(
            f"This run takes {samples_per_step} samples per step, but the checkpoint of step {state.step} was trained "
            f"with {state.samples_per_step}: start as many processes as before, or choose another output.folder."
        )


def check_same_latents(state: RunState, fresh: RunState) -> None:
    """Raise TrainingError, naming the cache, when one was made anew with another VAE, text or cut of the pictures."""
    folders = fresh.config.get("data.caches", ())
    for folder, before, now in zip(folders, state.latents, fresh.latents, strict=False):
        changed = [name for name, value in before.items() if not same_source(now.get(name), value)]
        if "vae" in changed:
            raise TrainingError(
                f"The cache {folder} in data.caches and model.vae are of another VAE than the checkpoint of step "
                f"{state.step} was trained with: put both back to go on, or choose another output.folder."
            )
        if changed:
            name = changed[0]
            raise TrainingError(
                f"The cache {folder} in data.caches was made with {plain(name)} = {shown(now.get(name))}, but the "
                f"checkpoint of step {state.step} was trained with {shown(before[name])}: put that cache back to go "
                "on, or choose another output.folder."
            )


def resume_or_start(
    latest: Path | None,
    fresh: RunState,
    average: WeightAverage,
    parts: Mapping[str, Trained],
    frozen_key: str,
    pictures_key: str,
) -> RunState:
    """The checkpoint `latest` loaded in place and its state, or `fresh` when there is none.

    `frozen_key` and `pictures_key` are the settings that name the frozen weights' file and the pictures. Raises
    TrainingError, one sentence, when the checkpoint is damaged or was started with other settings.
    """
    if latest is None:
        return fresh
    saved = read_state(latest)
    check_resumable(saved, fresh.config, fresh.samples_per_step, fresh.frozen, frozen_key)
    check_same_latents(saved, fresh)
    state = load_checkpoint(latest, average, parts)
    if state.pictures != fresh.pictures:
        _LOG.warning(
            "the pictures in %s changed since %s: the run goes on with the new ones",
            pictures_key,
            latest,
        )
    _LOG.info("resuming from %s", latest)
    state.config, state.pictures, state.frozen = fresh.config, fresh.pictures, fresh.frozen
    state.latents = fresh.latents
    return state
