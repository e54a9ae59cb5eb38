"""Procedural scenes: shapes on surfaces, with captions that can be checked against the scene.

``render(seed, size)`` draws the same composition at every size, so a picture and its half-size
version can be made independently of each other; only the fine grain of the surfaces differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from training.mini import textures
from training.mini.textures import Field

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 38, 38),
    "orange": (240, 135, 30),
    "yellow": (242, 214, 45),
    "green": (48, 150, 62),
    "cyan": (60, 190, 205),
    "blue": (40, 75, 195),
    "purple": (125, 55, 160),
    "pink": (240, 130, 175),
    "brown": (120, 75, 40),
    "black": (25, 25, 28),
    "white": (240, 240, 236),
}
SHAPES = ("circle", "square", "triangle", "star", "hexagon", "cross", "ring", "heart")
#: What a background is called in the scene, and in its caption.
BACKGROUNDS: dict[str, str] = {
    "plain": "a plain background",
    "gradient": "a gradient background",
    "clouds": "a cloudy background",
    "wood": "a wooden background",
    "marble": "a marble background",
    "stripes": "a striped background",
    "checks": "a checked background",
    "bricks": "a brick wall",
    "mountains": "a mountain landscape",
    "leaves": "a pile of leaves",
}
WORDS = ("river", "stone", "light", "paper", "north", "seven", "apple", "train", "music", "garden",
         "Monday", "salt", "open", "house", "sugar", "winter", "bridge", "OK", "2026", "No. 5")  # fmt: skip
_ROWS = ("top", "", "bottom")
_COLUMNS = ("left", "", "right")


@dataclass(frozen=True)
class SceneObject:
    """One shape; lengths are fractions of the picture's side, ``y`` counts downwards."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    turn: float
    cell: tuple[int, int]

    @property
    def position(self) -> str:
        """The cell of a 3x3 grid in words, such as ``top left`` or ``centre``."""
        row, column = self.cell
        return " ".join(word for word in (_ROWS[row], _COLUMNS[column]) if word) or "centre"


@dataclass(frozen=True)
class Scene:
    """What a picture shows; everything that its caption claims can be checked here."""

    seed: int
    background: str
    objects: tuple[SceneObject, ...]
    word: str | None
    lines: int


def render(
    seed: int, size: int, backgrounds: tuple[str, ...] = tuple(BACKGROUNDS)
) -> tuple[NDArray[np.uint8], Scene]:
    """Draw scene ``seed`` at ``size`` pixels.

    Args:
        seed: any non-negative integer; the same seed gives the same picture
            (to the pixel with the same releases of NumPy and Pillow).
        size: side of the square picture, at least 16.
        backgrounds: the kinds to choose from, keys of ``BACKGROUNDS``.

    Returns:
        The picture ``[size, size, 3]`` and its scene.

    Raises:
        ValueError: for a size below 16 or an unknown kind of background.
    """
    if size < 16:
        raise ValueError(f"A scene of {size} pixels is too small: ask for at least 16.")
    unknown = sorted(set(backgrounds) - set(BACKGROUNDS))
    if unknown or not backgrounds:
        raise ValueError(f"Unknown backgrounds {unknown}: choose from {', '.join(BACKGROUNDS)}.")
    scene = compose(seed, backgrounds)
    # Apart from the composition's, so that a size never changes what stands where.
    random = np.random.default_rng([seed, 1])
    picture = _background(random, scene.background, size)
    picture = _light(random, picture, size)
    for _ in range(scene.lines):
        picture = _line(random, picture, size)
    for thing in scene.objects:
        picture = _paint(random, picture, thing, size)
    if scene.word is not None:
        picture = _write(random, picture, scene.word, size)
    picture = _camera(random, picture, size)
    return textures.pixels_of(picture), scene


