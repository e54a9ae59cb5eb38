"""How many pictures show their class, by benchmarks/scene_checker.py: colour and place, also form, also hatching.

The checker goes by mean colours, and passes a smeared hatching; how strong its lines are is measured beside that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.drawn.lines import line_energy
from benchmarks.drawn.regions import regions_of
from benchmarks.scene_checker import check
from davae_core import mini
from davae_core.codec.files import load_codec
from davae_core.images import from_bytes, image_to_pil
from training.sample.config import SamplesConfig
from training.sample.draw import class_of, picture_path

from .pictures import CLASSES, SIDE, drawn, scene

HELD_OUT = 1_000_000
"""The first number of pictures that nothing was trained on."""


@dataclass(frozen=True)
class Verdict:
    """How many pictures were judged, and of how many colour and place are right, also the form, also the hatching.

    `lines`: mean energy of the lines in whatever has the colour, in squares of levels of 255; None where nothing has.
    """

    pictures: int
    coloured: int
    formed: int
    hatched: int
    lines: float | None


def judge_folder(folder: Path, count: int) -> Verdict:
    """Of pictures that `python -m training sample` drew of the classes in turn, brought to SIDE if smaller."""
    even = SamplesConfig(classes="even")
    return judged(
        (class_of(even, number, len(CLASSES)), read(picture_path(folder, number)))
        for number in range(count)
    )


def judge_drawn(count: int) -> Verdict:
    """Of the drawn pictures themselves: what the checker makes of perfect ones."""
    return judged((label, drawn(label, HELD_OUT + number)) for label, number in _turns(count))


@torch.no_grad()
def judge_rebuilt(count: int) -> Verdict:
    """Of the same after a way through the codec: what it leaves for a transformer to reach."""
    codec = load_codec(mini.davae_path(), "cpu", torch.float32)

    def rebuilt(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        pixels = from_bytes(torch.from_numpy(picture).permute(2, 0, 1)[None])
        return np.asarray(image_to_pil(codec.decode(codec.encode(pixels))))

    return judged(
        (label, rebuilt(drawn(label, HELD_OUT + number))) for label, number in _turns(count)
    )


def _turns(count: int) -> Iterable[tuple[int, int]]:
    return ((number % len(CLASSES), number) for number in range(count))


def read(path: Path) -> NDArray[np.uint8]:
    """A picture file as [SIDE, SIDE, 3], enlarged where it is smaller."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def judged(pictures: Iterable[tuple[int, NDArray[np.uint8]]]) -> Verdict:
    """The verdict on pictures [SIDE, SIDE, 3], each with its class."""
    # Of a scene the checker asks for form, colour, place and surface alone, which all of a class share.
    shown = [(picture, scene(label, 0)) for label, picture in pictures]
    found = [check(picture, wanted) for picture, wanted in shown]
    energies = [line_energy(picture, regions_of(picture, wanted)) for picture, wanted in shown]
    seen = [energy for energy in energies if energy is not None]
    return Verdict(
        len(found),
        sum(claims.coloured for claims in found),
        sum(claims.formed for claims in found),
        sum(claims.surfaced for claims in found),
        sum(seen) / len(seen) if seen else None,
    )
