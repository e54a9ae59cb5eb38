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
    # PyTorch filters no half precision on a CPU.
    whole = images.float()
    resized = F.interpolate(whole, nearest, mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(whole.min(), whole.max()).to(images)
