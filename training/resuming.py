"""Whether a checkpoint may be continued under a configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from .checkpointing import CheckpointFolder, RunState, Trained, load_checkpoint, read_state
from .ema import WeightAverage
from .errors import TrainingError

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
        if name.startswith(_FREE_SECTIONS) or name in _FREE_KEYS or name not in state.config:
            continue
        if state.config[name] != value:
            raise TrainingError(
                f"{name} is {value!r}, but the checkpoint of step {state.step} was trained with "
                f"{state.config[name]!r}: put it back to go on, or choose another output.folder."
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


def resume_or_start(
    checkpoints: CheckpointFolder,
    fresh: RunState,
    average: WeightAverage,
    parts: Mapping[str, Trained],
    frozen_key: str,
    pictures_key: str,
) -> RunState:
    """The latest checkpoint loaded in place and its state, or `fresh` when there is none.

    `frozen_key` and `pictures_key` are the settings that name the frozen weights' file and the pictures. Raises
    TrainingError or CheckpointError, one sentence, when the checkpoint is damaged or was started with other settings.
    """
    latest = checkpoints.latest()
    if latest is None:
        return fresh
    check_resumable(
        read_state(latest), fresh.config, fresh.samples_per_step, fresh.frozen, frozen_key
    )
    state = load_checkpoint(latest, average, parts)
    if state.pictures != fresh.pictures:
        _LOG.warning(
            "the pictures in %s changed since %s: the run goes on with the new ones",
            pictures_key,
            latest,
        )
    _LOG.info("resuming from %s", latest)
    state.config, state.pictures, state.frozen = fresh.config, fresh.pictures, fresh.frozen
    return state
