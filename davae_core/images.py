"""Picture files: anything Pillow reads becomes RGB in [-1, 1]; PNG goes out, whole or not at all."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .files import write_atomically


class ImageError(ValueError):
    """A picture that cannot be read or written; the message is one sentence that says what to do."""


def read_image(path: str | Path) -> Tensor:
    """Read a picture file.

    Alpha is dropped, palettes and CMYK are converted, 16-bit and float grey are scaled to their
    range, the camera's orientation is applied, and of an animation the first frame is taken.

    Returns:
        ``[1, 3, H, W]`` float32 in [-1, 1].

    Raises:
        ImageError: when the file is missing, is not a picture, is cut short, or holds NaN or infinite values.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"{path} does not exist or is not a file: check the name.")
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty: download or copy it again.")
    return decode_image(path, str(path))


def decode_image(source: Path | BinaryIO, name: str) -> Tensor:
    """`read_image` for a picture that is a file or in memory; errors call it ``name``.

    Raises:
        ImageError: when it is not a picture, is cut short, or holds NaN or infinite values.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on and refuses from 179 on; the refusal is enough.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source) as opened:
                image = image_from_pil(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not a picture that Pillow can read, whatever its name says: give a PNG, JPEG, WebP or TIFF."
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} has too many pixels to be read safely: make it smaller."
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"{name} is damaged or cut short: download or copy it again.") from error
    if not torch.isfinite(image).all():
        raise ImageError(
            f"{name} holds NaN or infinite values, which are no brightness: write it again without them."
        )
    return image


def image_from_pil(picture: Image.Image) -> Tensor:
    """A Pillow picture of any mode as ``[1, 3, H, W]`` float32 in [-1, 1]; alpha is dropped.

    What is not a finite number in a float picture becomes NaN.
    """
    return torch.from_numpy(_to_rgb(picture)).permute(2, 0, 1)[None].contiguous() * 2 - 1


def _to_rgb(picture: Image.Image) -> NDArray[np.float32]:
    """``[H, W, 3]`` float32 in [0, 1]."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        grey = np.asarray(picture, dtype=np.float32)
        # 32-bit modes carry 16-bit PNG samples in "I"; a float picture is already in [0, 1] or 8-bit.
        top = 65535.0 if picture.mode != "F" else (255.0 if grey.size and grey.max() > 1 else 1.0)
        shades = np.where(np.isfinite(grey), np.clip(grey / top, 0, 1), np.float32(np.nan))
        return np.repeat(shades[..., None], 3, axis=-1)
    # Through RGBA, so that a palette's transparent entries keep their colour.
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    colours = np.asarray(picture.convert("RGB"), dtype=np.float32)
    return colours / np.float32(255)


def to_bytes(values: Tensor) -> Tensor:
    """Values in [-1, 1] (clamped) as bytes, uint8 of the same shape."""
    return ((values.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def from_bytes(pixels: Tensor) -> Tensor:
    """Bytes as float32 in [-1, 1], the inverse of `to_bytes`."""
    return pixels.float() / 127.5 - 1


def image_to_pil(image: Tensor) -> Image.Image:
    """``[3, H, W]`` or ``[1, 3, H, W]`` in [-1, 1] (clamped) as an RGB picture of 8 bits.

    Raises:
        ValueError: for another shape, or when a value is not a number.
    """
    single = image[0] if image.ndim == 4 and image.shape[0] == 1 else image
    if single.ndim != 3 or single.shape[0] != 3:
        raise ValueError(
            f"One picture [3, H, W] is needed, not a tensor of shape {list(image.shape)}."
        )
    if not torch.isfinite(single).all():
        raise ValueError(
            "The picture holds values that are not numbers: look at the latent it was decoded from."
        )
    pixels = to_bytes(single.detach().to("cpu", torch.float32))
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def write_image(path: str | Path, image: Tensor) -> None:
    """Write one picture, ``[3, H, W]`` or ``[1, 3, H, W]`` in [-1, 1], as an 8-bit PNG.

    The file appears whole or not at all, and an existing one stays until the new one is complete.

    Raises:
        ValueError: for a tensor that is not one picture.
        CheckpointError: when the disk is full or the folder cannot be written.
    """
    write_png(path, image_to_pil(image))


def write_png(path: str | Path, picture: Image.Image) -> None:
    """`write_image` for a Pillow picture."""
    write_atomically(path, lambda beside: picture.save(beside, format="PNG"))