def compose(seed: int, backgrounds: tuple[str, ...] = tuple(BACKGROUNDS)) -> Scene:
    """The scene of ``seed`` without drawing it."""
    random = np.random.default_rng([seed, 0])
    background = backgrounds[random.integers(len(backgrounds))]
    count = int(random.choice([1, 2, 3], p=[0.3, 0.45, 0.25]))
    cells = [divmod(int(i), 3) for i in random.permutation(9)[:count]]
    names = [sorted(COLOURS)[i] for i in random.permutation(len(COLOURS))[:count]]
    objects = []
    for cell, colour in zip(cells, names, strict=True):
        radius = random.uniform(0.09, 0.15) if count > 1 else random.uniform(0.10, 0.26)
        centre = [(1 + 2 * index) / 6 + random.uniform(-0.02, 0.02) for index in cell]
        y, x = np.clip(centre, radius + 0.01, 0.99 - radius)
        objects.append(
            SceneObject(
                shape=SHAPES[random.integers(len(SHAPES))],
                colour=colour,
                x=float(x),
                y=float(y),
                radius=float(radius),
                turn=float(random.normal(0, 0.15)),
                cell=cell,
            )
        )
    word = WORDS[random.integers(len(WORDS))] if random.random() < 0.2 else None
    lines = int(random.integers(1, 9)) if random.random() < 0.25 else 0
    return Scene(seed, background, tuple(objects), word, lines)


def caption(scene: Scene) -> str:
    """One sentence without a full stop, such as
    ``a red circle above a blue square on a wooden background``."""
    names = [f"{_article(thing.colour)} {thing.colour} {thing.shape}" for thing in scene.objects]
    if len(scene.objects) == 2:
        subject = f"{names[0]} {relation(*scene.objects)} {names[1]}"
    else:
        placed = [
            f"{name} {_where(thing)}" for name, thing in zip(names, scene.objects, strict=True)
        ]
        subject = ", ".join(placed[:-1]) + " and " + placed[-1] if len(placed) > 1 else placed[0]
    ending = f' and the word "{scene.word}"' if scene.word else ""
    return f"{subject} on {BACKGROUNDS[scene.background]}{ending}"


def relation(first: SceneObject, second: SceneObject) -> str:
    """Where ``first`` stands seen from ``second``: above, below, left of or right of."""
    dx, dy = first.x - second.x, first.y - second.y
    if abs(dy) >= abs(dx):
        return "above" if dy < 0 else "below"
    return "left of" if dx < 0 else "right of"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _where(thing: SceneObject) -> str:
    return "in the centre" if thing.position == "centre" else f"at the {thing.position}"


def _background(random: np.random.Generator, kind: str, size: int) -> Field:
    colours = textures.palette(random)
    makers: dict[str, Callable[[], Field]] = {
        "plain": lambda: _plain(random, size, colours),
        "gradient": lambda: _gradient(random, size, colours),
        "clouds": lambda: textures.clouds(random, size, colours),
        "wood": lambda: textures.wood(random, size),
        "marble": lambda: textures.marble(random, size),
        "stripes": lambda: textures.stripes(random, size, colours),
        "checks": lambda: textures.checks(random, size, colours),
        "bricks": lambda: textures.bricks(random, size),
        "mountains": lambda: textures.mountains(random, size),
        "leaves": lambda: textures.leaves(random, size, colours),
    }
    return makers[kind]()


def _plain(random: np.random.Generator, size: int, colours: list[textures.Colour]) -> Field:
    flat = np.broadcast_to(np.asarray(colours[0], dtype=np.float32), (size, size, 3))
    return flat + 0.01 * textures.noise(random, size, 0.5)[..., None]


def _gradient(random: np.random.Generator, size: int, colours: list[textures.Colour]) -> Field:
    x, y = textures.grid(size)
    turn = random.uniform(0, 2 * np.pi)
    along = 0.5 + 0.7 * ((x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn))
    picture = textures.mix(colours[0], colours[1], along)
    glow = np.exp(
        -((x - random.random()) ** 2 + (y - random.random()) ** 2) * random.uniform(3, 12)
    )
    lit: Field = picture + (np.asarray(colours[2], dtype=np.float32) - picture) * glow[..., None]
    return lit


