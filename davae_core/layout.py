"""The layout of a latent: its channels, its sizes, the numbers between its two spaces. Plain data, without PyTorch."""

from dataclasses import dataclass
from typing import Annotated

from .reading.typed import Limits, check_limits

Channels = Annotated[int, Limits(1, 4096)]
Number = Annotated[float, Limits(-1e6, 1e6)]


@dataclass(frozen=True)
class LatentLayout:
    """Channel counts and sizes of a detail-aligned latent [B, base + detail, H / factor, W / factor].

    `base_factor` is the pretrained VAE's downscale (f), `ratio` how many times larger the picture becomes on the
    same token grid (s). `base_shift` and `base_scale` belong to the pretrained VAE. Base channels come first. A plain
    VAE's latent is one without detail: 0 detail channels at ratio 1.
    """

    base_channels: Channels
    detail_channels: Annotated[int, Limits(0, 4096)]
    base_factor: Annotated[int, Limits(1, 256)]
    ratio: Annotated[int, Limits(1, 64)]
    base_shift: Number
    base_scale: Number

    def __post_init__(self) -> None:
        check_limits(self)
        if self.base_scale == 0:
            raise ValueError(
                "base_scale must not be 0: model space could not be turned back into VAE space."
            )

    @property
    def channels(self) -> int:
        """Channels of the whole latent, C + D."""
        return self.base_channels + self.detail_channels

    @property
    def factor(self) -> int:
        """Picture pixels per latent cell along one side, f * s."""
        return self.base_factor * self.ratio

    def require_detail(self) -> "LatentLayout":
        """Itself; raises ValueError for a plain VAE's layout, where only a DA-VAE's has a meaning."""
        if not self.detail_channels:
            raise ValueError("detail_channels must be at least 1, not 0.")
        return self


def token_count(width: int, height: int, layout: LatentLayout, patch: int) -> int:
    """Tokens a transformer of patch size `patch` sees for a picture of width x height pixels.

    Odd latent sides count as padded to the next patch, as SD3's transformer does.
    """
    columns, rows = width // layout.factor, height // layout.factor
    return -(-columns // patch) * -(-rows // patch)
