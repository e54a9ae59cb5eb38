"""A batch as a step sees it: under its noise, which is drawn where the batch is read, beside the steps before it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.utils.data import Dataset

from davae_core.transformer.description import Mode

from ..errors import TrainingError
from .batches import LatentBatch, LatentBatches, base_levels, noise_and_levels
from .config import FlowLossConfig


class NoisedBatch(NamedTuple):
    """A batch, noise like its latents, and noise levels [B]: the samples' own and those of their base channels."""

    clean: LatentBatch
    noise: Tensor
    sigma: Tensor
    base_sigma: Tensor


class NoisedBatches(Dataset[NoisedBatch | TrainingError]):
    """The run's batches with their noise, each a function of the seed and the samples' numbers alone."""

    def __init__(self, batches: LatentBatches, seed: int, mode: Mode, loss: FlowLossConfig) -> None:
        self._batches, self._seed, self._mode, self._loss = batches, seed, mode, loss

    def __getitem__(self, wanted: tuple[int, slice]) -> NoisedBatch | TrainingError:
        batch = self._batches[wanted]
        if isinstance(batch, TrainingError):
            return batch
        noise, sigma = noise_and_levels(self._seed, batch, self._loss)
        base_sigma = base_levels(self._seed, batch, sigma, self._mode, self._loss)
        return NoisedBatch(batch, noise, sigma, base_sigma)
