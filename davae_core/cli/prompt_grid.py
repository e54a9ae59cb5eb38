"""Prompts drawn in several ways as one labelled sheet: the ways below each other, the prompt under them."""

import textwrap
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..images import image_to_pil

COLUMNS = 4
_GAP, _LABEL, _HEADING, _LETTERS, _SIZE = 12, 52, 20, 44, 12


def prompt_grid(prompts: Sequence[str], ways: Mapping[str, Tensor]) -> Image.Image:
    """A column for every prompt, four beside each other; `ways` has pictures [B, 3, H, W] in [-1, 1] by heading."""
    height, width = next(iter(ways.values())).shape[-2:]
    block = len(ways) * (_HEADING + height) + _LABEL + _GAP
    rows, columns = -(-len(prompts) // COLUMNS), min(COLUMNS, len(prompts))
    sheet = Image.new("RGB", (_GAP + columns * (width + _GAP), _GAP + rows * block), "white")
    pencil, font = ImageDraw.Draw(sheet), ImageFont.load_default(_SIZE)
    for number, prompt in enumerate(prompts):
        row, column = divmod(number, COLUMNS)
        left, top = _GAP + column * (width + _GAP), _GAP + row * block
        for heading, images in ways.items():
            # Once a line is enough; the pictures of a way stand beside each other.
            if column == 0:
                pencil.text((left, top + 3), heading, fill=(90, 90, 96), font=font)
            sheet.paste(image_to_pil(images[number]), (left, top + _HEADING))
            top += _HEADING + height
        label = textwrap.fill(prompt, max(8, _LETTERS * width // 256))
        pencil.multiline_text((left, top + 4), label, fill="black", font=font)
    return sheet
