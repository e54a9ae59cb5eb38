"""The backward pass of stage 2: a batch under noise, its loss, gradients."""

from __future__ import annotations

from accelerate import Accelerator
from torch import nn

from davae_core.flow import add_noise

from ..engine.updates import Parts, synchronised
from .batches import LatentBatch, noise_and_levels
from .config import DitTrainingConfig
from .denoiser import Denoiser, FlowObjective


class FlowBackward:
    """The backward pass of a micro-batch; `model` is the denoiser as the processes of the run call it."""

    def __init__(
        self,
        accelerator: Accelerator,
        config: DitTrainingConfig,
        objective: FlowObjective,
        denoiser: Denoiser,
        model: nn.Module,
    ) -> None:
        self.accelerator, self.config, self.objective = accelerator, config, objective
        self.denoiser, self.model = denoiser, model

    def __call__(self, step: int, batch: LatentBatch, last: bool) -> Parts:
        """Add the gradients of a micro-batch, the step's `last` or not; its loss terms, detached."""
        device = self.accelerator.device
        noise, sigma = noise_and_levels(self.config.train.seed, batch, self.config.loss)
        latents, noise, sigma = batch.latents.to(device), noise.to(device), sigma.to(device)
        context, pooled = self.denoiser.under(batch.text.to(device))
        with synchronised(self.accelerator, self.model, last):
            # accelerate's own wrapper computes in this precision anyhow; a sharded model has none.
            with self.accelerator.autocast():
                velocity = self.model(add_noise(latents, noise, sigma), sigma, context, pooled)
            parts = self.objective.parts(velocity, latents, noise, sigma, step)
            self.accelerator.backward(parts["loss"] / self.config.train.accumulate)
        return {name: part.detach() for name, part in parts.items()}
