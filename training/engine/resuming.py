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
from .learning_rate import cosine_factor

_LOG = logging.getLogger(__name__)
_FREE_SECTIONS = ("output.", "validation.")
_FREE_KEYS = frozenset(
    {
        "data.workers",
        "data.cache_mb",
        "data.downloads",
        "train.device",
        "train.gradient_checkpointing",
        "train.recomputed_blocks",
        "train.statistics_samples",
    }
)

_FACTORS = frozenset({"train.batch_size", "train.accumulate"})
"""With the number of processes they make the samples of a step, and only these count."""
_BEFORE = {
    "train.mode": "joint",
    "loss.base_levels": "shared",
    "loss.base_noise": 0.0,
    "data.enlarge": True,
    "data.window_shards": 0,
    "model.start_from": None,
    "model.kind": "sd3",
    "loss.cosine": 0.0,
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

    `train.steps` may be another where the learning rate does not jump: where it is constant, or still in its warm-up.
    `frozen` is the hash of the weights that are not trained, `frozen_key` the setting that names their file.
    """
    for name, value in config.items():
        if name.startswith(_FREE_SECTIONS) or name in _FREE_KEYS | _FACTORS:
            continue
        before = state.config.get(name, _BEFORE.get(name, value))
        if name == "train.steps" and "optimizer.final_ratio" in config:
            _check_length(state, config, before)
        elif not same_source(before, value):
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
            f"with {state.samples_per_step}: let train.batch_size times train.accumulate times the number of "
            "processes be that again, or choose another output.folder."
        )


def _check_length(state: RunState, config: Mapping[str, Any], before: int) -> None:
    """Raise TrainingError when another length changes the learning rate where the run goes on, or ends before that."""
    steps = config["train.steps"]
    if steps == before:
        return
    if steps < state.step:
        raise TrainingError(
            f"train.steps is {steps}, but the checkpoint is of step {state.step} already: raise it, or choose another "
            "output.folder."
        )
    warmup, ratio = config["optimizer.warmup_steps"], config["optimizer.final_ratio"]
    ours, theirs = (cosine_factor(state.step, n, warmup, ratio) for n in (steps, before))
    if ours != theirs:
        raise TrainingError(
            f"train.steps is {steps}, but the checkpoint of step {state.step} was trained with {shown(before)}, and "
            f"under optimizer.final_ratio {ratio:g} the learning rate would jump from {theirs:.3g} to {ours:.3g} of "
            "its peak: put it back to go on (only a run with final_ratio 1 can be prolonged), or begin another "
            "output.folder from what this one made."
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
    for name in sorted(_FACTORS | {"train.steps"}):
        before, now = saved.config.get(name), fresh.config.get(name)
        if before != now:
            _LOG.info("%s is %s from here on, %s before", name, now, before)
    state.config, state.pictures, state.frozen = fresh.config, fresh.pictures, fresh.frozen
    state.latents = fresh.latents
    return state
