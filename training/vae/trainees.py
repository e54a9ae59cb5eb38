"""What is trained: a plain base VAE or the detail part of a codec, each as one module with one training forward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from davae_core.codec.alignment import alignment_loss, project
from davae_core.codec.autoencoder import (
    CodecConfig,
    DetailAlignedVAE,
    KLAutoencoder,
    Moments,
    base_decode,
)
from davae_core.codec.blocks import KLConfig
from davae_core.codec.files import VAE_PARTS, encoding_part
from davae_core.files import CheckpointError, reason_of
from davae_core.latents import LatentLayout, base_to_model_space, join
from davae_core.presets import PRESETS

from ..base_source import load_base_source
from ..errors import TrainingError
from .config import ModelConfig, SizesConfig
from .convolutions import conv_of
from .initialisation import initialise_base_vae, initialise_detail
from .start_from import read_start


class Forward(NamedTuple):
    """What the losses need of one training forward.

    `posterior` is the one being trained, if one is, and `start` the latent that its mean is held to; `detail` (a sample
    of it) and `base`, both [B, channels, h, w], are there when a codec's detail is learned.
    """

    reconstruction: Tensor
    target: Tensor
    posterior: Moments | None = None
    start: Tensor | None = None
    detail: Tensor | None = None
    base: Tensor | None = None


@dataclass(frozen=True)
class Evaluation:
    """Pictures rebuilt from posterior means, clamped to [-1, 1], and what validation reports beside them.

    `draft` is what the base alone gives, at 1/s of the size; `kl` in nats per latent value and `alignment` are scalars.
    """

    reconstruction: Tensor
    draft: Tensor | None = None
    kl: Tensor | None = None
    alignment: Tensor | None = None


class Trainee(nn.Module, ABC):
    """A module whose trainable parameters are those that need gradients, frozen ones already switched off.

    Its posterior has `channels`; sides of crops must be multiples of `crop_multiple`, the pixels of a latent cell.
    """

    def __init__(self, channels: int, crop_multiple: int) -> None:
        super().__init__()
        self.channels, self.crop_multiple = channels, crop_multiple

    @abstractmethod
    def forward(self, images: Tensor, noise: Tensor, keep: Tensor) -> Forward:
        """One training forward of [B, 3, H, W] in [-1, 1]; `noise` draws the posterior, `keep` [B,1,1,1] the detail."""

    def noise_shape(self, crop: int) -> tuple[int, int, int]:
        """Shape of one sample's posterior noise for crops of `crop` pixels."""
        side = crop // self.crop_multiple
        return self.channels, side, side

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """Where the adaptive GAN weight compares gradients: the kernel that makes the picture."""

    @property
    def posterior_layer(self) -> Tensor | None:
        """Where the adaptive alignment weight compares gradients: the kernel that makes the detail."""
        return None

    def frozen_weights(self) -> dict[str, Tensor]:
        """What the training starts from and never changes; a run must be resumed over the same."""
        return {}

    @abstractmethod
    def evaluate(self, images: Tensor) -> Evaluation:
        """Reconstruct [B, 3, H, W] from posterior means, without sampling."""


class BaseVaeTrainee(Trainee):
    """A plain autoencoder, all of it trained; `start`, if given, is what its latents are held to."""

    def __init__(self, vae: KLAutoencoder, start: KLAutoencoder | None = None) -> None:
        super().__init__(vae.latent_channels, vae.backbone.factor)
        self.vae = vae
        self.start = None if start is None else start.requires_grad_(False)

    def forward(self, images: Tensor, noise: Tensor, keep: Tensor) -> Forward:
        posterior = self.vae.encode_moments(images)
        made = self.vae.decode(posterior.sample(noise))
        return Forward(made, images, posterior, self._start_latent(images))

    @torch.no_grad()
    def _start_latent(self, images: Tensor) -> Tensor | None:
        return None if self.start is None else self.start.encode_moments(images).mean

    def frozen_weights(self) -> dict[str, Tensor]:
        """What the latents are held to."""
        return {} if self.start is None else dict(self.start.state_dict())

    def evaluate(self, images: Tensor) -> Evaluation:
        posterior = self.vae.encode_moments(images)
        made = self.vae.decode(posterior.mean).clamp(-1, 1)
        return Evaluation(made, kl=_nats_per_value(posterior))

    @property
    def last_layer(self) -> Tensor:
        return conv_of(self.vae.decoder.conv_out).weight


