"""Pictures under the prompts they were drawn from, as one labelled sheet."""

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..images import image_to_pil

COLUMNS = 4
_GAP, _LABEL, _LETTERS, _SIZE = 12, 48, 44, 12


def prompt_grid(prompts: Sequence[str], images: Tensor) -> Image.Image:
    """Pictures [B, 3, H, W] in [-1, 1], four in a row, each with its prompt below."""
    height, width = images.shape[-2:]
    rows = -(-len(prompts) // COLUMNS)
    columns = min(COLUMNS, len(prompts))
    size = (_GAP + columns * (width + _GAP), _GAP + rows * (height + _LABEL + _GAP))
    sheet = Image.new("RGB", size, "white")
    pencil = ImageDraw.Draw(sheet)
    for number, (prompt, image) in enumerate(zip(prompts, images, strict=True)):
        row, column = divmod(number, COLUMNS)
        left, top = _GAP + column * (width + _GAP), _GAP + row * (height + _LABEL + _GAP)
        sheet.paste(image_to_pil(image), (left, top))
        label = textwrap.fill(prompt, max(8, _LETTERS * width // 256))
        pencil.multiline_text(
            (left, top + height + 4), label, fill="black", font=ImageFont.load_default(_SIZE)
        )
    return sheet
