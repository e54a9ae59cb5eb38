"""The codec: a plain KL autoencoder, and the detail-aligned one that grows from it (docs/method.md, "Codec")."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..latents import LatentLayout, base_to_model_space, check_latents, downscale_image, join, split
from .backbones import build_decoder, build_encoder
from .blocks import DCDown, DCUp, Ops
from .sizes import Backbone, KLConfig
from .sizes import CodecConfig as CodecConfig
from .tiling import map_tiled

NO_DRAFTS = (
    "This DA-VAE file was written compact, without the base decoder: for drafts split the latent and decode its base "
    "with the stock VAE."
)
"""What a compact codec answers to whom asks it for a draft."""
Progress = Callable[[int, int], None]


class NoPictureError(ValueError):
    """A latent whose values are finite, but that no picture comes out of; the message is one sentence."""


@dataclass
class Moments:
    """A diagonal Gaussian posterior: mean and log-variance, both [B, channels, h, w], log-variance in [-30, 20]."""

    mean: Tensor
    logvar: Tensor

    @classmethod
    def from_channels(cls, moments: Tensor) -> Moments:
        """Split [B, 2 * channels, h, w] into mean and clamped log-variance."""
        mean, logvar = moments.chunk(2, dim=1)
        return cls(mean, logvar.clamp(-30.0, 20.0))

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std * noise, the noise [B, channels, h, w] standard normal."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def kl(self) -> Tensor:
        """Kullback-Leibler divergence from a standard normal, [B], in nats summed over channels and places."""
        terms = self.mean.square() + self.logvar.exp() - 1.0 - self.logvar
        return 0.5 * terms.flatten(1).sum(dim=1)


@dataclass
class CodecMoments:
    """Posteriors of both parts: base in VAE space (unscaled), detail raw (not normalised)."""

    base: Moments
    detail: Moments


class KLAutoencoder(nn.Module):
    """The pretrained kind of VAE that a detail-aligned one starts from; state-dict keys are a stock file's.

    `latent_channels` is C; sizes come from `backbone`.
    """

    def __init__(self, backbone: Backbone, latent_channels: int, ops: Ops = nn) -> None:
        super().__init__()
        self.backbone, self.latent_channels = backbone, latent_channels
        self.encoder = build_encoder(backbone, latent_channels, ops)
        self.decoder = build_decoder(backbone, latent_channels, ops)
        self.quant_conv, self.post_quant_conv = _quant_convs(
            backbone, latent_channels, ops, decoder=True
        )

    def encode_moments(self, images: Tensor) -> Moments:
        """Posterior of [B, 3, H, W] in [-1, 1]: mean and log-variance [B, C, H/f, W/f], unscaled."""
        return base_moments(self, images)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w], unscaled -> pictures [B, 3, h * f, w * f], not clamped."""
        return base_decode(self, latents)


