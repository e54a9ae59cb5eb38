"""Rectified flow: the noise schedule, the training loss and the samplers (docs/method.md, "Stage 2", "Detail pass").

sigma in [0, 1] is the share of noise: x = (1 - sigma) * latent + sigma * noise, 1 is pure noise. The velocity, which
the transformer predicts, is noise - latent. Latents are in model space.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .latents import LatentLayout, join, split

Sigma = TypeVar("Sigma", float, Tensor)
Velocity = Callable[[Tensor, Tensor], Tensor]
"""(x [B, C + D, h, w], sigma [B]) -> velocity like x."""


def shift_sigma(sigma: Sigma, shift: float) -> Sigma:
    """Move noise levels towards 1: shift * sigma / (1 + (shift - 1) * sigma); shift 1 changes nothing."""
    shifted: Sigma = shift * sigma / (1.0 + (shift - 1.0) * sigma)
    return shifted


SMALLEST = shift_sigma(0.001, 3.0)
"""The last level before 0, unshifted: SD3's scheduler has 1000 levels, and its own shift 3 is in this one already."""


def shifted_sigmas(steps: int, shift: float) -> Tensor:
    """The levels to sample at, [steps + 1] float32: `steps` even ones from 1 to SMALLEST, shifted, then 0.

    They are those of diffusers' SD3 pipeline (shift 3 in its configuration, `shift` set), with which the published code
    samples. Raises ValueError unless `steps` is at least 1.
    """
    if steps < 1:
        raise ValueError(f"Sampling needs at least one step, not {steps}.")
    even = torch.linspace(1.0, SMALLEST, steps, dtype=torch.float64)
    return torch.cat([shift_sigma(even, shift), even.new_zeros(1)]).float()


def even_sigmas(steps: int, shift: float) -> Tensor:
    """The levels to sample a class-conditional model at, [steps + 1] float32: even ones from 1 to 0, shifted.

    LightningDiT's `timestep_shift` t' = a t / (1 - (1 - a) t), whose t is 1 - sigma, is the shift 1 / a: its 0.3 is 10
    / 3 here, and its 250 points in time are 249 steps. Raises ValueError unless `steps` is at least 1.
    """
    if steps < 1:
        raise ValueError(f"Sampling needs at least one step, not {steps}.")
    return shift_sigma(torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64), shift).float()


def published_training_sigmas(shift: float) -> Tensor:
    """The 1000 levels [1000] the published code trains at, noisiest first: `shifted_sigmas(1000, shift)` less its 0."""
    return shifted_sigmas(1000, shift)[:-1]


def sample_sigmas(
    batch: int,
    shift: float,
    generator: torch.Generator | None = None,
    published_grid: bool = False,
) -> Tensor:
    """Levels [batch] to train at, float32 on the generator's device: logit-normal(0, 1), then shifted.

    The paper's are any number in (0, 1). `published_grid` gives what the published code draws instead: entry
    floor(1000 * u) of `published_training_sigmas` for a logit-normal u. (That code also rounds the level to bfloat16
    and tells the transformer whole timesteps, floor(1000 * sigma); neither is done here.)
    """
    device = "cpu" if generator is None else generator.device
    drawn = torch.randn(batch, generator=generator, device=device).sigmoid()
    if not published_grid:
        return shift_sigma(drawn, shift)
    # Far out in the tail the sigmoid rounds to 1, one behind the last entry.
    places = (drawn * 1000).long().clamp(max=999)
    return published_training_sigmas(shift).to(device)[places]


