"""The training of a class-conditional model: stage 2 as in train.py, with another transformer and another result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from davae_core.files import CheckpointError, value_hash, write_safetensors
from davae_core.latents import ChannelStatistics
from davae_core.lightning.description import ClassAdvice
from davae_core.lightning.files import ClassModel, write_class_model
from davae_core.lightning.sizes import EMBEDDER_WEIGHT, HEAD_WEIGHT
from davae_core.published.lightning import load_statistics

from ..cache.latent_cache import LatentCache
from ..engine.processes import as_main_finds
from ..errors import TrainingError
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
from .transformer import recompute_blocks

STATISTICS = "statistics.safetensors"
"""In a run's folder: means and deviations that its latents are taken in, also when its caches have grown since."""


class ClassTraining(DitTraining):
    """A run with `model.kind: lightning`: classes for captions, statistics of every channel, all weights trained."""

    def prepare(self, caches: list[LatentCache]) -> None:
        """Read the pretrained model and measure the latents."""
        self.base = None
        self.pretrained = read_class_base(self.config.model, self.layout.base_channels)
        self.sizes = sizes_of_run(self.config.model, caches, self.pretrained)
        self.statistics = as_main_finds(self.accelerator, lambda: self._statistics(caches))

    def _statistics(self, caches: list[LatentCache]) -> ChannelStatistics:
        """Those that the run in the folder began with, as long as it goes on; else of the caches as they are now."""
        path = self.folder / STATISTICS
        try:
            if path.is_file() and self.checkpoints.latest() is not None:
                return load_statistics(path, self.layout.channels)
            found = class_statistics(self.pretrained, caches, self.layout, self.config.train.seed)
            self.folder.mkdir(parents=True, exist_ok=True)
            write_safetensors(path, {"mean": found.mean, "std": found.std}, {})
            return found
        except CheckpointError as error:
            raise TrainingError(str(error)) from error

    def build_denoiser(self) -> ClassDenoiser:
        """The LightningDiT to train, on the CPU."""
        model = build_class_transformer(self.sizes, self.pretrained, self.layout)
        recompute_blocks(model, self.config.train.recomputed_blocks)
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
