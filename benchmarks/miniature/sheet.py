"""The comparison picture: one window of every photograph, as each way to store it gives it back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from davae_core.files import write_atomically
from davae_core.images import image_to_pil

#: Centre of the window of each photograph as fractions of width and height: eyes, a rim, roofs, lattice.
CENTRES: dict[str, tuple[float, float]] = {
    "astronaut": (0.45, 0.24),
    "coffee": (0.62, 0.35),
    "chelsea": (0.42, 0.40),
    "rocket": (0.51, 0.40),
    "camera": (0.47, 0.25),
    "china": (0.45, 0.45),
}
_WINDOW, _ZOOM, _GAP, _TEXT = 112, 2, 6, 20
_PAPER, _INK = (255, 255, 255), (40, 40, 40)


def write_sheet(
    path: Path,
    columns: Mapping[str, Mapping[str, Tensor]],
    captions: Mapping[str, Mapping[str, str]],
) -> None:
    """Write the picture as PNG.

    Args:
        path: the file; its folder must exist.
        columns: heading -> picture name -> ``[1, 3, H, W]`` in [-1, 1].
        captions: heading -> picture name -> the line under it.
    """
    sheet = draw_sheet(columns, captions)
    write_atomically(path, lambda beside: sheet.save(beside, format="PNG", optimize=True))


def draw_sheet(
    columns: Mapping[str, Mapping[str, Tensor]], captions: Mapping[str, Mapping[str, str]]
) -> Image.Image:
    """The sheet as a Pillow picture; arguments as for ``write_sheet``."""
    side = _WINDOW * _ZOOM
    names = list(next(iter(columns.values())))
    # Two photographs stand side by side, so that the sheet stays about as high as it is wide.
    width = 2 * len(columns) * (side + _GAP) + _GAP
    height = _TEXT + -(-len(names) // 2) * (side + _TEXT + _GAP)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for column, (heading, pictures) in enumerate(columns.items()):
        for index, name in enumerate(names):
            left = _GAP + (column + index % 2 * len(columns)) * (side + _GAP)
            top = _TEXT + index // 2 * (side + _TEXT + _GAP)
            if index < 2:
                draw.text((left, 2), heading, _INK, font)
            window = _window(pictures[name], CENTRES.get(name, (0.5, 0.5)))
            sheet.paste(window, (left, top))
            draw.text((left, top + side + 2), captions[heading][name], _INK, font)
    return sheet


def _window(picture: Tensor, centre: tuple[float, float]) -> Image.Image:
    whole = image_to_pil(picture)
    side = min(_WINDOW, *whole.size)
    left = min(max(round(centre[0] * whole.width - side / 2), 0), whole.width - side)
    top = min(max(round(centre[1] * whole.height - side / 2), 0), whole.height - side)
    part = whole.crop((left, top, left + side, top + side))
    return part.resize((_WINDOW * _ZOOM, _WINDOW * _ZOOM), Image.Resampling.NEAREST)
