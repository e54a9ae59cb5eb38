"""Where a picture shows which part of its scene: plain forms, flat backgrounds and lines, found in the picture itself.

A drawn thing stands near the place that its caption names, not at the very pixel, so masks come from the picture: it is
blurred, and every pixel goes to the nearest of the scene's few colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.painted import filled_mask, is_form, looked_at, near_place
from training.mini.prompt_scenes import PlacedShape, PromptScene
from training.mini.scenes import COLOURS

FLAT_BACKGROUNDS = {"grey": 140, "white": 237, "black": 18}
"""Backgrounds without structure, and the middle of their tones."""
LINED_BACKGROUNDS = ("striped", "hatched")
_BLUR = 2.0
_RIM = 6
"""Pixels around a thing in which its own outline is seen."""
_INSIDE = 3


@dataclass(frozen=True)
class Regions:
    """Boolean masks [H, W] of a picture.

    `forms`: of each plain form of the scene its mask and what was wanted; `background`: where it is flat, None where it
    has a structure; `lines`: where hatching, letters and stripes are.
    """

    forms: tuple[tuple[NDArray[np.bool_], PlacedShape], ...]
    background: NDArray[np.bool_] | None
    lines: NDArray[np.bool_]


def regions_of(picture: NDArray[np.uint8], scene: PromptScene) -> Regions:
    """Split a picture [H, W, 3] of a scene."""
    size = picture.shape[:2]
    nearest = _nearest(picture, scene)
    forms = tuple(
        ((nearest == number) & near_place(found.place, *size), found)
        for number, found in enumerate(scene.shapes)
        if found.surface == "plain" and is_form(found)
    )
    seen = looked_at(picture)
    things = [_enlarged(filled_mask(seen, f.colour, f.place), size) for f in scene.shapes]
    around = ~np.logical_or.reduce([grown(mask, _RIM) for mask in things])
    lines = around & (scene.background in LINED_BACKGROUNDS)
    for mask, found in zip(things, scene.shapes, strict=True):
        if found.surface == "hatched":
            lines = lines | eroded(mask, _INSIDE)
        elif not is_form(found):
            lines = lines | grown(mask, _INSIDE)
    flat = scene.background in FLAT_BACKGROUNDS
    background = around & (nearest >= len(scene.shapes)) if flat else None
    return Regions(forms, background, lines)


def _nearest(picture: NDArray[np.uint8], scene: PromptScene) -> NDArray[np.intp]:
    """Of every pixel the number of the thing whose colour is nearest, or a greater one for everything else."""
    values = torch.tensor(picture).movedim(-1, 0)[None].float()
    smooth = blurred(values, _BLUR)[0].movedim(0, -1).numpy()
    colours = [COLOURS[found.colour] for found in scene.shapes]
    flat = FLAT_BACKGROUNDS.get(scene.background)
    others = [(flat,) * 3] if flat is not None else [(tone,) * 3 for tone in range(60, 240, 30)]
    others += [(120, 80, 45), (160, 110, 65), (190, 145, 95)] if flat is None else [(5, 5, 5)]
    palette = np.array([*colours, *others], dtype=np.float32)
    # |a - b|^2 without |a|^2, which no colour of the palette changes.
    found: NDArray[np.intp] = ((palette * palette).sum(axis=1) - 2.0 * smooth @ palette.T).argmin(
        axis=-1
    )
    return found


def _enlarged(mask: NDArray[np.bool_], size: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask of the picture that was looked at, as one of the whole; nothing at what was cut off."""
    times = size[0] // mask.shape[0]
    whole = np.zeros(size, dtype=bool)
    large = mask.repeat(times, axis=0).repeat(times, axis=1)
    whole[: large.shape[0], : large.shape[1]] = large
    return whole


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


def grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """A mask [h, w] and all places that are not farther than `pixels` from it, along rows and columns."""
    found: NDArray[np.bool_] = ~eroded(~mask, pixels)
    return found
