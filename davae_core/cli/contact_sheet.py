"""The contact sheet: original | base at half size | DA-VAE | difference, one row per picture, with their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..images import from_bytes, image_to_pil
from .comparison import BASE_FULL, BASE_HALF, DAVAE, Comparison, PictureScores, Score

PANEL = 512
MARGIN = 40
GAP = 16
CAPTION = 64
BACKGROUND = (250, 249, 246)
INK = (28, 28, 30)
FAINT = (118, 118, 124)
AMPLIFY = 4
"""How many times the difference is enlarged: full brightness is a quarter of the range from black to white."""

_HEAT = (
    (0, 0, 4),
    (40, 11, 84),
    (101, 21, 110),
    (159, 42, 99),
    (212, 72, 66),
    (245, 125, 21),
    (250, 193, 39),
    (252, 255, 164),
)


@dataclass(frozen=True)
class Panel:
    """One picture [1, 3, H, W] in [-1, 1] of a row and the line under it."""

    heading: str
    picture: Tensor
    caption: str


def contact_sheet(comparisons: Sequence[Comparison], title: str, subtitle: str) -> Image.Image:
    """Draw the sheet; every picture is scaled to the same width."""
    rows = [_panels(comparison) for comparison in comparisons]
    sides = [row[0].picture.shape[-2:] for row in rows]
    heights = [round(PANEL * height / width) for height, width in sides]
    columns = len(rows[0])
    head = 178
    size = (
        2 * MARGIN + columns * PANEL + (columns - 1) * GAP,
        head + sum(heights) + CAPTION * len(rows) + MARGIN // 2,
    )
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 34), title, INK, _font(40))
    draw.text((MARGIN, 90), subtitle, FAINT, _font(22))
    for column, panel in enumerate(rows[0]):
        draw.text((_left(column), head - 40), panel.heading, INK, _font(24))
    top = head
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            picture = image_to_pil(panel.picture)
            small = picture.resize((PANEL, height), Image.Resampling.LANCZOS)
            sheet.paste(small, (_left(column), top))
            draw.text((_left(column), top + height + 12), panel.caption, FAINT, _font(20))
        top += height + CAPTION
    return sheet


def difference(original: Tensor, picture: Tensor) -> Tensor:
    """Mean absolute difference over the channels, amplified and coloured from black to yellow: [1, 3, H, W]."""
    amount = ((original - picture).abs().mean(dim=1) / 2 * AMPLIFY).clamp(0, 1)
    heat = from_bytes(torch.tensor(_HEAT)).to(amount)
    place = amount * (len(_HEAT) - 1)
    lower = place.floor().long().clamp(max=len(_HEAT) - 2)
    colours = torch.lerp(heat[lower], heat[lower + 1], (place - lower)[..., None])
    return colours.permute(0, 3, 1, 2)


def _panels(comparison: Comparison) -> list[Panel]:
    original, rebuilt, scores = comparison.original, comparison.rebuilt, comparison.scores
    panels = [Panel("original", original, _about(scores))]
    if BASE_HALF in rebuilt:
        panels.append(
            Panel(
                "base VAE at half size, enlarged", rebuilt[BASE_HALF], _line(scores.ways[BASE_HALF])
            )
        )
    panels.append(Panel("DA-VAE", rebuilt[DAVAE], _line(scores.ways[DAVAE])))
    apart = difference(original, rebuilt[DAVAE])
    panels.append(Panel(f"difference, x{AMPLIFY}", apart, "original - DA-VAE"))
    return panels


def _about(scores: PictureScores) -> str:
    text = f"{scores.name}, {scores.width} x {scores.height}"
    if BASE_FULL not in scores.ways:
        return text
    plain = scores.ways[BASE_FULL]
    return f"{text}    (plain VAE: {plain.psnr:.2f} dB, {plain.tokens} tokens)"


def _line(score: Score) -> str:
    return f"PSNR {score.psnr:.2f} dB    SSIM {score.ssim:.3f}    {score.tokens} tokens"


def _left(column: int) -> int:
    return MARGIN + column * (PANEL + GAP)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
