"""Draw the registry's banner: `python -m scripts.banner`.

A part of the bundled scene as the bundled miniature gives it back: the draft beside base and detail, on the same
tokens.
"""

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from davae_core import mini
from davae_core.codec.files import load_codec
from davae_core.images import image_to_pil, read_image

TARGET = Path(__file__).parents[1] / "docs" / "images" / "banner.png"
WIDTH, HEIGHT = 1470, 630
BACKGROUND, TEXT, FAINT = "#191b26", "#f2f3f7", "#a9aec2"
LINES = (
    ("DA-VAE", 110, TEXT, 220),
    ("for ComfyUI", 50, TEXT, 310),
    ("a quarter of the tokens,", 32, FAINT, 400),
    ("the detail kept", 32, FAINT, 442),
)
"""Text, size, colour and the middle's height."""
PART = (126, 47, 244, 196)
"""Left, top, right and bottom of the part of the scene."""
PANEL = (495, HEIGHT)


def panels() -> list[tuple[str, Image.Image]]:
    """The part as the draft has it and as base and detail have it."""
    codec = load_codec(mini.davae_path(), dtype=torch.float32)
    scene = read_image(mini.scene_path())
    with torch.inference_mode():
        latents = codec.encode(scene)
        draft = image_to_pil(codec.decode_base(latents)[0])
        whole = image_to_pil(codec.decode(latents)[0])
    draft = draft.resize(whole.size, Image.Resampling.BICUBIC)
    return [("base alone", draft), ("base and detail", whole)]


def main() -> None:
    """Write the banner."""
    image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for number, (words, picture) in enumerate(reversed(panels())):
        left = WIDTH - (number + 1) * PANEL[0]
        shown = picture.crop(PART).resize(PANEL, Image.Resampling.BICUBIC)
        image.paste(shown, (left, 0))
        draw.text((left + 16, HEIGHT - 30), words, TEXT, ImageFont.load_default(26), anchor="lm")
    draw.line([(WIDTH - PANEL[0], 0), (WIDTH - PANEL[0], HEIGHT)], TEXT, 2)
    for text, points, colour, y in LINES:
        draw.text((50, y), text, colour, ImageFont.load_default(points), anchor="lm")
    image.save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