class DetailHead(nn.Module):
    """Detail posterior's parameters: an own trunk (or none when shared), the DC-down head and the statistics."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: CodecConfig, ops: Ops) -> None:
        super().__init__()
        layout, backbone = config.layout, config.backbone
        self.trunk = None if config.shared_trunk else build_encoder(backbone, None, ops)
        self.down = DCDown(backbone.features, 2 * layout.detail_channels, layout.ratio, ops)
        self.register_buffer("mean", torch.zeros(layout.detail_channels))
        self.register_buffer("std", torch.ones(layout.detail_channels))


class JointDecoder(nn.Module):
    """Stem and decoder that turn base and detail together into the full-resolution picture."""

    def __init__(self, config: CodecConfig, ops: Ops) -> None:
        super().__init__()
        layout, backbone = config.layout, config.backbone
        self.up = DCUp(layout.channels, backbone.features, layout.ratio, ops)
        self.decoder = build_decoder(backbone, None, ops)

    def forward(self, stem_latents: Tensor) -> Tensor:
        return self.decoder(self.up(stem_latents))  # type: ignore[no-any-return]


class Codec(nn.Module, ABC):
    """A pretrained VAE, kept as it is, and a latent that begins with that VAE's own of the reduced picture.

    What the other channels hold, and how both become the full-size picture, is each codec's own. Pictures are
    [B, 3, H, W] in [-1, 1] with sides that are multiples of `layout.factor`. State-dict keys of the pretrained part
    are a stock file's, and what decides a latent's meaning beside it begins with `detail.` (files.encoding_part).
    """

    def __init__(
        self, layout: LatentLayout, backbone: Backbone, ops: Ops, base_decoder: bool = True
    ) -> None:
        super().__init__()
        self.layout = layout
        self.encoder = build_encoder(backbone, layout.base_channels, ops)
        self.decoder = build_decoder(backbone, layout.base_channels, ops) if base_decoder else None
        self.quant_conv, self.post_quant_conv = _quant_convs(
            backbone, layout.base_channels, ops, decoder=base_decoder
        )

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Pictures -> latents [B, C + D, H/(f s), W/(f s)] in VAE space, posterior means (no sampling).

        Raises ValueError when a side is no multiple of f * s, or when a value is NaN or infinite.
        """

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents in VAE space -> pictures [B, 3, h f s, w f s] clamped to [-1, 1].

        Raises ValueError for a latent of another layout or with NaN, and NoPictureError when the picture has NaN.
        """

    def decode_base(self, latents: Tensor) -> Tensor:
        """A draft from the base channels alone, by the pretrained decoder: [B, 3, h f, w f] clamped to [-1, 1].

        Raises ValueError for a compact codec, which has no base decoder, NoPictureError when the picture has NaN.
        """
        check_latents(latents, self.layout)
        if self.decoder is None:
            raise ValueError(NO_DRAFTS)
        return in_range(base_decode(self, split(latents, self.layout)[0]))

    def encode_tiled(
        self, images: Tensor, tile: int = 768, overlap: int = 64, progress: Progress | None = None
    ) -> Tensor:
        """`encode` in tiles of `tile` picture pixels that share `overlap`; both multiples of f * s."""
        self.check_images(images)
        return map_tiled(self.encode, images, tile, overlap, (1, self.layout.factor), progress)

    def decode_tiled(
        self, latents: Tensor, tile: int = 48, overlap: int = 4, progress: Progress | None = None
    ) -> Tensor:
        """`decode` in tiles of `tile` latent cells that share `overlap`."""
        check_latents(latents, self.layout)
        return map_tiled(self.decode, latents, tile, overlap, (self.layout.factor, 1), progress)

    def check_images(self, images: Tensor) -> None:
        """Raise ValueError unless both sides are multiples of f * s and every value is finite."""
        self.check_sides(images)
        if not torch.isfinite(images).all():
            raise ValueError(
                "The picture holds NaN or infinite values: look at the step that made it."
            )

    def check_sides(self, images: Tensor) -> None:
        """Raise ValueError unless both sides are multiples of f * s."""
        height, width = images.shape[-2:]
        factor = self.layout.factor
        if height % factor or width % factor or not height or not width:
            raise ValueError(
                f"The picture is {width}x{height} pixels, but both sides must be multiples of {factor}: "
                "crop or resize it first."
            )


class DetailAlignedVAE(Codec):
    """The detail-aligned VAE: a base latent kept as it is, learned detail channels beside it, one decoder for both.

    `ops` supplies the layers; `base_decoder=False` builds the compact form, which cannot make drafts.
    """

    def __init__(self, config: CodecConfig, ops: Ops = nn, base_decoder: bool = True) -> None:
        super().__init__(config.layout, config.backbone, ops, base_decoder)
        self.config = config
        self.detail = DetailHead(config, ops)
        self.joint = JointDecoder(config, ops)

    @classmethod
    def from_base(cls, base: KLAutoencoder, config: CodecConfig) -> DetailAlignedVAE:
        """A codec at the start of training: everything a pretrained VAE can give copied from `base`.

        The detail head and the stem are fresh. Raises ValueError when `base` has other sizes than `config`.
        """
        if base.backbone != config.backbone or base.latent_channels != config.layout.base_channels:
            raise ValueError(
                f"The base VAE ({base.backbone}, {base.latent_channels} latent channels) has other sizes "
                f"than the codec ({config.backbone}, {config.layout.base_channels} base channels)."
            )
        codec = cls(config)
        # Not strict: the codec has more than the base, its trunk no conv_out and its joint decoder no conv_in.
        codec.load_state_dict(base.state_dict(), strict=False)
        if codec.detail.trunk is not None:
            codec.detail.trunk.load_state_dict(base.encoder.state_dict(), strict=False)
        codec.joint.decoder.load_state_dict(base.decoder.state_dict(), strict=False)
        return codec

    def trunk_features(self, images: Tensor) -> Tensor:
        """What the detail head reads of [B, 3, H, W] in [-1, 1]: [B, features, H/f, W/f].

        Raises ValueError when a side is no multiple of f * s.
        """
        self.check_sides(images)
        return (self.encoder if self.detail.trunk is None else self.detail.trunk).features(images)

    def encode_moments(self, images: Tensor, features: Tensor | None = None) -> CodecMoments:
        """Posteriors of [B, 3, H, W] in [-1, 1]: base and detail, each [B, channels, H/(f s), W/(f s)].

        `features`: `trunk_features` of the same pictures, where they are known already. Raises ValueError when a side
        is no multiple of f * s.
        """
        self.check_sides(images)
        base = base_moments(self, downscale_image(images, self.layout.ratio))
        found = self.trunk_features(images) if features is None else features
        return CodecMoments(base, Moments.from_channels(self.detail.down(found)))

    def full_size_moments(self, images: Tensor, features: Tensor) -> Moments:
        """The pretrained VAE's own posterior of pictures that are not reduced, [B, C, H/f, W/f].

        `features`: `trunk_features` of the same pictures. They are the pretrained encoder's own where the trunk is
        shared; a trunk of the detail's own has others.
        """
        own = features if self.detail.trunk is None else self.encoder.features(images)
        return _quantised(self, self.encoder.moments(own))

    def encode(self, images: Tensor) -> Tensor:
        """The base's posterior mean, beside it the detail's, normalised (`Codec.encode`)."""
        self.check_images(images)
        moments = self.encode_moments(images)
        return join(moments.base.mean, self.normalise_detail(moments.detail.mean), self.layout)

    def decode(self, latents: Tensor) -> Tensor:
        """Stem and joint decoder on both parts (`Codec.decode`)."""
        check_latents(latents, self.layout)
        base, detail = split(latents, self.layout)
        images = self.decode_joint(
            base_to_model_space(base, self.layout), self.denormalise_detail(detail)
        )
        return in_range(images)

    def decode_joint(self, base_model_space: Tensor, detail: Tensor) -> Tensor:
        """The decoder as it is trained: base in model space, detail raw -> pictures, not clamped."""
        parts = (
            (detail, base_model_space)
            if self.config.stem_order == "detail_first"
            else (base_model_space, detail)
        )
        return self.joint(torch.cat(parts, dim=1))  # type: ignore[no-any-return]

    def normalise_detail(self, detail: Tensor) -> Tensor:
        """Raw detail -> VAE-space detail, (z_d - mean) / std per channel."""
        mean, std = _per_channel(self.detail.mean, detail), _per_channel(self.detail.std, detail)
        return (detail - mean) / std

    def denormalise_detail(self, detail: Tensor) -> Tensor:
        """VAE-space detail -> raw detail, the inverse of `normalise_detail`."""
        mean, std = _per_channel(self.detail.mean, detail), _per_channel(self.detail.std, detail)
        return detail * std + mean

    def set_detail_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Store per-channel mean and standard deviation [D]; raises ValueError unless finite and std positive."""
        shape = (self.layout.detail_channels,)
        if mean.shape != shape or std.shape != shape:
            raise ValueError(
                f"Detail statistics must have {shape[0]} values each, not {mean.numel()} and {std.numel()}."
            )
        if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()):
            raise ValueError(
                "Detail statistics must be finite and every standard deviation above 0."
            )
        self.detail.mean.copy_(mean)
        self.detail.std.copy_(std)


