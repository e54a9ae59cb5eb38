"""Fields and surfaces with the statistics of photographs, drawn from a seeded generator.

Every function takes a ``numpy.random.Generator`` and a side length and returns float arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Field = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]

#: Colours of things that cameras see, as RGB in [0, 1]; a picture draws from one family.
PALETTES: dict[str, tuple[Colour, ...]] = {
    "meadow": ((0.24, 0.35, 0.13), (0.42, 0.50, 0.20), (0.66, 0.68, 0.36), (0.16, 0.20, 0.10), (0.78, 0.80, 0.70)),
    "earth": ((0.36, 0.25, 0.17), (0.55, 0.40, 0.27), (0.73, 0.60, 0.44), (0.20, 0.14, 0.10), (0.86, 0.80, 0.70)),
    "stone": ((0.45, 0.44, 0.42), (0.62, 0.61, 0.59), (0.80, 0.79, 0.77), (0.26, 0.26, 0.27), (0.54, 0.50, 0.45)),
    "sea": ((0.12, 0.27, 0.38), (0.24, 0.46, 0.58), (0.55, 0.72, 0.78), (0.06, 0.12, 0.19), (0.85, 0.89, 0.90)),
    "sunset": ((0.82, 0.45, 0.22), (0.92, 0.68, 0.38), (0.52, 0.25, 0.28), (0.20, 0.13, 0.22), (0.97, 0.88, 0.70)),
    "skin": ((0.80, 0.60, 0.49), (0.90, 0.75, 0.66), (0.55, 0.37, 0.28), (0.33, 0.20, 0.15), (0.95, 0.87, 0.82)),
    "town": ((0.56, 0.28, 0.22), (0.70, 0.66, 0.60), (0.32, 0.35, 0.40), (0.85, 0.83, 0.78), (0.16, 0.17, 0.20)),
    "night": ((0.05, 0.06, 0.11), (0.11, 0.13, 0.22), (0.22, 0.21, 0.30), (0.55, 0.45, 0.30), (0.02, 0.02, 0.04)),
    "garden": ((0.70, 0.16, 0.22), (0.88, 0.55, 0.62), (0.92, 0.80, 0.28), (0.22, 0.38, 0.16), (0.55, 0.42, 0.70)),
    "grey": ((0.20, 0.20, 0.20), (0.40, 0.40, 0.40), (0.60, 0.60, 0.60), (0.80, 0.80, 0.80), (0.08, 0.08, 0.08)),
}  # fmt: skip


@lru_cache(maxsize=8)
def _frequencies(side: int) -> tuple[Field, Field]:
    """Vertical and horizontal frequencies of a real two-dimensional transform, in cycles a picture."""
    vertical = np.fft.fftfreq(side)[:, None] * side
    horizontal = np.fft.rfftfreq(side)[None, :] * side
    return vertical.astype(np.float32), horizontal.astype(np.float32)


def grid(side: int) -> tuple[Field, Field]:
    """``x`` and ``y`` of the pixel centres, both ``[side, side]`` in [0, 1]."""
    centres = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = np.meshgrid(centres, centres)
    return x, y


def noise(
    random: np.random.Generator, side: int, alpha: float, stretch: float = 1.0, turn: float = 0.0
) -> Field:
    """Gaussian noise whose amplitude falls as ``1 / frequency ** alpha``; mean 0, deviation 1.

    Photographs lie near ``alpha = 1``. ``stretch > 1`` draws the grain out along the direction
    ``turn`` (radians from the horizontal).
    """
    vertical, horizontal = _frequencies(side)
    along = np.cos(turn) * horizontal + np.sin(turn) * vertical
    across = -np.sin(turn) * horizontal + np.cos(turn) * vertical
    radius = np.hypot(along * stretch, across)
    radius[0, 0] = 1.0
    spectrum = np.fft.rfft2(random.standard_normal((side, side), dtype=np.float32))
    spectrum *= radius**-alpha
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, s=(side, side)).astype(np.float32)
    return field / max(float(field.std()), 1e-6)


def mix(first: Sequence[float], second: Sequence[float], amount: Field) -> Field:
    """A picture ``[side, side, 3]`` that goes from ``first`` to ``second`` as ``amount`` goes 0..1."""
    start = np.asarray(first, dtype=np.float32)
    step = np.asarray(second, dtype=np.float32) - start
    return start + np.clip(amount, 0, 1)[..., None] * step


def palette(random: np.random.Generator) -> list[Colour]:
    """The colours of one picture: one family, every colour moved a little, in random order."""
    family = PALETTES[sorted(PALETTES)[random.integers(len(PALETTES))]]
    exposure = random.uniform(0.8, 1.35)
    cast = random.normal(1.0, 0.04, 3)
    moved = [
        np.clip(np.asarray(colour) * exposure * cast + random.normal(0, 0.03, 3), 0.01, 0.99)
        for colour in family
    ]
    order = random.permutation(len(moved))
    return [(float(moved[i][0]), float(moved[i][1]), float(moved[i][2])) for i in order]


def clouds(random: np.random.Generator, side: int, colours: list[Colour]) -> Field:
    """Coloured 1/f noise, its three channels correlated as those of a photograph are."""
    alpha = random.uniform(0.9, 1.6)
    light = noise(random, side, alpha)
    tint = noise(random, side, alpha + 0.3)
    picture = mix(colours[0], colours[1], 0.5 + 0.3 * light)
    return picture + 0.05 * tint[..., None] * np.array([1.0, 0.1, -1.0], dtype=np.float32)


def wood(random: np.random.Generator, side: int) -> Field:
    """Growth rings cut lengthwise, with fine grain."""
    dark, bright = (
        [(0.30, 0.17, 0.09), (0.55, 0.35, 0.18), (0.45, 0.30, 0.18)][random.integers(3)],
        [(0.62, 0.42, 0.24), (0.82, 0.62, 0.40), (0.72, 0.55, 0.36)][random.integers(3)],
    )
    x, y = grid(side)
    turn = random.choice([0.0, np.pi / 2]) + random.normal(0, 0.06)
    across = x * np.sin(turn) + y * np.cos(turn)
    warp = noise(random, side, 1.8, stretch=5.0, turn=-turn)
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (random.uniform(4, 12) * across + 0.35 * warp))
    grain = noise(random, side, 0.7, stretch=14.0, turn=-turn)
    return mix(dark, bright, 0.2 + 0.6 * rings**0.7 + 0.12 * grain)


def marble(random: np.random.Generator, side: int) -> Field:
    """Thin veins in a pale or dark stone."""
    stone, vein = [
        ((0.90, 0.89, 0.86), (0.45, 0.44, 0.45)),
        ((0.22, 0.25, 0.24), (0.80, 0.80, 0.76)),
        ((0.78, 0.66, 0.58), (0.45, 0.28, 0.24)),
    ][random.integers(3)]
    turbulence = np.abs(noise(random, side, 1.5)) + 0.5 * np.abs(noise(random, side, 1.2))
    veins = np.exp(-turbulence * random.uniform(2.5, 5.0))
    return mix(stone, vein, veins) + 0.03 * noise(random, side, 1.0)[..., None]


def stripes(random: np.random.Generator, side: int, colours: list[Colour]) -> Field:
    """Woven stripes with soft edges."""
    x, y = grid(side)
    turn = random.uniform(0, np.pi)
    count = float(np.exp(random.uniform(np.log(3), np.log(24))))
    wave = np.sin(2 * np.pi * count * (x * np.cos(turn) + y * np.sin(turn)))
    sharp = random.uniform(1.0, 6.0)
    return mix(colours[0], colours[1], 0.5 + 0.5 * np.tanh(sharp * wave))


def checks(random: np.random.Generator, side: int, colours: list[Colour]) -> Field:
    """A turned checkerboard with soft edges."""
    x, y = grid(side)
    turn = random.uniform(0, np.pi / 2)
    count = float(np.exp(random.uniform(np.log(3), np.log(14))))
    first = np.sin(2 * np.pi * count * (x * np.cos(turn) + y * np.sin(turn)))
    second = np.sin(2 * np.pi * count * (y * np.cos(turn) - x * np.sin(turn)))
    board = np.tanh(random.uniform(4, 10) * first * second)
    return mix(colours[0], colours[1], 0.5 + 0.5 * board)


def bricks(random: np.random.Generator, side: int) -> Field:
    """Courses of bricks, every one of another tone, with rough faces and mortar."""
    rows = int(random.integers(5, 13))
    height = side / rows
    width = height * random.uniform(1.8, 2.6)
    base = np.asarray(
        [(0.55, 0.27, 0.20), (0.66, 0.48, 0.36), (0.50, 0.48, 0.46)][random.integers(3)]
    )
    mortar = tuple(int(255 * v) for v in base * 0.35 + 0.42)
    picture = Image.new("RGB", (2 * side, 2 * side), mortar)
    draw = ImageDraw.Draw(picture)
    gap = 2 * max(0.6, height * 0.05)
    for row in range(rows):
        left = -random.uniform(0, 1) * 2 * width if row == 0 else -(row % 2) * width
        while left < 2 * side:
            tone = np.clip(base * random.uniform(0.7, 1.25) + random.normal(0, 0.02, 3), 0, 1)
            box = (
                left + gap,
                2 * row * height + gap,
                left + 2 * width - gap,
                2 * (row + 1) * height - gap,
            )
            draw.rectangle(box, fill=tuple(int(255 * v) for v in tone))
            left += 2 * width
    rough = 1 + 0.10 * noise(random, side, 0.8)
    return shrink(picture, side) * rough[..., None]


def mountains(random: np.random.Generator, side: int) -> Field:
    """A sky, then ridges that darken towards the viewer, then rough ground."""
    _, y = grid(side)
    top, horizon = [
        ((0.30, 0.50, 0.80), (0.85, 0.90, 0.95)),
        ((0.25, 0.22, 0.40), (0.95, 0.62, 0.35)),
        ((0.60, 0.64, 0.68), (0.88, 0.88, 0.87)),
    ][random.integers(3)]
    picture: Field = mix(top, horizon, y * 1.6)
    cover = np.clip(noise(random, side, 1.5, stretch=0.5) * 0.35 + random.uniform(-0.3, 0.3), 0, 1)
    picture = picture + (np.float32(0.96) - picture) * (cover * (1 - y) ** 0.5)[..., None]
    land = np.asarray(
        [(0.16, 0.24, 0.12), (0.28, 0.22, 0.16), (0.14, 0.18, 0.24)][random.integers(3)]
    )
    layers = int(random.integers(2, 5))
    for layer in range(layers):
        near = (layer + 1) / layers
        ridge = noise(random, side, 1.4 - 0.3 * near)[0]
        level = 0.35 + 0.45 * near + random.uniform(-0.05, 0.05) + 0.07 * ridge
        edge = np.clip((y - level[None, :]) * side + 0.5, 0, 1)[..., None]
        surface = (land * near + np.asarray(horizon) * (1 - near) * 0.9).astype(np.float32)
        rough = 1 + (0.06 + 0.22 * near) * noise(random, side, 0.9)
        picture = picture * (1 - edge) + edge * surface * rough[..., None]
    return picture


def leaves(random: np.random.Generator, side: int, colours: list[Colour]) -> Field:
    """Dead leaves: opaque shapes of power-law size that cover one another.

    The occlusions and the scale invariance give the heavy-tailed edges of photographs (Lee,
    Mumford and Huang 2001). Every leaf is flat, shaded or rough.
    """
    zoom = 2
    canvas = side * zoom
    paint = Image.new("RGB", (canvas, canvas), tuple(int(255 * v) for v in colours[0]))
    # One channel per kind of roughness: how strongly it shows on the leaf on top.
    rough = Image.new("RGB", (canvas, canvas))
    brush, rougher = ImageDraw.Draw(paint), ImageDraw.Draw(rough)
    smallest, largest = canvas * random.uniform(0.004, 0.012), canvas * random.uniform(0.15, 0.45)
    count = int(random.integers(300, 1100))
    # Inverse transform of the density r ** -3 between the two ends.
    radii = (smallest**-2 + random.random(count) * (largest**-2 - smallest**-2)) ** -0.5
    radii = np.concatenate([np.geomspace(largest, largest / 5, 18), radii])
    kinds = random.choice(4, size=len(radii), p=random.dirichlet((1.0, 1.0, 1.0, 1.0)))
    for radius, kind in zip(radii, kinds, strict=True):
        centre = random.uniform(-0.05, 1.05, 2) * canvas
        outline = _outline(random, int(kind), float(radius)) + centre
        tone = np.asarray(colours[random.integers(len(colours))]) * random.uniform(0.55, 1.35)
        tone = np.clip(tone + random.normal(0, 0.02, 3), 0, 1)
        points = [(float(px), float(py)) for px, py in outline]
        brush.polygon(points, fill=tuple(int(255 * v) for v in tone))
        strength = [0, 0, 0]
        if random.random() < 0.6:
            strength[random.integers(3)] = int(random.integers(60, 255))
        rougher.polygon(points, fill=tuple(strength))
    surfaces = np.stack(
        [
            noise(random, side, 0.6) * 0.16,
            noise(random, side, 1.3) * 0.28,
            noise(random, side, 0.9, stretch=8.0, turn=random.uniform(0, np.pi)) * 0.24,
        ],
        axis=-1,
    )
    texture: Field = (shrink(rough, side) * surfaces).sum(-1, keepdims=True)
    return shrink(paint, side) * (1 + texture)


def _outline(random: np.random.Generator, kind: int, radius: float) -> NDArray[np.float64]:
    """Corner points ``[n, 2]`` of a leaf around the origin: ellipse, box, blade or blob."""
    if kind == 0:
        angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        points = np.stack([np.cos(angles), np.sin(angles) * random.uniform(0.4, 1.0)], 1)
    elif kind == 1:
        half = random.uniform(0.25, 1.0)
        points = np.array([(-1, -half), (1, -half), (1, half), (-1, half)])
    elif kind == 2:
        angles = np.linspace(0, np.pi, 12)
        arc = np.sin(angles) * random.uniform(0.08, 0.4)
        spine = np.cos(angles)
        points = np.concatenate([np.stack([spine, arc], 1), np.stack([spine, -arc], 1)[::-1]])
    else:
        angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        bumps = 1 + sum(
            random.normal(0, 0.35 / k) * np.cos(k * angles + random.uniform(0, 6.28))
            for k in range(2, 6)
        )
        points = np.stack([np.cos(angles), np.sin(angles)], 1) * np.clip(bumps, 0.2, 2)[:, None]
    turn = random.uniform(0, 2 * np.pi)
    cos, sin = np.cos(turn), np.sin(turn)
    turned: NDArray[np.float64] = radius * points @ np.array([[cos, sin], [-sin, cos]])
    return turned


def shrink(picture: Image.Image, side: int) -> Field:
    """A supersampled picture averaged down to ``side``, as floats in [0, 1]."""
    return field_of(picture.resize((side, side), Image.Resampling.BOX))


def field_of(picture: Image.Image) -> Field:
    """A Pillow picture of bytes as floats in [0, 1]."""
    values: Field = np.asarray(picture, dtype=np.float32) / 255
    return values


def pixels_of(field: Field) -> NDArray[np.uint8]:
    """Floats in [0, 1] (clipped) as bytes of the same shape."""
    return np.round(np.clip(field, 0, 1) * 255).astype(np.uint8)
