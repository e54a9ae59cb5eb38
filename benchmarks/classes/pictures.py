"""Twelve classes of drawn pictures: a hatched form of a colour in the middle of a plain background.

The hatching is what a picture of half the size has no room for, and what the detail is for.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.mini.prompt_scenes import FORMS, PLACES, PlacedShape, PromptScene, render

COLOURS = ("red", "green", "blue")
CLASSES = tuple(f"{colour}_{form}" for colour, form in product(COLOURS, FORMS))
SIDE = 128
_PLACE = "in the centre"
_BACKGROUNDS = ("grey", "white", "black")


def scene(label: int, number: int) -> PromptScene:
    """Picture `number` of the class `label`, a function of both."""
    random = np.random.default_rng([label, number, 9])
    colour, form = CLASSES[label].split("_")
    x, y = PLACES[_PLACE]
    thing = PlacedShape(
        shape=form,
        colour=colour,
        place=_PLACE,
        x=x + random.uniform(-0.02, 0.02),
        y=y + random.uniform(-0.02, 0.02),
        radius=random.uniform(0.18, 0.21),
        turn=random.normal(0, 0.08),
        surface="hatched",
    )
    seed = int(random.integers(2**31))
    return PromptScene(seed, _BACKGROUNDS[random.integers(len(_BACKGROUNDS))], (thing,))


def drawn(label: int, number: int) -> NDArray[np.uint8]:
    """The picture [SIDE, SIDE, 3] itself."""
    return render(scene(label, number), SIDE)


def write_classes(folder: Path, pictures: int) -> None:
    """A folder of a class each with `pictures` pictures, and `classes.txt` beside them all."""
    for label, name in enumerate(CLASSES):
        (folder / "train" / name).mkdir(parents=True, exist_ok=True)
        for number in range(pictures):
            path = folder / "train" / name / f"{number:04d}.png"
            if not path.is_file():
                Image.fromarray(drawn(label, number)).save(path)
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
