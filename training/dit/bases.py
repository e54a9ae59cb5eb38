"""The bases that a detail run draws its pictures on: what the pretrained model makes of the prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor

from davae_core.transformer.presets import UNTRAINED

from ..cache.text_states import TextStates
from .config import DitTrainingConfig
from .denoiser import Denoiser
from .drawing import SamplingPlan, draw_latents
from .transformer import build_transformer, lower_frozen


def draw_bases(
    config: DitTrainingConfig,
    base: Mapping[str, Tensor],
    channels: int,
    texts: Sequence[TextStates],
    empty: TextStates,
    size: tuple[int, int],
    accelerator: Accelerator,
) -> Tensor:
    """Base latents [B, C, h, w] in model space, one per text, drawn as the pretrained model is sampled.

    `base`: its weights under Stability's names; `channels`: C; `size`: h and w. It is in memory only meanwhile, and the
    run's random numbers go on as if it had never been.
    """
    with torch.random.fork_rng():
        transformer = build_transformer(replace(config.model, train="full"), base, channels, 0)
    transformer.eval().requires_grad_(False)
    if config.train.precision == "bf16":
        lower_frozen(transformer, torch.bfloat16)
    device = accelerator.device
    plan = SamplingPlan(UNTRAINED.shift, UNTRAINED.steps, UNTRAINED.guidance, *size)
    with accelerator.autocast():
        return draw_latents(Denoiser(transformer).to(device), texts, empty, channels, plan, device)
