"""The backward pass of stage 1: forwards, losses with their adaptive weights, gradients."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from davae_core.codec.alignment import alignment_loss

from ..engine.checkpointing import MODEL, Trained
from ..engine.randomness import keep_mask, sample_noise
from ..engine.updates import Parts, synchronised
from .config import VaeTrainingConfig
from .crops import Batch
from .discriminator import discriminator_loss, generator_loss
from .losses import Perceptual, gradient_ratio, kl_loss, reconstruction_loss
from .trainees import Forward, Trainee

DISCRIMINATOR = "discriminator"
"""The part that the hinge GAN trains against the model."""


class CodecBackward:
    """The backward pass of a micro-batch: the trainee's, and its discriminator's when there is one.

    `models` are the wrapped parts by name (engine/updates.py).
    """

    def __init__(
        self,
        accelerator: Accelerator,
        config: VaeTrainingConfig,
        parts: Mapping[str, Trained],
        models: Mapping[str, nn.Module],
        perceptual: Perceptual | None,
    ) -> None:
        trainee = parts[MODEL].module
        assert isinstance(trainee, Trainee)
        self.accelerator, self.config, self.perceptual = accelerator, config, perceptual
        self.trainee: Trainee = trainee
        self.noise_shape = trainee.noise_shape(config.data.crop)
        self.model, self.critic = models[MODEL], models.get(DISCRIMINATOR)
        self._raw_critic = parts[DISCRIMINATOR].module if DISCRIMINATOR in parts else None

    def __call__(self, step: int, batch: Batch, last: bool) -> Parts:
        """Add the gradients of a micro-batch, the step's `last` or not; its unweighted loss terms, detached."""
        images = batch.images.to(self.accelerator.device)
        seed = self.config.train.seed
        noise = sample_noise(seed, batch.numbers, self.noise_shape).to(images)
        keep = keep_mask(seed, batch.numbers, self.config.model.detail_dropout).to(images)
        with synchronised(self.accelerator, self.model, last):
            outputs: Forward = self.model(images, noise, keep)
            total, parts = self._generator_total(outputs, step)
            self.accelerator.backward(total / self.config.train.accumulate)
        if self._gan_active(step):
            assert self.critic is not None
            with synchronised(self.accelerator, self.critic, last):
                parts["discriminator"] = self._backward_critic(outputs)
        return {name: part.detach() for name, part in parts.items()}

    def _generator_total(self, outputs: Forward, step: int) -> tuple[Tensor, Parts]:
        config = self.config.loss
        rebuilt, parts = reconstruction_loss(outputs, config, self.perceptual)
        total = rebuilt
        if outputs.posterior is not None and outputs.start is not None:
            parts["hold"] = F.mse_loss(outputs.posterior.mean.float(), outputs.start.float())
            total = total + config.hold * parts["hold"]
        if outputs.posterior is not None and config.kl.weight:
            parts["kl"] = kl_loss(outputs.posterior, config.kl)
            total = total + config.kl.weight * parts["kl"]
        if outputs.detail is not None and outputs.base is not None:
            parts["alignment"] = alignment_loss(outputs.detail.float(), outputs.base.float())
            if config.alignment.weight:
                total = total + self._alignment_weight(rebuilt, parts) * parts["alignment"]
        if self._gan_active(step):
            total = total + self._adversarial(outputs, rebuilt, parts)
        parts["loss"] = total
        return total, parts

    def _alignment_weight(self, rebuilt: Tensor, parts: Parts) -> Tensor | float:
        config = self.config.loss.alignment
        if config.mode == "fixed":
            return config.weight
        layer = self.trainee.posterior_layer
        assert layer is not None
        parts["alignment_weight"] = config.weight * gradient_ratio(
            rebuilt, parts["alignment"], layer, self._averaged
        )
        return parts["alignment_weight"]

    def _adversarial(self, outputs: Forward, rebuilt: Tensor, parts: Parts) -> Tensor:
        config, critic = self.config.loss.gan, self._raw_critic
        assert critic is not None
        # The generator's pull must not reach the discriminator's weights.
        critic.requires_grad_(False)
        with self.accelerator.autocast():
            parts["generator"] = generator_loss(critic(outputs.reconstruction).float())
        critic.requires_grad_(True)
        weight: Tensor | float = config.weight
        if config.adaptive:
            ratio = gradient_ratio(
                rebuilt, parts["generator"], self.trainee.last_layer, self._averaged
            )
            parts["generator_weight"] = config.weight * ratio
            weight = parts["generator_weight"]
        return weight * parts["generator"]

    def _backward_critic(self, outputs: Forward) -> Tensor:
        assert self.critic is not None
        # One forward for both halves: a distributed wrapper synchronises once per forward.
        both = torch.cat([outputs.target.float(), outputs.reconstruction.detach().float()])
        real, made = self.critic(both).float().chunk(2)
        loss = discriminator_loss(real, made)
        self.accelerator.backward(loss / self.config.train.accumulate)
        return loss

    def _gan_active(self, step: int) -> bool:
        return self.critic is not None and step >= self.config.loss.gan.start_step

    def _averaged(self, gradient: Tensor) -> Tensor:
        return self.accelerator.reduce(gradient, reduction="mean")  # type: ignore[no-any-return]
