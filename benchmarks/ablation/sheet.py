"""The same captions under every arm, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from davae_core.files import write_atomically

_GAP, _TEXT, _SIZE = 6, 22, 15


def write_rows(path: Path, rows: Mapping[str, Path], shown: int) -> None:
    """Write a sheet with a heading and the first `shown` square pictures of a strip in each row."""
    strips = {title: Image.open(file).convert("RGB") for title, file in rows.items()}
    side = next(iter(strips.values())).height
    height = side + _TEXT + _GAP
    sheet = Image.new("RGB", (shown * side, len(strips) * height), "white")
    pencil = ImageDraw.Draw(sheet)
    for row, (title, strip) in enumerate(strips.items()):
        pencil.text((4, row * height + 2), title, fill="black", font=ImageFont.load_default(_SIZE))
        sheet.paste(strip.crop((0, 0, shown * side, side)), (0, row * height + _TEXT))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda beside: sheet.save(beside, format="PNG", optimize=True))
