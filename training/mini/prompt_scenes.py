"""Scenes for the miniature generator: one or two things, captions that say everything that can be checked.

A small closed world, so that a transformer of five million parameters learns to follow its captions. Thin outlines,
hatching, letters, stripes and fine surfaces are what a picture of half the size loses, and what the detail is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from . import textures
from .scenes import COLOURS, outline
from .textures import Field

Surface = Literal["plain", "hatched", "outlined"]
FORMS = ("circle", "square", "triangle", "star")
LETTERS = ("letter A", "letter K", "letter R", "letter S")
SHAPES = (*FORMS, *LETTERS)
SURFACES: tuple[Surface, ...] = ("plain", "hatched", "outlined")
SHAPE_COLOURS = ("red", "yellow", "green", "blue", "purple")
BACKGROUNDS = ("grey", "white", "black", "wooden", "striped", "hatched")
PLACES: dict[str, tuple[float, float]] = {
    "on the left": (0.27, 0.5),
    "on the right": (0.73, 0.5),
    "at the top": (0.5, 0.27),
    "at the bottom": (0.5, 0.73),
    "in the centre": (0.5, 0.5),
}
"""Centre (x, y) of each place, as fractions of width and height; y counts downwards."""
PAIRS = (("on the left", "on the right"), ("at the top", "at the bottom"))

Format = Literal["square", "wide", "tall"]
FORMATS: dict[Format, tuple[int, int]] = {"square": (8, 8), "wide": (9, 6), "tall": (6, 9)}
"""Width and height in eighths of a scene's nominal size: 1:1, 3:2 and 2:3."""

_TONES = {"grey": 0.55, "white": 0.93, "black": 0.07}
_INK = np.float32(0.02)
_PAPER = np.float32(0.96)
_ZOOM = 4


@dataclass(frozen=True)
class PlacedShape:
    """One thing; x and y are fractions of width and height, `radius` of the shorter side."""

    shape: str
    colour: str
    place: str
    x: float
    y: float
    radius: float
    turn: float
    surface: Surface = "plain"

    @property
    def name(self) -> str:
        """In the caption's words, such as `a hatched red circle`."""
        words = (self.colour, self.shape)
        return " ".join(words if self.surface == "plain" else (self.surface, *words))


@dataclass(frozen=True)
class PromptScene:
    """What a picture shows; its caption claims the background and each thing's surface, colour, form and place."""

    seed: int
    background: str
    shapes: tuple[PlacedShape, ...]
    format: Format = "square"


def compose(seed: int) -> PromptScene:
    """Scene `seed`, a pure function of it."""
    random = np.random.default_rng([seed, 4])
    background = BACKGROUNDS[random.integers(len(BACKGROUNDS))]
    shown: Format = ("square", "square", "wide", "tall")[random.integers(4)]
    if random.random() < 0.4:
        places: tuple[str, ...] = (tuple(PLACES)[random.integers(len(PLACES))],)
    else:
        places = PAIRS[random.integers(len(PAIRS))]
    colours = random.permutation(len(SHAPE_COLOURS))
    shapes = tuple(
        _placed(random, place, SHAPE_COLOURS[colour])
        for place, colour in zip(places, colours, strict=False)
    )
    return PromptScene(seed, background, shapes, shown)


def _placed(random: np.random.Generator, place: str, colour: str) -> PlacedShape:
    letter = random.random() < 0.25
    shape = (LETTERS if letter else FORMS)[random.integers(4)]
    surface: Surface = "plain"
    if not letter:
        surface = ("plain", "plain", "hatched", "outlined")[random.integers(4)]
    x, y = PLACES[place]
    return PlacedShape(
        shape=shape,
        colour=colour,
        place=place,
        x=x + random.uniform(-0.02, 0.02),
        y=y + random.uniform(-0.02, 0.02),
        radius=random.uniform(0.18, 0.215),
        turn=random.normal(0, 0.08),
        surface=surface,
    )


def caption(scene: PromptScene) -> str:
    """Such as `a hatched red circle on the left and a blue letter K on the right, on a grey background`."""
    named = [f"{_article(found.name)} {found.name} {found.place}" for found in scene.shapes]
    return f"{' and '.join(named)}, on a {scene.background} background"


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def sides(shown: Format, size: int) -> tuple[int, int]:
    """Width and height in pixels of a scene of nominal `size`, a multiple of 8."""
    columns, rows = FORMATS[shown]
    return size * columns // 8, size * rows // 8


def render(scene: PromptScene, size: int) -> NDArray[np.uint8]:
    """The picture [height, width, 3] at a nominal size; the same at every size, only the grain is drawn anew."""
    random = np.random.default_rng([scene.seed, 5])
    width, height = sides(scene.format, size)
    picture = _background(random, scene.background, size, width, height)
    for found in scene.shapes:
        picture = _paint(random, picture, found, size)
    return textures.pixels_of(picture)


