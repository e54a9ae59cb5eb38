"""Pictures of any size brought to a codec's: sides that are multiples of a latent cell."""

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from .latents import crop_to_multiple

Fit = Literal["crop", "pad", "resize"]
FITS: tuple[Fit, ...] = get_args(Fit)
"""Cut the edges off, repeat the outermost pixels, or enlarge and shrink to the nearest size."""


def fit_picture(images: Tensor, multiple: int, fit: Fit) -> Tensor:
    """[B, C, H, W] of any values -> the same with sides that are multiples of `multiple`, unchanged where they are.

    Cropped and padded evenly on both sides; resized by an antialiased bicubic filter, within the picture's own values.
    Raises ValueError for a picture smaller than one multiple that is to be cropped.
    """
    height, width = images.shape[-2:]
    if fit == "crop":
        return crop_to_multiple(images, multiple)
    if height % multiple == 0 and width % multiple == 0:
        return images
    if fit == "pad":
        above, left = (-height % multiple, -width % multiple)
        edges = (left // 2, left - left // 2, above // 2, above - above // 2)
        return F.pad(images, edges, mode="replicate")
    nearest = [max(1, round(side / multiple)) * multiple for side in (height, width)]
    return _resized(images, nearest)


def fill_square(images: Tensor, side: int) -> Tensor:
    """[B, C, H, W] of any values -> [B, C, side, side]: the shorter side brought to `side`, then the middle.

    The form in which class-conditional models see ImageNet (docs/imagenet.md).
    """
    height, width = images.shape[-2:]
    scale = side / min(height, width)
    filling = [max(side, round(length * scale)) for length in (height, width)]
    top, left = ((length - side) // 2 for length in filling)
    return _resized(images, filling)[..., top : top + side, left : left + side]


def _resized(images: Tensor, size: list[int]) -> Tensor:
    if list(images.shape[-2:]) == size:
        return images
    # PyTorch filters no half precision on a CPU.
    whole = images.float()
    resized = F.interpolate(whole, size, mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(whole.min(), whole.max()).to(images)
