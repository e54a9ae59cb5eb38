"""Where a picture shows which part of its scene: flat surfaces and the outlines of shapes, found in the picture itself.

A drawn shape stands near the place that its caption names, not at the very pixel, so masks come from the picture: it is
blurred, and every pixel goes to the nearest of the scene's few colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.mini.prompt_scenes import PLACES, PromptScene
from training.mini.scenes import COLOURS

FLAT_BACKGROUNDS = {"grey": 140, "white": 237, "black": 18}
"""Backgrounds without structure, and the middle of their tones."""
_BLUR = 2.0
_REACH = 0.27
"""How far a shape may lie from its caption's place, as a fraction of the side."""


@dataclass(frozen=True)
class Regions:
    """Boolean masks [H, W]: one for every shape of the scene, and the background where it is flat (else None)."""

    shapes: tuple[NDArray[np.bool_], ...]
    background: NDArray[np.bool_] | None


def regions_of(picture: NDArray[np.uint8], scene: PromptScene) -> Regions:
    """Split a picture [H, W, 3] of a scene by colour."""
    values = torch.tensor(picture).movedim(-1, 0)[None].float()
    smooth = blurred(values, _BLUR)[0].movedim(0, -1).numpy()
    colours = [COLOURS[found.colour] for found in scene.shapes]
    flat = FLAT_BACKGROUNDS.get(scene.background)
    others = [(flat,) * 3] if flat is not None else [(tone,) * 3 for tone in range(60, 240, 30)]
    others += [(120, 80, 45), (160, 110, 65), (190, 145, 95)] if flat is None else [(5, 5, 5)]
    palette = np.array([*colours, *others], dtype=np.float32)
    # |a - b|^2 without |a|^2, which no colour of the palette changes.
    nearest = ((palette * palette).sum(axis=1) - 2.0 * smooth @ palette.T).argmin(axis=-1)
    shapes = tuple(
        (nearest == number) & _near(found.place, picture.shape[:2])
        for number, found in enumerate(scene.shapes)
    )
    background = None if flat is None else nearest >= len(colours)
    return Regions(shapes, background)


def blurred(pictures: Tensor, deviation: float) -> Tensor:
    """[B, C, H, W] under a Gaussian of so many pixels, borders repeated."""
    reach = int(3 * deviation + 0.5)
    offsets = torch.arange(-reach, reach + 1, dtype=pictures.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * deviation**2))
    kernel = (kernel / kernel.sum()).repeat(pictures.shape[1], 1, 1, 1)
    padded = F.pad(pictures, (reach,) * 4, mode="replicate")
    across = F.conv2d(padded, kernel, groups=pictures.shape[1])
    return F.conv2d(across, kernel.transpose(-1, -2), groups=pictures.shape[1])


def eroded(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """The places of a mask [H, W] that are farther than `pixels` from its edge, along rows and columns."""
    window, border = 2 * pixels + 1, (pixels + 1, pixels)
    # Sums over windows by a table of sums: nothing outside the mask lies in a window whose sum is 0.
    sums = np.pad((~mask).astype(np.int32), (border, border)).cumsum(axis=0).cumsum(axis=1)
    rows = sums[window:] - sums[:-window]
    kept: NDArray[np.bool_] = rows[:, window:] == rows[:, :-window]
    return kept


def _near(place: str, size: tuple[int, ...]) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    x, y = PLACES[place]
    far = np.maximum(abs((columns + 0.5) / size[1] - x), abs((rows + 0.5) / size[0] - y))
    near: NDArray[np.bool_] = far < _REACH
    return near
