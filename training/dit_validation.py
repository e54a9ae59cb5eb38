"""Deterministic validation of stage 2: the velocity error of held-out latents at fixed levels under fixed noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate import Accelerator

from davae_core.flow import add_noise, shift_sigma, velocity_target
from davae_core.latents import LatentLayout, split

from .dit_data import model_space
from .dit_model import Denoiser
from .latent_cache import LatentCache
from .randomness import sample_noise
from .text_states import stack

LEVELS = (0.2, 0.4, 0.6, 0.8)
"""Unshifted noise levels that every held-out picture is seen at."""
_SEED = 0


@dataclass(frozen=True)
class ValidationPlan:
    """The held-out pictures (the first `pictures` of the cache), the batch and the shift of the levels."""

    cache: LatentCache
    pictures: int
    batch_size: int
    shift: float


@torch.no_grad()
def measure_velocity(
    denoiser: Denoiser, plan: ValidationPlan, layout: LatentLayout | None, accelerator: Accelerator
) -> dict[str, float]:
    """Mean squared velocity errors without guidance: `velocity`, and of `base` and `detail` where there is detail.

    Every process measures the whole set; with fixed noise they agree.
    """
    sums: dict[str, float] = {}
    count = 0
    for group in _groups(plan):
        read = [plan.cache.read(number) for number in group]
        latents = model_space(
            torch.stack([variants[0] for variants, _ in read]), plan.cache.head.space
        ).to(accelerator.device)
        noise = sample_noise(_SEED, group, tuple(latents.shape[1:])).to(latents)
        text = denoiser.under(stack([text for _, text in read]).to(latents.device))
        for level in LEVELS:
            sigma = latents.new_full((len(group),), shift_sigma(level, plan.shift))
            with accelerator.autocast():
                velocity = denoiser(add_noise(latents, noise, sigma), sigma, *text)
            error = (velocity.float() - velocity_target(latents, noise)).square()
            found = {"velocity": error}
            if layout is not None:
                found["base"], found["detail"] = split(error, layout)
            for name, part in found.items():
                sums[name] = sums.get(name, 0.0) + float(part.mean(dim=(1, 2, 3)).sum())
            count += len(group)
    return {name: total / count for name, total in sums.items()}


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
