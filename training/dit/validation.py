"""Deterministic validation of stage 2: the velocity error of held-out latents at fixed levels under fixed noise."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from davae_core.flow import add_noise_apart, shift_sigma, velocity_target
from davae_core.latents import ChannelStatistics, LatentLayout, ModelSpace, split
from davae_core.transformer.description import Mode

from ..cache.latent_cache import LatentCache
from ..cache.text_states import TextStates, stack
from ..engine.progress import progress_bar
from ..engine.randomness import sample_noise
from ..errors import TrainingError
from .class_denoiser import AnyDenoiser
from .texts import OnDevice

_LOG = logging.getLogger(__name__)

LEVELS = (0.2, 0.4, 0.6, 0.8)
"""Unshifted noise levels that every held-out picture is seen at."""
_SEED = 0


@dataclass(frozen=True)
class ValidationPlan:
    """The held-out pictures (the first `pictures` of the cache), the batch, the shift of the levels, what is drawn.

    `statistics`: those by which model space is reached, None for the VAE's own shift and scale.
    """

    cache: LatentCache
    pictures: int
    batch_size: int
    shift: float
    mode: Mode = "joint"
    statistics: ChannelStatistics | None = None


@torch.no_grad()
def measure_velocity(
    denoiser: AnyDenoiser,
    plan: ValidationPlan,
    layout: LatentLayout,
    accelerator: Accelerator,
    texts: OnDevice,
) -> dict[str, float]:
    """Mean squared velocity errors without guidance: `velocity`, and of `base` and `detail` where there is detail.

    Of a detail pass `detail` alone, over a clean base.
    Pictures whose latent or text is not finite are left out with a warning. Every process measures the whole set; with
    fixed noise they agree. Raises TrainingError when no picture is left.
    """
    sums: dict[str, float] = {}
    groups, count = _groups(plan), 0
    bar = progress_bar(len(groups), "measuring", "batch", accelerator.is_main_process)
    with bar:
        for group in groups:
            read = _read_finite(plan.cache, group)
            count += len(read)
            bar.update()
            if not read:
                continue
            held = torch.stack([latent for latent, _ in read.values()]).float()
            latents = ModelSpace(layout, plan.statistics).enter(held).to(accelerator.device)
            noise = sample_noise(_SEED, tuple(read), tuple(latents.shape[1:])).to(latents)
            told = [text for _, text in read.values()]
            states = [text for text in told if isinstance(text, TextStates)]
            captions = [text for text in told if isinstance(text, str)]
            text = denoiser.under(texts(stack(states) if states else captions))
            for level in LEVELS:
                sigma = latents.new_full((len(read),), shift_sigma(level, plan.shift))
                base_sigma = sigma if plan.mode == "joint" else torch.zeros_like(sigma)
                noised = add_noise_apart(latents, noise, base_sigma, sigma, layout)
                with accelerator.autocast():
                    velocity = denoiser(noised, sigma, *text)
                error = (velocity.float() - velocity_target(latents, noise)).square()
                for name, part in _parts_of(error, layout, plan.mode).items():
                    sums[name] = sums.get(name, 0.0) + float(part.mean(dim=(1, 2, 3)).sum())
    _check_all_count(plan.cache, count, sum(map(len, groups)), accelerator.is_main_process)
    return {name: total / (count * len(LEVELS)) for name, total in sums.items()}


def _parts_of(error: Tensor, layout: LatentLayout, mode: Mode) -> dict[str, Tensor]:
    base, detail = split(error, layout)
    if mode == "detail":
        return {"detail": detail}
    whole = {"velocity": error}
    return {**whole, "base": base, "detail": detail} if layout.detail_channels else whole


def _read_finite(
    cache: LatentCache, group: list[int]
) -> dict[int, tuple[Tensor, TextStates | str]]:
    """The first variants [C, h, w] and captions of the group's pictures, by number, without what is not finite.

    Of a caption its states or, from a cache without them, itself.
    """
    found: dict[int, tuple[Tensor, TextStates | str]] = {}
    for number in group:
        variants, states = cache.read(number)
        if torch.isfinite(variants[0]).all() and (states is None or states.finite()):
            text = cache.pictures.caption(number, 0) if states is None else states.row(0)
            found[number] = variants[0], text
    return found


def _check_all_count(cache: LatentCache, finite: int, pictures: int, warn: bool) -> None:
    if not finite:
        raise TrainingError(
            f"validation.cache {cache.name} has no finite latent and text among its first {pictures} pictures: make "
            "it again in an empty folder."
        )
    if finite < pictures and warn:
        _LOG.warning(
            "%d of %d held-out pictures in %s are left out, for their latents or texts are not finite",
            pictures - finite,
            pictures,
            cache.name,
        )


def _groups(plan: ValidationPlan) -> list[list[int]]:
    """Picture numbers in batches of one latent size."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for number, picture in enumerate(plan.cache.pictures[: plan.pictures]):
        sizes.setdefault((picture.height, picture.width), []).append(number)
    return [
        numbers[first : first + plan.batch_size]
        for numbers in sizes.values()
        for first in range(0, len(numbers), plan.batch_size)
    ]
