"""Make the workflows' thumbnails: `python -m scripts.workflow_thumbnails [--drawn FOLDER]`.

For Stable Diffusion 3.5 there are no weights to make a picture with, so those are drawings of what the workflows do to
the grid of tokens, and say what they need. The miniature's show what those workflows have saved in FOLDER, ComfyUI's
folder of outputs.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .workflows.__main__ import workflows
from .workflows.names import (
    APP,
    BATCH,
    COMPARE,
    DETAIL_PASS,
    DRAW,
    ENLARGE,
    IMAGE_TO_IMAGE,
    INPAINT,
    LORA,
    PHOTOGRAPH,
)

WORKFLOWS = Path(__file__).parent.parent / "workflows"
SIDE, OVER = 400, 4
"""Pixels of a thumbnail, and how many times larger it is drawn. The built-in font has no multiplication sign."""

BACKGROUND, TEXT, FAINT = "#191b26", "#f2f3f7", "#a9aec2"
MINIATURES = {
    DRAW: ("start here: draw", "runs now, 8 x 8 tokens"),
    PHOTOGRAPH: ("a photograph", "runs now: draft, and with detail"),
    IMAGE_TO_IMAGE: ("image to image", "runs now"),
    INPAINT: ("inpaint", "runs now: the right half anew"),
    DETAIL_PASS: ("detail pass", "runs now: a draft, then its detail"),
    ENLARGE: ("enlarge", "runs now: plain, and detail drawn"),
    COMPARE: ("compare", "runs now: tokens and time"),
    BATCH: ("a batch", "runs now: four at once"),
    APP: ("as an app", "runs now"),
    LORA: ("a LoRA", "runs now: on the base alone"),
}
"""Workflows whose thumbnails are pictures, and the two lines below them."""
NEEDS = "needs a trained adapter"

Array = NDArray[np.float64]
CORNERS: Array = np.array(
    [[[94, 170, 218], [130, 96, 215]], [[48, 190, 170], [44, 92, 190]]], np.float64
)
"""Colours of the four corners of a smooth picture: rows, columns, RGB."""

Colours = Callable[[Array, Array], Array]
"""Centres of tokens, x and y in [0, 1] -> RGB in [0, 255]."""


def main() -> None:
    """Write the drawings, and the miniature's pictures where they are given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--drawn", type=Path, help="a folder with what the miniature's workflows have saved"
    )
    drawn = parser.parse_args().drawn
    prefixes = {found.name: found.prefix for found in workflows()}
    for name, (title, subtitle) in MINIATURES.items() if drawn is not None else ():
        image = framed(title, subtitle)
        put_pictures(
            image, sorted(drawn.glob(f"{prefixes[name]}_0*.png"))[-PICTURES.get(name, 1) :]
        )
        image.save(WORKFLOWS / f"{name}.jpg", quality=90)
    for name, tokens, colours, title in (
        ("draw at 1024", 32, gradient, "SD3.5: 1024 x 1024"),
        ("draw at 2048", 64, scene, "SD3.5: 2048 x 2048"),
        ("image to image", 32, partly_noise, "SD3.5: image to image"),
        ("inpaint", 32, hole, "SD3.5: inpaint"),
        ("detail pass", 32, coarse_then_fine, "SD3.5: detail pass"),
        ("enlarge a picture", 32, coarse_then_fine, "SD3.5: enlarge"),
    ):
        drawing = framed(title, NEEDS, tokens, colours)
        drawing.save(WORKFLOWS / f"SD3.5 - {name}.jpg", quality=90)


PICTURES = {BATCH: 4}
"""How many pictures a workflow saves, where it is not one."""


