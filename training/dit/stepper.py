"""One optimizer step of stage 2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator

from davae_core.flow import add_noise

from ..engine.checkpointing import Trained
from ..engine.optimizers import set_learning_rates
from ..engine.running import Parts
from ..engine.schedule import cosine_factor
from ..engine.updates import Updates, backward, computing, prepare, synchronised
from .batches import LatentBatch, noise_and_levels
from .config import DitTrainingConfig
from .denoiser import Denoiser, FlowObjective


class DitStepper:
    """Advances a denoiser by one optimizer step at a time."""

    def __init__(
        self,
        accelerator: Accelerator,
        config: DitTrainingConfig,
        objective: FlowObjective,
        part: Trained,
    ) -> None:
        assert isinstance(part.module, Denoiser)
        self.accelerator, self.config, self.objective = accelerator, config, objective
        self.denoiser: Denoiser = part.module
        self.model, self.optimizer = prepare(accelerator, part)
        self._updates = Updates(accelerator, config.optimizer.clip_norm)

    @property
    def learning_rate(self) -> float:
        """The first parameter group's rate in the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, step: int, batches: Sequence[LatentBatch]) -> Parts | None:
        """Step `step` (0-based) on one micro-batch per element; the loss terms, averaged, detached.

        None when the gradients were not finite and the step was left out. Raises TrainingError after ten such in a row.
        """
        optimizer, steps = self.config.optimizer, self.config.train.steps
        factor = cosine_factor(step, steps, optimizer.warmup_steps, optimizer.final_ratio)
        set_learning_rates(self.optimizer, factor)
        collected = [self._backward(step, batch, last=batch is batches[-1]) for batch in batches]
        parts = {
            name: torch.stack([part[name] for part in collected]).mean() for name in collected[0]
        }
        parts["gradient_norm"] = self._updates.clipped_norm(self.model)
        if not self._updates.apply(step, [parts["gradient_norm"]], [self.optimizer]):
            return None
        return parts

    def _backward(self, step: int, batch: LatentBatch, last: bool) -> Parts:
        device = self.accelerator.device
        noise, sigma = noise_and_levels(self.config.train.seed, batch, self.config.loss)
        latents, noise, sigma = batch.latents.to(device), noise.to(device), sigma.to(device)
        context, pooled = self.denoiser.under(batch.text.to(device))
        with synchronised(self.accelerator, self.model, last):
            # accelerate's own wrapper computes in this precision anyhow; a sharded model has none.
            with computing(self.accelerator, self.model):
                velocity = self.model(add_noise(latents, noise, sigma), sigma, context, pooled)
            parts = self.objective.parts(velocity, latents, noise, sigma, step)
            backward(
                self.accelerator, self.model, parts["loss"] / self.config.train.accumulate, last
            )
        return {name: part.detach() for name, part in parts.items()}
