"""What a stage-2 run is given, checked to belong together: caches, the VAE they were made with, a held-out cache."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from davae_core.latents import LatentLayout
from davae_core.reading.plain_text import plain, shown

from ..cache.encoding import latents_of
from ..cache.head import HEAD
from ..cache.latent_cache import LatentCache
from ..cache.remote_cache import bring_index
from ..engine.room import passing_room
from ..errors import TrainingError
from ..hub import existing_path, same_source
from ..tars.patterns import is_address
from .config import DitTrainingConfig, DitValidationConfig

_LOG = logging.getLogger(__name__)
_OF_TEXT = (
    "text.kind",
    "text.source",
    "text.t5_tokens",
    "text.states",
    "text.t5_storage",
    "text.classes",
)
"""Settings in which caches that are used together agree."""


def check_inputs(config: DitTrainingConfig) -> None:
    """Open everything that a run is given but its base, as the run would. Raises TrainingError or CheckpointError."""
    with passing_room(config.data.downloads) as room:
        caches = open_caches(config.data.caches, False, room)
        check_vae(config.model.vae, caches[0])
        check_ramp(config, caches[0].head.layout)
        open_held_out(config.validation, caches, False, room)


def open_caches(places: Sequence[str], in_memory: bool, room: Path) -> list[LatentCache]:
    """The caches of a run, folders or addresses, checked to be of one kind; what is brought lies in `room`.

    Raises TrainingError.
    """
    caches = [_open(place, "data.caches", in_memory, room) for place in places]
    for cache in caches[1:]:
        check_alike(caches[0], cache)
    return caches


def open_held_out(
    validation: DitValidationConfig, caches: Sequence[LatentCache], in_memory: bool, room: Path
) -> LatentCache | None:
    """The held-out cache, None where none is wanted; a warning where its pictures seem to be trained on.

    Raises TrainingError when it is of another kind than the `caches` that are trained on, or one of them.
    """
    if not validation.cache:
        return None
    held_out = _open(validation.cache, "validation.cache", in_memory, room)
    for cache in caches:
        if cache.folder.resolve() == held_out.folder.resolve():
            raise TrainingError(
                f"validation.cache {held_out.name} is in data.caches too, so nothing in it would be held out: make a "
                "cache of other pictures for it, or leave it empty."
            )
    check_alike(caches[0], held_out)
    _warn_of_trained(held_out, validation.pictures, caches)
    return held_out


def check_alike(first: LatentCache, second: LatentCache) -> None:
    """Raise TrainingError when two caches cannot be used together."""
    if first.head.vae_hash != second.head.vae_hash:
        raise TrainingError(
            f"The caches {first.name} and {second.name} were made with different VAEs "
            f"({plain(first.head.vae)}, {plain(second.head.vae)}): make them with the same one."
        )
    for name in _OF_TEXT:
        ours, other = first.head.setting(name), second.head.setting(name)
        if not same_source(ours, other):
            raise TrainingError(
                f"The caches {first.name} and {second.name} were made with {name} = {shown(ours)} and "
                f"{shown(other)}: make them with the same text encoders, length and storage."
            )


def check_vae(vae: str, cache: LatentCache) -> None:
    """Raise TrainingError or CheckpointError unless `vae`, model.vae, is what a cache was made with."""
    head = cache.head
    detail = head.layout.detail_channels > 0
    if detail:
        existing_path(vae, "model.vae", "the DA-VAE that data.caches were made with")
    if latents_of(vae, detail, "model.vae")[1] != head.vae_hash:
        raise TrainingError(
            f"data.caches were made with another VAE ({plain(head.vae)}) than model.vae {vae}: name that one, or make "
            "the caches again."
        )


def check_ramp(config: DitTrainingConfig, layout: LatentLayout) -> None:
    """Raise TrainingError when the run is over before the detail has its whole weight."""
    ramp, steps = config.loss.ramp_steps, config.train.steps
    if layout.detail_channels and ramp > steps:
        raise TrainingError(
            f"loss.ramp_steps is {ramp}, but train.steps is {steps}, so the detail would never get its whole weight: "
            "set the ramp to a fifth of the run, or for a trial keep the long run's settings and give --stop-at."
        )


def _open(place: str, key: str, in_memory: bool, room: Path) -> LatentCache:
    if is_address(place):
        remote = bring_index(place, key, room)
        return LatentCache(remote.folder, False, remote)
    path = Path(place).expanduser()
    if not (path / HEAD).is_file():
        raise TrainingError(
            f"{key} names {path}, which holds no cache: make one with `python -m training cache`, or correct {key}."
        )
    return LatentCache(path, in_memory)


def _warn_of_trained(held_out: LatentCache, measured: int, caches: Sequence[LatentCache]) -> None:
    """Say how many of the pictures that are measured have the name, the caption and the size of one trained on."""
    wanted = np.unique(held_out.pictures.looks[:measured])
    seen = [wanted[np.isin(wanted, cache.pictures.looks)] for cache in caches]
    found = np.unique(np.concatenate(seen))
    if len(found):
        _LOG.warning(
            "%d of the first %d pictures of validation.cache %s have name, caption and size of pictures in "
            "data.caches: if they are the same, what is measured on them is not held out",
            len(found),
            len(wanted),
            held_out.name,
        )