def put_pictures(image: Image.Image, paths: list[Path]) -> None:
    """One picture, or four in a square, in the upper part of a thumbnail."""
    if not paths:
        raise FileNotFoundError("A workflow's pictures are not in that folder: run it first.")
    left, top, side = 28, 24, 344
    tall = 288
    if len(paths) > 1:
        for number, path in enumerate(paths):
            corner = (56 + 146 * (number % 2), top + 146 * (number // 2))
            image.paste(Image.open(path).resize((142, 142), Image.Resampling.LANCZOS), corner)
        return
    for path in paths:
        picture = Image.open(path)
        scale = min(side / picture.width, tall / picture.height)
        width, height = round(picture.width * scale), round(picture.height * scale)
        corner = (left + (side - width) // 2, top + (tall - height) // 2)
        image.paste(picture.resize((width, height), Image.Resampling.LANCZOS), corner)


def gradient(x: Array, y: Array) -> Array:
    """A smooth picture."""
    x, y = x[..., None], y[..., None]
    above = CORNERS[0, 0] * (1 - x) + CORNERS[0, 1] * x
    below = CORNERS[1, 0] * (1 - x) + CORNERS[1, 1] * x
    smooth: Array = above * (1 - y) + below * y
    return smooth


def scene(x: Array, y: Array) -> Array:
    """Hills before a low sun."""
    colours = gradient(x, y * 0.6)
    sun = (x - 0.68) ** 2 + (y - 0.36) ** 2 < 0.15**2
    far = y > 0.62 - 0.10 * np.sin(5.0 * x + 0.4)
    near = y > 0.80 - 0.09 * np.sin(4.0 * x + 2.6)
    for part, colour in (
        (sun, (250, 214, 130)),
        (far, (38, 74, 128)),
        (near, (26, 44, 84)),
    ):
        colours[part] = colour
    return colours


def noise(x: Array) -> Array:
    """Grey-blue noise, the same every time."""
    drawn = np.random.default_rng(0).normal(0.0, 1.0, (*x.shape, 3))
    return np.asarray(np.clip(120 + 62 * drawn, 0, 255), np.float64)


def partly_noise(x: Array, y: Array) -> Array:
    """The scene, more and more of it noise towards the right."""
    share = np.clip((x - 0.3) / 0.5, 0, 0.83)[..., None]
    return (1 - share) * scene(x, y) + share * noise(x)


def hole(x: Array, y: Array) -> Array:
    """The scene with noise where it is to be drawn anew."""
    masked = ((x - 0.36) / 0.24) ** 2 + ((y - 0.56) / 0.26) ** 2 < 1
    return np.where(masked[..., None], noise(x), scene(x, y))


def coarse_then_fine(x: Array, y: Array) -> Array:
    """The scene, all left of the sun's middle in squares of four tokens a side."""
    left = x < 0.68
    coarse_x, coarse_y = ((np.floor(part * 8) + 0.5) / 8 for part in (x, y))
    return scene(np.where(left, coarse_x, x), np.where(left, coarse_y, y))


def framed(title: str, subtitle: str, tokens: int = 0, colours: Colours = gradient) -> Image.Image:
    """A grid of tokens, or an empty place for a picture, with two lines of text below."""
    image = Image.new("RGB", (SIDE * OVER, SIDE * OVER), BACKGROUND)
    draw = ImageDraw.Draw(image)
    if tokens:
        draw_tokens(draw, tokens, colours)
    for text, y, size, colour in ((title, 338, 28, TEXT), (subtitle, 371, 20, FAINT)):
        font = ImageFont.load_default(size * OVER)
        draw.text((SIDE * OVER / 2, y * OVER), text, colour, font, anchor="mm")
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def draw_tokens(draw: ImageDraw.ImageDraw, tokens: int, colours: Colours) -> None:
    """Rounded squares side by side in the upper part."""
    left, top, width = 56 * OVER, 24 * OVER, 288 * OVER
    step = width / tokens
    centres = (np.arange(tokens) + 0.5) / tokens
    y, x = np.meshgrid(centres, centres, indexing="ij")
    for row, line in enumerate(colours(x, y).round().astype(int)):
        for column, colour in enumerate(line):
            corner = (left + column * step, top + row * step)
            box = (*corner, corner[0] + step * 0.86, corner[1] + step * 0.86)
            draw.rounded_rectangle(box, step * 0.18, tuple(int(value) for value in colour))


if __name__ == "__main__":
    main()
