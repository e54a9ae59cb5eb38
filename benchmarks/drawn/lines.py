"""How sharply hatching, letters and stripes are drawn: what a picture of half the size cannot hold."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .regions import Regions, blurred

_FINE = 1.5
"""What changes more slowly than this many pixels is not fine."""
_LEAST = 400
"""Pixels of lines below which a picture says nothing."""


def line_energy(picture: NDArray[np.uint8], regions: Regions) -> float | None:
    """Mean square of what a blur takes away where lines are, in levels of 255; None where there are none.

    `picture` [H, W, 3] and its regions.
    """
    if regions.lines.sum() < _LEAST:
        return None
    values = torch.tensor(picture).movedim(-1, 0)[None].float()
    fine = (values - blurred(values, _FINE)).square().mean(dim=1)[0].numpy()
    return float(fine[regions.lines].mean())
