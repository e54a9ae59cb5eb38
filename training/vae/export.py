"""The result of a training as a file, with what is measured over the training pictures stored in it."""

from __future__ import annotations

from pathlib import Path

import torch

from davae_core.codec.files import save_base_vae, save_codec
from davae_core.codec.latent_files import encoding_hash
from davae_core.codec.small import SmallConfig

from .config import VaeTrainingConfig
from .crops import CropDataset, leading_crops
from .latent_statistics import channel_means, deviation
from .trainees import BaseVaeTrainee, DetailTrainee, Trainee

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@torch.no_grad()
def export_trained(
    trainee: Trainee,
    config: VaeTrainingConfig,
    dataset: CropDataset,
    target: Path,
    device: torch.device,
) -> dict[str, object]:
    """Measure the latent over training crops and write the file; returns what was measured.

    A base VAE gets the shift and scale that bring its latent to mean 0 and deviation 1 (all channels together); a codec
    the mean and deviation of each detail channel, unless only its decoder was trained: then its latents stay what they
    are known as. Raises CheckpointError when the file cannot be written.
    """
    images = leading_crops(dataset, config, config.train.statistics_samples, device)
    dtype = _DTYPES[config.output.dtype]
    if isinstance(trainee, BaseVaeTrainee):
        vae = trainee.vae
        mean, square = channel_means(vae.encode_moments(batch).mean for batch in images)
        if isinstance(vae.backbone, SmallConfig):
            # Its latents are another VAE's, whose model space stands in its sizes.
            shift, scale = vae.backbone.shift, vae.backbone.scale
            save_base_vae(target, vae, shift, scale, dtype)
            return {"channel_mean": mean.tolist(), "channel_std": deviation(mean, square).tolist()}
        shift, scale = float(mean.mean()), 1.0 / float(deviation(mean.mean(), square.mean()))
        save_base_vae(target, vae, shift, scale, dtype)
        return {"shift": shift, "scale": scale, "channel_std": deviation(mean, square).tolist()}
    assert isinstance(trainee, DetailTrainee)
    codec = trainee.codec
    if trainee.decoder_only:
        encoding = encoding_hash(str(config.model.start_from))
        save_codec(target, codec, config.output.compact, dtype, encoding)
        return {}
    mean, square = channel_means(codec.encode_moments(batch).detail.mean for batch in images)
    # A channel that never moves must not be divided by zero.
    std = deviation(mean, square).clamp(min=1e-6)
    codec.set_detail_statistics(mean.float(), std.float())
    save_codec(target, codec, compact=config.output.compact, dtype=dtype)
    return {"detail_mean": mean.tolist(), "detail_std": std.tolist()}