def _quant_convs(
    backbone: Backbone, channels: int, ops: Ops, decoder: bool
) -> tuple[nn.Module | None, nn.Module | None]:
    """The 1x1 convolutions around the base latent, where the pretrained VAE has them."""
    if not (isinstance(backbone, KLConfig) and backbone.quant_conv):
        return None, None
    before = ops.Conv2d(2 * channels, 2 * channels, kernel_size=1)
    return before, ops.Conv2d(channels, channels, kernel_size=1) if decoder else None


def base_moments(module: KLAutoencoder | Codec, images: Tensor) -> Moments:
    """The base posterior of pictures [B, 3, H, W] as they are, at 1/f of their size, also in a codec."""
    return _quantised(module, module.encoder(images))


def _quantised(module: KLAutoencoder | Codec, moments: Tensor) -> Moments:
    """What the encoder made, through the 1x1 convolution behind it where there is one."""
    if module.quant_conv is not None:
        moments = module.quant_conv(moments)
    return Moments.from_channels(moments)


def base_decode(module: KLAutoencoder | Codec, latents: Tensor) -> Tensor:
    """The base latents [B, C, h, w], unscaled -> pictures [B, 3, h f, w f], not clamped, also in a codec."""
    if module.post_quant_conv is not None:
        latents = module.post_quant_conv(latents)
    assert module.decoder is not None
    return module.decoder(latents)  # type: ignore[no-any-return]


def in_range(pictures: Tensor) -> Tensor:
    """Decoded pictures clamped to [-1, 1]. Raises NoPictureError for NaN and infinite values."""
    if not torch.isfinite(pictures).all():
        raise NoPictureError(
            "This latent decodes to NaN or infinite values, so it is far from what the DA-VAE encodes or its numbers "
            "are too large for half precision: look at the step that made it, or decode in float32."
        )
    return pictures.clamp(-1, 1)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.to(device=like.device, dtype=like.dtype).view(1, -1, 1, 1)
