"""The result of a training as a file, with what is measured over the training pictures stored in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from davae_core.codec.files import save_base_vae, save_codec

from .config import VaeTrainingConfig
from .crops import CropDataset, leading_crops
from .latent_statistics import ChannelStatistics
from .trainees import BaseVaeTrainee, DetailTrainee, Trainee

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def export_trained(
    trainee: Trainee,
    config: VaeTrainingConfig,
    dataset: CropDataset,
    target: Path,
    device: torch.device,
) -> dict[str, object]:
    """Measure the latent over training crops and write the file; returns what was measured.

    A base VAE gets the shift and scale that bring its latent to mean 0 and deviation 1 (all channels together); a codec
    the mean and deviation of each detail channel. Raises CheckpointError when the file cannot be written.
    """
    images = leading_crops(dataset, config, config.train.statistics_samples, device)
    dtype = _DTYPES[config.output.dtype]
    if isinstance(trainee, BaseVaeTrainee):
        return _export_base(trainee, images, target, dtype)
    assert isinstance(trainee, DetailTrainee)
    return _export_codec(trainee, images, target, config.output.compact, dtype)


@torch.no_grad()
def _export_base(
    trainee: BaseVaeTrainee, images: Iterator[Tensor], target: Path, dtype: torch.dtype
) -> dict[str, object]:
    statistics = ChannelStatistics.empty(trainee.vae.latent_channels)
    for batch in images:
        statistics.add(trainee.vae.encode_moments(batch).mean)
    shift, std = statistics.overall
    save_base_vae(target, trainee.vae, shift, 1.0 / std, dtype)
    return {"shift": shift, "scale": 1.0 / std, "channel_std": statistics.std.tolist()}


@torch.no_grad()
def _export_codec(
    trainee: DetailTrainee,
    images: Iterator[Tensor],
    target: Path,
    compact: bool,
    dtype: torch.dtype,
) -> dict[str, object]:
    codec = trainee.codec
    statistics = ChannelStatistics.empty(codec.layout.detail_channels)
    for batch in images:
        statistics.add(codec.encode_moments(batch).detail.mean)
    # A channel that never moves must not be divided by zero.
    std = statistics.std.clamp(min=1e-6)
    codec.set_detail_statistics(statistics.mean.float(), std.float())
    save_codec(target, codec, compact=compact, dtype=dtype)
    return {"detail_mean": statistics.mean.tolist(), "detail_std": std.tolist()}