class DetailTrainee(Trainee):
    """A codec over a frozen base: detail head, stem and joint decoder trained, the trunk on request.

    `detail_learned` False is the control arm: the decoder sees zeros in place of the detail. `decoder_only` leaves the
    latents what they are. With `base_target` the codec's own base VAE teaches: what it makes of the full-size picture
    is the target instead of the picture.
    """

    def __init__(
        self,
        codec: DetailAlignedVAE,
        detail_learned: bool = True,
        decoder_only: bool = False,
        base_target: bool = False,
    ) -> None:
        super().__init__(codec.layout.detail_channels, codec.layout.factor)
        self.codec, self.detail_learned, self.decoder_only = codec, detail_learned, decoder_only
        self.base_target = base_target
        codec.requires_grad_(False)
        codec.joint.requires_grad_(True)
        codec.detail.requires_grad_(self.encodes)

    @property
    def encodes(self) -> bool:
        """Whether the detail's encoder is among what trains."""
        return self.detail_learned and not self.decoder_only

    def forward(self, images: Tensor, noise: Tensor, keep: Tensor) -> Forward:
        with torch.set_grad_enabled(self.encodes and torch.is_grad_enabled()):
            features = self.codec.trunk_features(images)
            moments = self.codec.encode_moments(images, features)
        target = self._target(images, features)
        base = base_to_model_space(moments.base.mean, self.codec.layout)
        if not self.detail_learned:
            return Forward(self.codec.decode_joint(base, torch.zeros_like(noise)), target)
        detail = moments.detail.sample(noise)
        reconstruction = self.codec.decode_joint(base, detail * keep)
        if not self.encodes:
            return Forward(reconstruction, target)
        return Forward(reconstruction, target, moments.detail, detail=detail, base=base)

    @torch.no_grad()
    def _target(self, images: Tensor, features: Tensor) -> Tensor:
        if not self.base_target:
            return images
        latents = self.codec.full_size_moments(images, features).mean
        return base_decode(self.codec, latents).clamp(-1, 1)

    def evaluate(self, images: Tensor) -> Evaluation:
        moments, layout = self.codec.encode_moments(images), self.codec.layout
        base, detail = moments.base.mean, moments.detail.mean
        draft = self.codec.decode_base(join(base, torch.zeros_like(detail), layout))
        scaled = base_to_model_space(base, layout)
        if not self.detail_learned:
            made = self.codec.decode_joint(scaled, torch.zeros_like(detail)).clamp(-1, 1)
            return Evaluation(made, draft)
        made = self.codec.decode_joint(scaled, detail).clamp(-1, 1)
        return Evaluation(
            made, draft, _nats_per_value(moments.detail), alignment_loss(detail, scaled)
        )

    def frozen_weights(self) -> dict[str, Tensor]:
        """The base VAE, the two numbers that lead to its model space, and an encoder of the detail that stays."""
        layout, weights = self.codec.layout, self.codec.state_dict()
        space = torch.tensor([layout.base_shift, layout.base_scale], dtype=torch.float64)
        base = {name: part for name, part in weights.items() if name.split(".")[0] in VAE_PARTS}
        kept = encoding_part(weights) if self.decoder_only else {}
        return base | kept | {"model_space": space}

    @property
    def last_layer(self) -> Tensor:
        return conv_of(self.codec.joint.decoder.conv_out).weight

    @property
    def posterior_layer(self) -> Tensor | None:
        return conv_of(self.codec.detail.down.conv).weight if self.encodes else None


