"""Speckle: how uneven the surfaces are that a caption calls flat."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .regions import Regions, blurred, eroded

_MARGIN = 8
"""Pixels from an outline, where nothing is flat any more."""
_SLOW = 6.0
"""A shading that changes more slowly than this many pixels is no speckle."""


def speckle(picture: NDArray[np.uint8], regions: Regions) -> float | None:
    """Mean absolute deviation from the surface's local average, in levels of 255, in plain forms and flat backgrounds.

    `picture` [H, W, 3] and its regions. None where nothing in it is flat.
    """
    flat = np.zeros(picture.shape[:2], dtype=bool)
    background = () if regions.background is None else (regions.background,)
    for mask in (*(form for form, _ in regions.forms), *background):
        flat |= eroded(mask, _MARGIN)
    if not flat.any():
        return None
    values = torch.tensor(picture).movedim(-1, 0)[None].float()
    weights = torch.from_numpy(flat)[None, None].float()
    # Averaged over flat places alone, so that nothing that stands on a surface shines into it.
    slow = blurred(values * weights, _SLOW) / blurred(weights, _SLOW).clamp_min(1e-6)
    deviation = (values - slow).abs().mean(dim=1)[0].numpy()
    return float(deviation[flat].mean())
