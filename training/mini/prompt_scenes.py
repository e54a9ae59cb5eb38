"""Scenes for the miniature generator: one or two shapes, captions that say everything that can be checked.

A small closed world, so that a transformer of five million parameters learns to follow its captions: five colours, four
shapes, five places, five backgrounds. Thin dark outlines and fine surfaces are what a picture of half the size loses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from . import textures
from .scenes import COLOURS, coverage, outline
from .textures import Field

SHAPES = ("circle", "square", "triangle", "star")
SHAPE_COLOURS = ("red", "yellow", "green", "blue", "purple")
BACKGROUNDS = ("grey", "white", "black", "wooden", "striped")
PLACES: dict[str, tuple[float, float]] = {
    "on the left": (0.27, 0.5),
    "on the right": (0.73, 0.5),
    "at the top": (0.5, 0.27),
    "at the bottom": (0.5, 0.73),
    "in the centre": (0.5, 0.5),
}
"""Centre (x, y) of each place, as fractions of the side; y counts downwards."""
PAIRS = (("on the left", "on the right"), ("at the top", "at the bottom"))

_TONES = {"grey": 0.55, "white": 0.93, "black": 0.07}
_OUTLINE_TONE = np.float32(0.02)


@dataclass(frozen=True)
class PlacedShape:
    """One shape; lengths are fractions of the picture's side."""

    shape: str
    colour: str
    place: str
    x: float
    y: float
    radius: float
    turn: float


@dataclass(frozen=True)
class PromptScene:
    """What a picture shows; its caption claims the background and each shape's colour, form and place."""

    seed: int
    background: str
    shapes: tuple[PlacedShape, ...]


def compose(seed: int) -> PromptScene:
    """Scene `seed`, a pure function of it."""
    random = np.random.default_rng([seed, 2])
    background = BACKGROUNDS[random.integers(len(BACKGROUNDS))]
    if random.random() < 0.4:
        places: tuple[str, ...] = (tuple(PLACES)[random.integers(len(PLACES))],)
    else:
        places = PAIRS[random.integers(len(PAIRS))]
    colours = random.permutation(len(SHAPE_COLOURS))
    shapes = []
    for place, colour in zip(places, colours, strict=False):
        x, y = PLACES[place]
        shapes.append(
            PlacedShape(
                shape=SHAPES[random.integers(len(SHAPES))],
                colour=SHAPE_COLOURS[colour],
                place=place,
                x=x + random.uniform(-0.02, 0.02),
                y=y + random.uniform(-0.02, 0.02),
                radius=random.uniform(0.18, 0.215),
                turn=random.normal(0, 0.08),
            )
        )
    return PromptScene(seed, background, tuple(shapes))


def caption(scene: PromptScene) -> str:
    """Such as `a red circle on the left and a blue square on the right, on a grey background`."""
    named = [f"a {found.colour} {found.shape} {found.place}" for found in scene.shapes]
    return f"{' and '.join(named)}, on a {scene.background} background"


def render(scene: PromptScene, size: int) -> NDArray[np.uint8]:
    """The picture [size, size, 3]; the same composition at every size, only the grain is drawn anew."""
    random = np.random.default_rng([scene.seed, 3])
    picture = _background(random, scene.background, size)
    for found in scene.shapes:
        picture = _paint(random, picture, found)
    return textures.pixels_of(picture)


def silhouette(found: PlacedShape, size: int, scale: float = 1.0) -> Field:
    """Coverage [size, size] in [0, 1] of a shape whose radius is multiplied by `scale`."""
    cos, sin = np.cos(found.turn), np.sin(found.turn)
    turned = outline(found.shape) @ np.array([[cos, sin], [-sin, cos]])
    corners = turned * found.radius * scale * size + np.array([found.x, found.y]) * size

    def draw(pencil: ImageDraw.ImageDraw, zoom: int) -> None:
        pencil.polygon([(float(x), float(y)) for x, y in corners * zoom], fill=255)

    return coverage(size, draw)


def _background(random: np.random.Generator, kind: str, size: int) -> Field:
    if kind == "wooden":
        return textures.wood(random, size)
    if kind == "striped":
        return _stripes(random, size)
    _, y = textures.grid(size)
    tone = _TONES[kind] + random.uniform(-0.03, 0.03)
    shade = tone * (1.0 + random.uniform(-0.12, 0.12) * (y - 0.5))
    grained: Field = shade + 0.008 * textures.noise(random, size, 0.5)
    return np.repeat(grained[..., None], 3, axis=2)


def _stripes(random: np.random.Generator, size: int) -> Field:
    """Sixteen upright pairs of stripes in two greys, with sharp edges."""
    x, _ = textures.grid(size)
    waves = np.sin(2 * np.pi * (16 * x + random.random()))
    cover = np.clip(0.5 + waves * size / 60, 0, 1)
    return textures.mix((0.40, 0.40, 0.42), (0.78, 0.78, 0.76), cover)


def _paint(random: np.random.Generator, picture: Field, found: PlacedShape) -> Field:
    """Lay a shape on the picture: a thin dark outline around a plain, slightly grained surface."""
    size = picture.shape[0]
    colour = np.asarray(COLOURS[found.colour], dtype=np.float32) / 255
    colour = np.clip(colour * random.normal(1.0, 0.04, 3), 0, 1)
    grain = 1.0 + 0.04 * textures.noise(random, size, 0.6)
    rim = 0.008 / found.radius
    outer = silhouette(found, size)[..., None]
    inner = silhouette(found, size, 1.0 - rim)[..., None]
    outlined = picture * (1 - outer) + _OUTLINE_TONE * outer
    painted: Field = outlined * (1 - inner) + colour * grain[..., None] * inner
    return painted