def silhouette(found: PlacedShape, width: int, height: int, grown: float = 0.0) -> Field:
    """Coverage [height, width] in [0, 1] of a thing without its surface, its edge moved out by `grown` pixels."""
    radius = found.radius * min(width, height)
    mask = Image.new("L", (width * _ZOOM, height * _ZOOM))
    if found.shape in LETTERS:
        _draw_letter(mask, found, radius + grown)
    else:
        scaled = 1.0 + grown * _EDGE[found.shape] / radius
        cos, sin = np.cos(found.turn), np.sin(found.turn)
        turned = outline(found.shape) @ np.array([[cos, sin], [-sin, cos]])
        corners = (turned * radius * scaled + np.array([found.x * width, found.y * height])) * _ZOOM
        ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in corners], fill=255)
    return textures.field_of(mask.resize((width, height), Image.Resampling.BOX))


_EDGE = {"circle": 1.0, "square": 2**0.5, "triangle": 2.0, "star": 2.6}
"""How much a form must grow for its edges to move out by one: its radius over the distance of its edges."""


def _draw_letter(mask: Image.Image, found: PlacedShape, radius: float) -> None:
    letter = found.shape.removeprefix("letter ")
    size = 2.6 * radius * _ZOOM
    place = (found.x * mask.width, found.y * mask.height)
    pen = ImageDraw.Draw(mask)
    pen.text(place, letter, 255, _font(size), anchor="mm", stroke_width=round(0.05 * size))


@lru_cache(maxsize=64)
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _background(
    random: np.random.Generator, kind: str, size: int, width: int, height: int
) -> Field:
    if kind == "wooden":
        return textures.wood(random, max(width, height))[:height, :width]
    if kind == "striped":
        return _lines(random, size, width, height, period=16, angle=0.0)
    if kind == "hatched":
        return _lines(random, size, width, height, period=8, angle=np.pi / 4)
    _, y = _grid(width, height)
    tone = _TONES[kind] + random.uniform(-0.03, 0.03)
    shade = tone * (1.0 + random.uniform(-0.12, 0.12) * (y / size - 0.5))
    grained: Field = (
        shade + 0.006 * textures.noise(random, max(width, height), 0.5)[:height, :width]
    )
    return np.repeat(grained[..., None], 3, axis=2)


def _lines(
    random: np.random.Generator, size: int, width: int, height: int, period: int, angle: float
) -> Field:
    """Lines in two greys with sharp edges, `period` pixels of a picture of 256 apart."""
    cover = _hatching(random, size, width, height, period, angle)
    return textures.mix((0.40, 0.40, 0.42), (0.78, 0.78, 0.76), cover)


def _hatching(
    random: np.random.Generator, size: int, width: int, height: int, period: int, angle: float
) -> Field:
    """Coverage [height, width] of parallel lines half a period wide, their place random; smooth at the pixel."""
    x, y = _grid(width, height)
    pixels = period * size / 256
    along = (x * np.cos(angle) + y * np.sin(angle)) / pixels + random.random()
    # A soft step of about a pixel, whatever the size: what a pixel's area would average.
    waves = np.sin(2 * np.pi * along)
    cover: Field = np.clip(0.5 + waves * pixels / (2 * np.pi), 0, 1).astype(np.float32)
    return cover


def _grid(width: int, height: int) -> tuple[Field, Field]:
    """x and y [height, width] of the pixel centres, in pixels."""
    x, y = np.meshgrid(
        np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32) + 0.5
    )
    return x, y


def _paint(random: np.random.Generator, picture: Field, found: PlacedShape, size: int) -> Field:
    """Lay a thing on the picture: a plain surface in a thin dark outline, a hatched one, or a coloured line alone."""
    height, width = picture.shape[:2]
    colour = np.asarray(COLOURS[found.colour], dtype=np.float32) / 255
    colour = np.clip(colour * random.normal(1.0, 0.03, 3), 0, 1).astype(np.float32)
    unit = size / 256
    outer = silhouette(found, width, height)[..., None]
    if found.surface == "outlined":
        line = np.clip(outer - silhouette(found, width, height, -4.0 * unit)[..., None], 0, 1)
        return picture * (1 - line) + colour * line
    if found.shape in LETTERS:
        return picture * (1 - outer) + colour * outer
    inner = silhouette(found, width, height, -2.0 * unit)[..., None]
    if found.surface == "hatched":
        cover = _hatching(random, size, width, height, period=8, angle=-np.pi / 4)[..., None]
        surface = _PAPER * (1 - cover) + colour * cover
        rim = colour
    else:
        grain = textures.noise(random, max(width, height), 0.6)[:height, :width]
        surface = colour * (1.0 + 0.02 * grain[..., None])
        rim = np.broadcast_to(_INK, (3,))
    outlined = picture * (1 - outer) + rim * outer
    painted: Field = outlined * (1 - inner) + surface * inner
    return painted