def build_trainee(config: ModelConfig, base_target: bool = False, held: bool = False) -> Trainee:
    """The module that a configuration describes, on the CPU in float32.

    `base_target`: a codec learns the base's reconstruction instead of the picture; `held`: a base VAE is told what its
    latents were at the start.

    Raises TrainingError or CheckpointError, one sentence, for sizes or files that do not fit.
    """
    try:
        return _build(config, base_target, held)
    except (TrainingError, CheckpointError):
        raise
    except ValueError as error:
        raise TrainingError(
            f"The sizes under model do not fit ({reason_of(error)}): correct model.preset or model.sizes."
        ) from error


def _build(config: ModelConfig, base_target: bool, held: bool) -> Trainee:
    sizes = codec_sizes(config)
    if config.kind == "base_vae":
        vae = _plain_vae(config, sizes).train()
        return BaseVaeTrainee(vae, deepcopy(vae) if held else None)
    if config.start_from is not None:
        return _started(config, sizes, base_target)
    assert config.base_vae is not None
    # Asks once, before anything is loaded, whether the alignment can be computed at all.
    project(torch.zeros(1, sizes.layout.detail_channels, 1, 1), sizes.layout.base_channels)
    base = load_base_source(config.base_vae, "model.base_vae", sizes.layout.base_channels)
    codec = DetailAlignedVAE.from_base(base.vae.float(), _in_space(sizes, config, base.layout))
    if config.init != "torch":
        initialise_detail(codec)
    learned = config.detail == "learned"
    return DetailTrainee(codec.train(), learned, base_target=base_target)


def _started(config: ModelConfig, sizes: CodecConfig, base_target: bool) -> DetailTrainee:
    """The codec to train on, whose sizes must be those of the configuration."""
    codec = read_start(config, lambda layout: _in_space(sizes, config, layout))
    decoder_only = config.train == "decoder"
    return DetailTrainee(codec.train(), decoder_only=decoder_only, base_target=base_target)


def _in_space(sizes: CodecConfig, config: ModelConfig, found: LatentLayout) -> CodecConfig:
    """The sizes with the configured shift and scale, those found in a file where nothing is configured."""
    layout = replace(
        sizes.layout,
        base_shift=found.base_shift if config.base_shift is None else config.base_shift,
        base_scale=found.base_scale if config.base_scale is None else config.base_scale,
    )
    return replace(sizes, layout=layout)


def _plain_vae(config: ModelConfig, sizes: CodecConfig) -> KLAutoencoder:
    """The VAE to train on, with the sizes of its file, or a fresh one with the configured sizes."""
    channels = sizes.layout.base_channels
    if config.base_vae is not None:
        return load_base_source(config.base_vae, "model.base_vae", channels).vae.float()
    vae = KLAutoencoder(sizes.backbone, channels)
    if config.init == "good":
        initialise_base_vae(vae)
    return vae


def codec_sizes(config: ModelConfig) -> CodecConfig:
    """The preset with the configuration's deviations in it."""
    preset, sizes = PRESETS[config.preset], config.sizes
    changes = _given(sizes, ("widths", "res_blocks", "norm_groups"))
    if changes and not isinstance(preset.backbone, KLConfig):
        raise ValueError(
            f"the preset {config.preset} has one width and no norms, so leave {min(changes)} empty"
        )
    backbone = replace(preset.backbone, **changes)
    layout = replace(
        preset.layout,
        base_factor=backbone.factor,
        **_given(sizes, ("base_channels", "detail_channels", "ratio")),
    )
    return replace(preset, backbone=backbone, layout=layout, shared_trunk=config.trunk == "frozen")


def _given(sizes: SizesConfig, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(sizes, name) for name in names if getattr(sizes, name) is not None}


def _nats_per_value(posterior: Moments) -> Tensor:
    return posterior.kl().mean() / posterior.mean[0].numel()
