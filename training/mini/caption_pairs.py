"""Pictures with their captions, drawn in memory: what the miniature's text encoder learns from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from davae_core.images import from_bytes

from . import prompt_scenes, scenes

Drawn = tuple[NDArray[np.uint8], str]


@dataclass(frozen=True)
class Captioned:
    """Pictures [N, 3, size, size] as bytes, and the caption of each."""

    pictures: Tensor
    captions: list[str]

    def images(self, chosen: Tensor | slice) -> Tensor:
        """Some of the pictures in [-1, 1]."""
        return from_bytes(self.pictures[chosen])


def draw(families: Sequence[str], first_seed: int, count: int, size: int) -> Captioned:
    """`count` scenes of each family, from `first_seed` on."""
    pictures, captions = [], []
    for family in families:
        seeds = range(first_seed, first_seed + count)
        for seed in tqdm(seeds, desc=family.replace("_", " "), file=sys.stderr):
            picture, caption = FAMILIES[family](seed, size)
            pictures.append(torch.from_numpy(picture).movedim(-1, 0))
            captions.append(caption)
    return Captioned(torch.stack(pictures), captions)


def draw_scene(
    seed: int, size: int, backgrounds: tuple[str, ...] = tuple(scenes.BACKGROUNDS)
) -> Drawn:
    """The codec's scene of a seed, [size, size, 3], and its caption."""
    picture, scene = scenes.render(seed, size, backgrounds)
    return picture, scenes.caption(scene)


def draw_prompt_scene(seed: int, size: int) -> Drawn:
    """The generator's scene of a seed, [height, width, 3] in its own format, and its caption."""
    scene = prompt_scenes.compose(seed)
    return prompt_scenes.render(scene, size), prompt_scenes.caption(scene)


def draw_line_scene(seed: int, size: int) -> Drawn:
    """The generator's scene of a seed as coloured lines on white, and the caption that it has otherwise."""
    scene = prompt_scenes.compose(seed)
    lines = tuple(_as_line(found) for found in scene.shapes)
    drawn = replace(scene, background="white", shapes=lines)
    return prompt_scenes.render(drawn, size), prompt_scenes.caption(scene)


def _as_line(found: prompt_scenes.PlacedShape) -> prompt_scenes.PlacedShape:
    letter = found.shape in prompt_scenes.LETTERS
    return found if letter else replace(found, surface="outlined")


def draw_square_prompt_scene(seed: int, size: int) -> Drawn:
    """The same as a square [size, size, 3], whatever its format: the picture tower sees squares only."""
    scene = replace(prompt_scenes.compose(seed), format="square")
    return prompt_scenes.render(scene, size), prompt_scenes.caption(scene)


FAMILIES: dict[str, Callable[[int, int], Drawn]] = {
    "scenes": draw_scene,
    "prompt_scenes": draw_square_prompt_scene,
}
"""Every kind of captioned square scene, by the name that a configuration gives it."""
