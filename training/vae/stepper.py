"""One optimizer step: forwards, losses with their adaptive weights, backwards, both optimizers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..engine.checkpointing import Trained
from ..engine.optimizers import set_learning_rates
from ..engine.randomness import keep_mask, sample_noise
from ..engine.running import Parts
from ..engine.schedule import cosine_factor
from ..engine.updates import Updates, prepare, synchronised
from .config import VaeTrainingConfig
from .crops import Batch
from .discriminator import discriminator_loss, generator_loss
from .losses import Perceptual, detail_alignment, gradient_ratio, kl_loss, reconstruction_loss
from .trainees import Forward, Trainee


class Stepper:
    """Advances a trainee, and its discriminator when there is one, by one optimizer step at a time."""

    def __init__(
        self,
        accelerator: Accelerator,
        config: VaeTrainingConfig,
        generator: Trained,
        discriminator: Trained | None,
        perceptual: Perceptual | None,
    ) -> None:
        assert isinstance(generator.module, Trainee)
        self.accelerator, self.config, self.perceptual = accelerator, config, perceptual
        self.trainee: Trainee = generator.module
        self.noise_shape = self.trainee.noise_shape(config.data.crop)
        self.model, self.optimizer = prepare(accelerator, generator)
        self.critic: nn.Module | None = None
        self.critic_optimizer = None
        self._raw_critic = None if discriminator is None else discriminator.module
        if discriminator is not None:
            self.critic, self.critic_optimizer = prepare(accelerator, discriminator)
        self._updates = Updates(accelerator, config.optimizer.clip_norm)

    @property
    def learning_rate(self) -> float:
        """The first parameter group's rate in the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, step: int, batches: Sequence[Batch]) -> Parts | None:
        """Step `step` (0-based) on one micro-batch per element; the unweighted loss terms, averaged, detached.

        None when the gradients were not finite and the step was left out. Raises TrainingError after ten such in a row.
        """
        self._set_rates(step)
        collected = [self._backward(step, batch, last=batch is batches[-1]) for batch in batches]
        parts = {
            name: torch.stack([part[name] for part in collected]).mean() for name in collected[0]
        }
        norms = {"gradient_norm": self._updates.clipped_norm(self.trainee)}
        if self._gan_active(step):
            assert self._raw_critic is not None
            norms["discriminator_gradient_norm"] = self._updates.clipped_norm(self._raw_critic)
        parts.update(norms)
        optimizers = [self.optimizer]
        if self.critic_optimizer is not None:
            optimizers.append(self.critic_optimizer)
        return parts if self._updates.apply(step, list(norms.values()), optimizers) else None

    def _set_rates(self, step: int) -> None:
        optimizer, steps = self.config.optimizer, self.config.train.steps
        factor = cosine_factor(step, steps, optimizer.warmup_steps, optimizer.final_ratio)
        set_learning_rates(self.optimizer, factor)
        if self.critic_optimizer is not None:
            set_learning_rates(self.critic_optimizer, factor)

    def _backward(self, step: int, batch: Batch, last: bool) -> Parts:
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
        if outputs.posterior is not None and config.kl.weight:
            parts["kl"] = kl_loss(outputs.posterior, config.kl)
            total = total + config.kl.weight * parts["kl"]
        if outputs.detail is not None:
            parts["alignment"] = detail_alignment(outputs)
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