def _light(random: np.random.Generator, picture: Field, size: int) -> Field:
    """Uneven illumination: brighter towards one side, or a soft shadow."""
    x, y = textures.grid(size)
    turn, depth = random.uniform(0, 2 * np.pi), random.uniform(0, 0.45)
    slope: Field = 1 + depth * ((x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn))
    if random.random() < 0.3:
        slope *= 1 - 0.4 / (1 + np.exp(-8 * textures.noise(random, size, 2.2)))
    return picture * slope[..., None]


def coverage(side: int, draw_shape: Callable[[ImageDraw.ImageDraw, int], None]) -> Field:
    """Coverage ``[side, side]`` in [0, 1] of what ``draw_shape`` paints at 4x."""
    zoom = 4
    mask = Image.new("L", (side * zoom, side * zoom))
    draw_shape(ImageDraw.Draw(mask), zoom)
    return textures.shrink(mask, side)


def outline(shape: str) -> NDArray[np.float64]:
    """Corners ``[n, 2]`` of a shape of radius 1 around the origin."""
    fine = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    if shape in ("circle", "ring"):
        return np.stack([np.cos(fine), np.sin(fine)], 1)
    if shape == "heart":
        points = np.stack(
            [
                16 * np.sin(fine) ** 3,
                -(
                    13 * np.cos(fine)
                    - 5 * np.cos(2 * fine)
                    - 2 * np.cos(3 * fine)
                    - np.cos(4 * fine)
                ),
            ],
            1,
        )
        return points / 17
    if shape == "cross":
        arm = 0.33
        # As complex numbers, which 1j turns by a quarter.
        quarter = np.array([-arm - 1j, arm - 1j, arm - arm * 1j])
        turned = np.concatenate([quarter * 1j**k for k in range(4)])
        return 0.95 * np.stack([turned.real, turned.imag], 1)
    corners = {"square": 4, "triangle": 3, "hexagon": 6, "star": 10}[shape]
    start = -np.pi / 2 + (np.pi / 4 if shape == "square" else 0)
    angles = start + np.arange(corners) * 2 * np.pi / corners
    radii = np.where(np.arange(corners) % 2, 0.42, 1.0) if shape == "star" else np.ones(corners)
    corner_points: NDArray[np.float64] = np.stack([np.cos(angles), np.sin(angles)], 1)
    return corner_points * radii[:, None]


def _paint(random: np.random.Generator, picture: Field, thing: SceneObject, size: int) -> Field:
    """Lay one shape on the picture: a soft shadow, then the shaded or rough shape itself."""
    reach = int(np.ceil(thing.radius * size * 1.35)) + 2
    column, row = int(thing.x * size), int(thing.y * size)
    box = (column - reach, row - reach, column + reach, row + reach)
    centre = np.array([thing.x * size - box[0], thing.y * size - box[1]])
    turn = np.array(
        [[np.cos(thing.turn), np.sin(thing.turn)], [-np.sin(thing.turn), np.cos(thing.turn)]]
    )
    corners = outline(thing.shape) @ turn * thing.radius * size

    def draw_shape(draw: ImageDraw.ImageDraw, zoom: int) -> None:
        draw.polygon([tuple(p) for p in (corners + centre) * zoom], fill=255)
        if thing.shape == "ring":
            draw.polygon([tuple(p) for p in (corners * 0.55 + centre) * zoom], fill=0)

    cover = coverage(2 * reach, draw_shape)
    surface = _surface(random, thing, 2 * reach)
    blur = ImageFilter.GaussianBlur(max(0.5, 0.02 * size))
    soft = textures.field_of(Image.fromarray((cover * 255).astype(np.uint8)).filter(blur))
    offset = max(1, int(0.012 * size))
    shadow = np.roll(soft, (offset, offset), (0, 1)) * random.uniform(0, 0.6)

    picture = picture.copy()
    top, left = max(box[1], 0), max(box[0], 0)
    bottom, right = min(box[3], size), min(box[2], size)
    here = (slice(top, bottom), slice(left, right))
    there = (slice(top - box[1], bottom - box[1]), slice(left - box[0], right - box[0]))
    picture[here] *= 1 - shadow[there][..., None]
    alpha = cover[there][..., None]
    picture[here] = picture[here] * (1 - alpha) + surface[there] * alpha
    return picture


