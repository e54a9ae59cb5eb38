"""The training of a class-conditional model: stage 2 as in train.py, with another transformer and another result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from davae_core.files import value_hash
from davae_core.lightning.files import ClassAdvice, ClassModel, write_class_model
from davae_core.lightning.sizes import EMBEDDER_WEIGHT, HEAD_WEIGHT

from ..cache.latent_cache import LatentCache
from .class_denoiser import ClassDenoiser
from .class_model import (
    build_class_transformer,
    class_statistics,
    published_weights,
    read_class_base,
    sizes_of_run,
)
from .drawing import SamplingPlan
from .export import DTYPES
from .train import DitTraining


class ClassTraining(DitTraining):
    """A run with `model.kind: lightning`: classes for captions, statistics of every channel, all weights trained."""

    def prepare(self, caches: list[LatentCache]) -> None:
        """Read the pretrained model and measure the latents."""
        self.base = None
        self.pretrained = read_class_base(self.config.model, self.layout.base_channels)
        self.sizes = sizes_of_run(self.config.model, caches, self.pretrained)
        self.statistics = class_statistics(
            self.pretrained, caches, self.layout, self.config.train.seed
        )

    def build_denoiser(self) -> ClassDenoiser:
        """The LightningDiT to train, on the CPU."""
        model = build_class_transformer(self.sizes, self.pretrained, self.layout)
        model.recompute = self.config.train.gradient_checkpointing
        return ClassDenoiser(model)

    def sampling_plan(self) -> SamplingPlan:
        """At even levels, as LightningDiT is sampled."""
        return replace(super().sampling_plan(), even=True)

    def write_weights(self, target: Path, weights: dict[str, Tensor]) -> None:
        """Write the whole model with its statistics. Raises CheckpointError."""
        plan = self.sampling_plan()
        assert self.statistics is not None
        model = ClassModel(
            self.layout,
            self.sizes,
            self.statistics,
            published_weights(weights, DTYPES[self.config.output.dtype]),
            ClassAdvice(plan.shift, plan.steps, plan.guidance, plan.guided_below),
            {"vae": self.vae_hash},
        )
        write_class_model(target, model)

    def base_hash(self) -> str:
        """Of the pretrained model's edge layers."""
        if self.pretrained is None:
            return ""
        weights = self.pretrained.weights
        return value_hash({name: weights[name] for name in (EMBEDDER_WEIGHT, HEAD_WEIGHT)})
