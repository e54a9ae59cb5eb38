"""The packed codec: detail in closed form, from nothing but the pretrained VAE (docs/method.md, "Packed detail").

    z_b = E(reduced picture)                p   = unshuffle(E(picture))
    z_d = U (p - P z_b - m) / std           p'  = U^T std z_d + P z_b + m

U has orthonormal rows. With as many rows as p has channels the picture is exactly the pretrained VAE's own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..latents import LatentLayout, check_latents, downscale_image, join, split
from .autoencoder import (
    Codec,
    KLAutoencoder,
    Progress,
    base_decode,
    base_moments,
    in_range,
)
from .blocks import Ops, shuffle, unshuffle
from .sizes import PackedConfig as PackedConfig
from .sizes import phase_channels as phase_channels
from .tiling import map_tiled


class Packing(nn.Module):
    """The affine function from phases p [B, s s C, h, w] to detail [B, D, h, w], given the base [B, C, h, w].

    `prediction` [s s C, C, 3, 3] is P, a convolution that repeats the edge outside; `mean` [s s C] is m; `axes`
    [D, s s C] is U; `std` [D]. Fresh ones pack the first phases as they are: `packing_fit` fills them.
    """

    prediction: Tensor
    mean: Tensor
    axes: Tensor
    std: Tensor

    def __init__(self, layout: LatentLayout) -> None:
        super().__init__()
        phases, detail = phase_channels(layout), layout.detail_channels
        self.register_buffer("prediction", torch.zeros(phases, layout.base_channels, 3, 3))
        self.register_buffer("mean", torch.zeros(phases))
        self.register_buffer("axes", torch.eye(detail, phases))
        self.register_buffer("std", torch.ones(detail))

    def pack(self, phases: Tensor, base: Tensor) -> Tensor:
        """Phases and base -> detail of deviation 1."""
        left = phases - self._predicted(base)
        return torch.einsum("dp,bphw->bdhw", self._scaled(1 / self.std, phases), left)

    def unpack(self, detail: Tensor, base: Tensor) -> Tensor:
        """Detail and base -> phases; exactly those that were packed when there is an axis for every one."""
        found = torch.einsum("dp,bdhw->bphw", self._scaled(self.std, detail), detail)
        return found + self._predicted(base)

    def _scaled(self, scale: Tensor, like: Tensor) -> Tensor:
        return (scale[:, None] * self.axes).to(like)

    def _predicted(self, base: Tensor) -> Tensor:
        surrounded = F.pad(base, (1, 1, 1, 1), mode="replicate")
        return F.conv2d(surrounded, self.prediction.to(base), self.mean.to(base))


class PackedVAE(Codec):
    """A pretrained VAE whose full-size latent is packed behind its latent of the reduced picture."""

    detail: Packing

    def __init__(self, config: PackedConfig, ops: Ops = nn) -> None:
        super().__init__(config.layout, config.backbone, ops)
        self.config = config
        self.detail = Packing(config.layout)

    @classmethod
    def from_base(cls, base: KLAutoencoder, config: PackedConfig, packing: Packing) -> PackedVAE:
        """The codec of a pretrained VAE and a packing fitted to it, on the CPU in float32."""
        packed = {f"detail.{name}": tensor for name, tensor in packing.state_dict().items()}
        tensors = {**base.state_dict(), **packed}
        with torch.device("meta"):
            codec = cls(config)
        codec.load_state_dict(
            {name: t.to("cpu", torch.float32) for name, t in tensors.items()}, assign=True
        )
        return codec.eval()

    def encode(self, images: Tensor) -> Tensor:
        """Base and packed detail (`Codec.encode`)."""
        self.check_images(images)
        return self._pack(self._both_latents(images))

    def decode(self, latents: Tensor) -> Tensor:
        """The pretrained decoder on the unpacked full-size latent (`Codec.decode`)."""
        check_latents(latents, self.layout)
        return self._decode_phases(self._unpack(latents))

    def encode_tiled(
        self, images: Tensor, tile: int = 768, overlap: int = 64, progress: Progress | None = None
    ) -> Tensor:
        """`encode` with the networks in tiles; the packing sees the whole, so that no tile's edge is predicted from."""
        self.check_images(images)
        scale = (1, self.layout.factor)
        return self._pack(map_tiled(self._both_latents, images, tile, overlap, scale, progress))

    def decode_tiled(
        self, latents: Tensor, tile: int = 48, overlap: int = 4, progress: Progress | None = None
    ) -> Tensor:
        """`decode` with the network in tiles, the unpacking whole."""
        check_latents(latents, self.layout)
        scale, phases = (self.layout.factor, 1), self._unpack(latents)
        return map_tiled(self._decode_phases, phases, tile, overlap, scale, progress)

    def _both_latents(self, images: Tensor) -> Tensor:
        """Base and phases of a picture, [B, C + s s C, h, w]."""
        base = base_moments(self, downscale_image(images, self.layout.ratio)).mean
        phases = unshuffle(base_moments(self, images).mean, self.layout.ratio)
        return torch.cat([base, phases], dim=1)

    def _pack(self, both: Tensor) -> Tensor:
        base, phases = split(both, self.layout)
        return join(base, self.detail.pack(phases, base), self.layout)

    def _unpack(self, latents: Tensor) -> Tensor:
        base, detail = split(latents, self.layout)
        return self.detail.unpack(detail, base)

    def _decode_phases(self, phases: Tensor) -> Tensor:
        return in_range(base_decode(self, shuffle(phases, self.layout.ratio)))
