"""A packing in closed form, from a pretrained VAE's latents of photographs (docs/method.md, "Packed detail")."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor

from ..latents import LatentLayout, downscale_image
from .autoencoder import KLAutoencoder, base_moments
from .blocks import unshuffle
from .files import BaseVae
from .least_squares import LeastSquares, neighbourhoods, rows
from .packed import PackedConfig, PackedVAE, Packing, phase_channels

_LEAST_STD = 1e-4
"""Of the largest: an axis that hardly moves must not blow its rounding up."""


class PackingFit:
    """Sums over pictures, from which a packing of any number of channels and any alignment follows."""

    def __init__(self, vae: KLAutoencoder, ratio: int) -> None:
        """No pictures yet; `ratio` is s."""
        self.vae, self.ratio = vae, ratio
        channels = vae.latent_channels
        device = next(vae.parameters()).device
        self._sums = LeastSquares(9 * channels, ratio**2 * channels, device)

    @property
    def cells(self) -> int:
        """Latent cells seen."""
        return self._sums.count

    @torch.no_grad()
    def add(self, images: Tensor) -> None:
        """Take in pictures [B, 3, H, W] in [-1, 1], their sides multiples of f * s."""
        base = base_moments(self.vae, downscale_image(images, self.ratio)).mean
        phases = unshuffle(base_moments(self.vae, images).mean, self.ratio)
        self._sums.add(neighbourhoods(base, outside="edge"), rows(phases))

    def packing(self, layout: LatentLayout, alignment: float, phases: bool = False) -> Packing:
        """The packing of `layout`, `alignment` in [0, 1].

        Its axes are the principal ones of what the base's prediction leaves, the largest first; or, with `phases`, p's
        own channels, which there must be as many of. Raises ValueError when too little was seen.
        """
        _require_enough(self.cells, len(self._sums.inputs) + phase_channels(layout))
        found = self._sums.weakened(alignment)
        covariance = self._sums.residual_covariance(found)
        if phases:
            axes, variance = torch.eye(len(covariance)).to(covariance), covariance.diagonal()
        else:
            axes, variance = _principal_axes(covariance, layout.detail_channels)
        std = variance.clamp(min=0).sqrt()
        if not std.max() > 0:
            raise ValueError("The pictures show nothing to pack: give photographs.")
        kernels = rearrange(found[1:], "(c y x) p -> p c y x", y=3, x=3)
        packing = Packing(layout)
        packing.load_state_dict(
            {
                "prediction": kernels,
                "mean": found[0],
                "axes": axes,
                "std": std.clamp(min=_LEAST_STD * float(std.max())),
            }
        )
        return packing


def pack(
    base: BaseVae,
    crops: Iterable[Tensor],
    ratio: int = 2,
    detail_channels: int | None = None,
    alignment: float = 1.0,
    phases: bool = False,
) -> PackedVAE:
    """A codec of a pretrained VAE fitted to `crops`, each [B, 3, H, W] in [-1, 1]; all s * s * C channels by default.

    Raises ValueError for more channels than there are, for phases of fewer, and for too few pictures.
    """
    most = ratio**2 * base.layout.base_channels
    channels = most if detail_channels is None else detail_channels
    layout = replace(base.layout, ratio=ratio, detail_channels=channels)
    config = PackedConfig(layout, base.vae.backbone, alignment)
    if phases and channels != most:
        raise ValueError(
            f"The phases are {most} channels, of which none can be left out, so {channels} are too few."
        )
    fit = PackingFit(base.vae, ratio)
    for images in crops:
        fit.add(images)
    return PackedVAE.from_base(base.vae, config, fit.packing(layout, alignment, phases))


def _principal_axes(covariance: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest axes [count, n], and their variances [count]."""
    try:
        variances, vectors = torch.linalg.eigh(covariance)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise ValueError(
            "What the VAE makes of the pictures has no principal axes: give a sound VAE file, or photographs."
        ) from error
    axes = vectors[:, -count:].flip(1).T
    # An eigenvector's sign is anyone's choice; the same on every machine, so that packings can be compared.
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    return axes * largest.sign(), variances[-count:].flip(0)


def _require_enough(cells: int, numbers: int) -> None:
    if cells < numbers:
        raise ValueError(
            f"The pictures have {cells} latent cells together, fewer than the {numbers} numbers that each is described "
            "with: give more or larger photographs."
        )