def add_noise(latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """(1 - sigma) * latents + sigma * noise: [B, ...], sigma [B] -> [B, ...]."""
    level = sigma.to(latents).reshape(-1, *(1,) * (latents.ndim - 1))
    return (1.0 - level) * latents + level * noise


def add_noise_apart(
    latents: Tensor, noise: Tensor, base_sigma: Tensor, sigma: Tensor, layout: LatentLayout
) -> Tensor:
    """`add_noise` with levels of their own: [B, C + D, h, w], the base at `base_sigma` [B], the detail at `sigma` [B].

    A detail pass sees its base at level 0, which leaves it as it is.
    """
    base, detail = zip(split(latents, layout), split(noise, layout), strict=True)
    return join(add_noise(*base, base_sigma), add_noise(*detail, sigma), layout)


def velocity_target(latents: Tensor, noise: Tensor) -> Tensor:
    """What the transformer should predict, at every sigma: noise - latents."""
    return noise - latents


class VelocityLoss(NamedTuple):
    """The loss to minimise and its parts, the mean squared errors of the base and of the detail channels (scalars)."""

    loss: Tensor
    base: Tensor
    detail: Tensor


def detail_weight(step: int, ramp_steps: int, end: float = 1.0) -> float:
    """w(n): the detail's weight in the loss, from 0 at step 0 along half a cosine to `end` at `ramp_steps` and after.

    Raises ValueError unless `ramp_steps` is positive.
    """
    if ramp_steps < 1:
        raise ValueError(
            f"The detail weight needs at least one step to rise over, not {ramp_steps}."
        )
    return end * 0.5 * (1.0 - math.cos(math.pi * min(step, ramp_steps) / ramp_steps))


def velocity_loss(
    prediction: Tensor,
    target: Tensor,
    layout: LatentLayout,
    detail_weight: float,
    sample_weights: Tensor | None = None,
) -> VelocityLoss:
    """(sum_base e^2 + w sum_detail e^2) / ((C + w D) h w), meaned over the batch (paper Eq. 12-13).

    `prediction`, `target`: [B, C + D, h, w]; `detail_weight`: w(n) in [0, 1], see `detail_weight`;
    `sample_weights`: [B], for all three numbers, see `published_sample_weights`; None is 1, the paper's. Computed in
    float32. loss = (C * base + w * D * detail) / (C + w * D).
    """
    base, detail = _part_errors(prediction, target, layout, sample_weights)
    base_share, detail_share = layout.base_channels, detail_weight * layout.detail_channels
    loss = (base_share * base + detail_share * detail) / (base_share + detail_share)
    return VelocityLoss(loss, base, detail)


def cosine_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - cosine of the angle between the channels of prediction and target, both [B, C + D, h, w], meaned (scalar).

    Over all channels alike, whatever w(n) is: the term that the published ImageNet code adds to its loss.
    """
    return 1.0 - F.cosine_similarity(prediction.float(), target.float(), dim=1).mean()


def detail_loss(
    prediction: Tensor, target: Tensor, layout: LatentLayout, sample_weights: Tensor | None = None
) -> Tensor:
    """The mean squared error (scalar) of the detail channels alone; those of the base get no gradient.

    The arguments are those of `velocity_loss`, which has the same number as its `detail`.
    """
    return _part_errors(prediction, target, layout, sample_weights)[1]


def _part_errors(
    prediction: Tensor, target: Tensor, layout: LatentLayout, sample_weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    error = (prediction.float() - target.float()).square()
    base, detail = (part.mean(dim=(1, 2, 3)) for part in split(error, layout))
    if sample_weights is not None:
        base, detail = base * sample_weights, detail * sample_weights
    return base.mean(), detail.mean()


def published_sample_weights(sigma: Tensor, limit: float = 5.0) -> Tensor:
    """The published code's weight of a velocity error at sigma [B] -> [B]: sigma^2 * min((1 - sigma) / sigma, limit).

    The square comes from comparing latents (x - sigma * v) instead of velocities. Above sigma = 1 / 6 the weight is
    sigma * (1 - sigma).
    """
    return torch.minimum(sigma * (1.0 - sigma), limit * sigma.square())


def sample_euler(
    velocity: Velocity,
    noise: Tensor,
    sigmas: Tensor,
    guidance: float = 1.0,
    unconditional: Velocity | None = None,
    progress: Callable[[int, int], None] | None = None,
    guided_below: float = 1.0,
) -> Tensor:
    """Latents [B, C + D, h, w] in model space, drawn from `noise` by Euler steps along `sigmas` [steps + 1].

    Each step follows u + guidance * (v - u), v from `velocity`, u from `unconditional`; guidance 1 needs no u. Above
    the level `guided_below` a step follows v alone (a guidance interval, Kynkäänniemi et al. 2024). `progress` is told
    (steps done, steps in all). Raises ValueError when guidance lacks `unconditional`.
    """
    if guidance != 1.0 and unconditional is None:
        raise ValueError(
            f"Guidance {guidance} needs an unconditional velocity: give one, or guidance 1."
        )
    latents, steps = noise, len(sigmas) - 1
    for step in range(steps):
        level = sigmas[step].to(noise).expand(noise.shape[0])
        direction = velocity(latents, level)
        guided = guidance != 1.0 and float(sigmas[step]) <= guided_below
        if guided and unconditional is not None:
            without = unconditional(latents, level)
            direction = without + guidance * (direction - without)
        latents = latents + (sigmas[step + 1] - sigmas[step]).to(noise) * direction
        if progress is not None:
            progress(step + 1, steps)
    return latents


def sample_detail(
    velocity: Velocity,
    base: Tensor,
    detail: Tensor,
    sigmas: Tensor,
    layout: LatentLayout,
    guidance: float = 1.0,
    unconditional: Velocity | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Latents [B, C + D, h, w] in model space: `base` [B, C, h, w], bit for bit, and a detail drawn by Euler steps.

    `velocity` sees the base clean at every level and is told the detail's. `detail` [B, D, h, w] is where the drawing
    starts, at sigmas[0]: noise at 1; below 1, `add_noise` of an existing detail, of which the less changes the lower
    that level is. The rest is as in `sample_euler`. Raises ValueError when base and detail make no latent of `layout`.
    """

    def of_detail(whole: Velocity) -> Velocity:
        return lambda drawn, sigma: split(whole(join(base, drawn, layout), sigma), layout)[1]

    without = None if unconditional is None else of_detail(unconditional)
    drawn = sample_euler(of_detail(velocity), detail, sigmas, guidance, without, progress)
    return join(base, drawn, layout)