def _surface(random: np.random.Generator, thing: SceneObject, side: int) -> Field:
    """A patch ``[side, side, 3]`` in the object's colour: flat, shaded like a ball, or rough."""
    colour = np.asarray(COLOURS[thing.colour], dtype=np.float32) / 255
    colour = np.clip(colour * random.normal(1.0, 0.05, 3), 0, 1).astype(np.float32)
    x, y = textures.grid(side)
    kind = random.integers(4)
    if kind == 0:
        shade: Field = np.ones((side, side), np.float32)
    elif kind == 1:
        distance = np.hypot(x - 0.40, y - 0.38)
        shade = 1.18 - 1.1 * distance**1.3
    elif kind == 2:
        turn = random.uniform(0, 2 * np.pi)
        shade = 1 + 0.5 * ((x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn))
    else:
        grain = textures.noise(random, side, random.uniform(0.5, 1.4))
        shade = 1 + random.uniform(0.04, 0.14) * grain
    picture = colour * shade[..., None]
    if kind == 1:
        gleam = np.exp(-((x - 0.36) ** 2 + (y - 0.34) ** 2) * 160) * random.uniform(0, 0.6)
        picture = picture + (1 - picture) * gleam[..., None]
    return picture.astype(np.float32)


def _line(random: np.random.Generator, picture: Field, size: int) -> Field:
    """One thin straight line or arc across the picture."""
    width = random.uniform(0.5, 2.5) * size / 256
    tone = np.asarray(textures.palette(random)[0], dtype=np.float32)
    ends = random.uniform(-0.1, 1.1, (2, 2)) * size
    arc = random.random() < 0.4
    span = random.uniform(0, 360, 2)

    def draw_shape(draw: ImageDraw.ImageDraw, zoom: int) -> None:
        thick = max(1, round(width * zoom))
        if arc:
            low, high = ends.min(0) * zoom, ends.max(0) * zoom
            draw.arc((*low, *(high + 1)), span[0], span[1], fill=255, width=thick)
        else:
            draw.line([tuple(p) for p in ends * zoom], fill=255, width=thick)

    cover = coverage(size, draw_shape)[..., None] * random.uniform(0.6, 1)
    return picture * (1 - cover) + tone * cover


def _write(random: np.random.Generator, picture: Field, word: str, size: int) -> Field:
    """The word, along the upper or the lower edge."""
    height = random.uniform(0.06, 0.11) * size
    left, top = random.uniform(0.03, 0.4) * size, (0.02 if random.random() < 0.5 else 0.86) * size
    tone = np.float32(0.95 if picture.mean() < 0.5 else 0.06)

    def draw_shape(draw: ImageDraw.ImageDraw, zoom: int) -> None:
        font = ImageFont.load_default(height * zoom)
        draw.text((left * zoom, top * zoom), word, fill=255, font=font)

    cover = coverage(size, draw_shape)[..., None]
    return picture * (1 - cover) + tone * cover


def _camera(random: np.random.Generator, picture: Field, size: int) -> Field:
    """What a lens and a sensor add: vignette, softness, grain."""
    x, y = textures.grid(size)
    picture = picture * (1 - random.uniform(0, 0.5) * ((x - 0.5) ** 2 + (y - 0.5) ** 2))[..., None]
    if random.random() < 0.35:
        flat = Image.fromarray(textures.pixels_of(picture))
        radius = random.uniform(0.3, 1.1) * size / 256
        picture = textures.field_of(flat.filter(ImageFilter.GaussianBlur(radius)))
    grain = random.uniform(0, 0.012)
    return picture + grain * random.standard_normal(picture.shape, dtype=np.float32)
