"""Picture files: a picture becomes RGB in [-1, 1], or bytes; PNG goes out, whole or not at all."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from .files import write_atomically
from .reading.plain_text import SentenceError

Found = TypeVar("Found")
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
"""What is read. Pillow knows many more, and for some of them it starts other programs."""
MOST_MEGAPIXELS = 80
"""Of a picture, unless MEGAPIXELS says otherwise: 80 take 1.3 GB while they are read, 0.6 as bytes."""
MEGAPIXELS = "DAVAE_MAX_MEGAPIXELS"
"""The environment variable that raises or lowers the limit, up to Pillow's own of 178."""
_LARGEST = 178
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What puts a picture upright, by the camera's orientation in its EXIF."""
_LYING = (5, 6, 7, 8)
"""Orientations that exchange height and width."""
_PNG = b"\x89PNG\r\n\x1a\n"
_NOTES = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
"""The parts of a PNG that are no part of the picture, and that Pillow refuses when they are large."""
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    # Pillow's readers are led astray by damage in these ways too.
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    struct.error,
    zlib.error,
)


class ImageError(SentenceError):
    """A picture that cannot be read or written; the message is one sentence that says what to do."""


def read_image(path: str | Path) -> Tensor:
    """Read a picture file.

    Alpha is dropped, palettes and CMYK are converted, 16-bit and float grey are scaled to their
    range, the camera's orientation is applied, and of an animation the first frame is taken.

    Returns:
        ``[1, 3, H, W]`` float32 in [-1, 1].

    Raises:
        ImageError: when the file is missing, is not a picture of FORMATS, is cut short, has more pixels than MEGAPIXELS
            allows, or holds values that have no one meaning as brightness: NaN, infinite, or of an unknown range.
    """
    return decode_image(_present(path), str(path))


def read_bytes(path: str | Path) -> Tensor:
    """`read_image` as uint8 ``[3, H, W]``, which takes a quarter of the memory."""
    return decode_bytes(_present(path), str(path))


def decode_image(source: Path | BinaryIO, name: str) -> Tensor:
    """`read_image` for a picture that is a file or in memory; errors call it ``name``. Raises ImageError."""
    return _as_tensor(_decode(source, name))


def decode_bytes(source: Path | BinaryIO, name: str) -> Tensor:
    """`read_bytes` for a picture that is a file or in memory; errors call it ``name``. Raises ImageError."""
    values = _decode(source, name)
    if values.dtype == np.uint8:
        return torch.from_numpy(values).permute(2, 0, 1).contiguous()
    shades = to_bytes(torch.from_numpy(values[..., 0]).mul_(2).sub_(1))
    return shades.expand(3, -1, -1).contiguous()


def read_size(path: str | Path) -> tuple[int, int]:
    """Height and width of the tensor that `read_image` would give, from the file's first bytes. Raises ImageError."""
    return _asked(_present(path), str(path), _size)


def size_of(source: BinaryIO, name: str) -> tuple[int, int]:
    """`read_size` of a picture that is open; errors call it ``name``. Raises ImageError."""
    return _asked(source, name, _size)


def image_from_pil(picture: Image.Image) -> Tensor:
    """A Pillow picture of any mode as ``[1, 3, H, W]`` float32 in [-1, 1]; alpha is dropped.

    Raises:
        ValueError: when its values have no one meaning as brightness.
    """
    return _as_tensor(_rgb_values(picture))


def _present(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"{path} does not exist or is not a file: check the name.")
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty: download or copy it again.")
    return path


def _decode(source: Path | BinaryIO, name: str) -> NDArray[np.uint8] | NDArray[np.float32]:
    """``[H, W, 3]`` uint8, or grey ``[H, W, 1]`` float32 in [0, 1] where the file has finer steps."""
    return _asked(source, name, _pixels)


def _asked(source: Path | BinaryIO, name: str, ask: Callable[[Image.Image, str], Found]) -> Found:
    """What `ask` finds in the opened picture called ``name``. Raises ImageError."""
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on and of damaged EXIF; there are sentences for what matters.
            warnings.simplefilter("ignore")
            return _opened(source, name, ask)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not a picture in one of the formats {', '.join(FORMATS)}, whatever its name says: "
            "give one that is."
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} has too many pixels to be read safely: make it smaller."
        ) from error
    except _DAMAGED as error:
        raise ImageError(f"{name} is damaged or cut short: download or copy it again.") from error


def _opened(source: Path | BinaryIO, name: str, ask: Callable[[Image.Image, str], Found]) -> Found:
    try:
        return _of_picture(source, name, ask)
    except ImageError:
        raise
    except ValueError:
        # Large text or a large colour profile in a PNG: neither is part of the picture.
        bare = _without_notes(source)
        if bare is None:
            raise
        return _of_picture(bare, name, ask)


def _of_picture(
    source: Path | BinaryIO, name: str, ask: Callable[[Image.Image, str], Found]
) -> Found:
    with Image.open(source, formats=FORMATS) as picture:
        _check_pixels(picture, name)
        return ask(picture, name)


def _pixels(picture: Image.Image, name: str) -> NDArray[np.uint8] | NDArray[np.float32]:
    picture.load()
    turn = _TURNS.get(_orientation(picture))
    upright = picture if turn is None else picture.transpose(turn)
    try:
        return _rgb_values(upright)
    except _UnknownRangeError as error:
        raise ImageError(f"{name} {error}.") from error


def _size(picture: Image.Image, name: str) -> tuple[int, int]:
    lying = _orientation(picture) in _LYING
    return (picture.width, picture.height) if lying else (picture.height, picture.width)


def _check_pixels(picture: Image.Image, name: str) -> None:
    """Raise ImageError for more pixels than are read, before any of them is."""
    told = os.environ.get(MEGAPIXELS, str(MOST_MEGAPIXELS))
    if not told.isdecimal() or not 1 <= int(told[:9]) <= _LARGEST:
        raise ImageError(
            f"The environment variable {MEGAPIXELS} is {told}, but it must be a whole number from 1 to {_LARGEST}: "
            "correct or remove it."
        )
    pixels = picture.width * picture.height
    if pixels > int(told) * 10**6:
        raise ImageError(
            f"{name} has {pixels / 1e6:.1f} megapixels, and pictures of more than {told} are not read: make it "
            f"smaller, or set the environment variable {MEGAPIXELS} to a larger number, up to {_LARGEST}."
        )


def _orientation(picture: Image.Image) -> int:
    """The camera's orientation; 1, upright, where there is none or the camera's notes are damaged."""
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except _DAMAGED:
        # Notes that nobody can read turn no picture, in any viewer.
        return 1
    return found if isinstance(found, int) else 1


def _without_notes(source: Path | BinaryIO) -> BytesIO | None:
    """A PNG without its texts and its colour profile; None for anything else."""
    if isinstance(source, Path):
        whole = source.read_bytes()
    else:
        source.seek(0)
        whole = source.read()
    if not whole.startswith(_PNG):
        return None
    kept, place = [_PNG], len(_PNG)
    while place < len(whole):
        end = place + 12 + int.from_bytes(whole[place : place + 4], "big")
        if whole[place + 4 : place + 8] not in _NOTES:
            kept.append(whole[place:end])
        place = end
    return BytesIO(b"".join(kept))


class _UnknownRangeError(ValueError):
    """Values that may mean one brightness or another; the message goes on after the picture's name."""


def _as_tensor(values: NDArray[np.uint8] | NDArray[np.float32]) -> Tensor:
    """``[H, W, 3]`` uint8 or ``[H, W, 1]`` in [0, 1] -> ``[1, 3, H, W]`` float32 in [-1, 1]."""
    # One copy: a large picture is hundreds of megabytes of floats.
    image = torch.empty((1, 3, *values.shape[:2]), dtype=torch.float32)
    image[0] = torch.from_numpy(values).permute(2, 0, 1)
    if values.dtype == np.uint8:
        image.div_(255)
    return image.mul_(2).sub_(1)


def _rgb_values(picture: Image.Image) -> NDArray[np.uint8] | NDArray[np.float32]:
    """``[H, W, 3]`` uint8, or grey ``[H, W, 1]`` float32 in [0, 1]."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        grey = np.asarray(picture, dtype=np.float32)
        shades: NDArray[np.float32] = np.clip(
            grey / np.float32(_white(picture, grey)), 0, 1, dtype=np.float32
        )
        return shades[..., None]
    # Through RGBA, so that a palette's transparent entries keep their colour.
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _white(picture: Image.Image, grey: NDArray[np.float32]) -> float:
    """The value that is white in a picture of 16 or 32 bits a pixel.

    Sixteen bits say it themselves. 32-bit whole numbers and floats do not: the values must tell, or nobody can.
    """
    # Older Pillow gives the samples of a 16-bit PNG in 32 bits.
    if picture.mode.startswith("I;16") or picture.format == "PNG" or not grey.size:
        return 65535.0
    if not np.isfinite(grey).all():
        raise _UnknownRangeError(
            "holds NaN or infinite values, which are no brightness: write it again without them"
        )
    least, most = float(grey.min()), float(grey.max())
    whole = picture.mode == "I" or bool((grey == np.round(grey)).all())
    if least >= 0 and picture.mode == "F" and most <= 1:
        return 1.0
    if least >= 0 and whole and most <= 65535:
        return 255.0 if most <= 255 else 65535.0
    raise _UnknownRangeError(
        f"has values from {least:g} to {most:g}, of which nobody can tell which is white: write floats from 0 to 1, or "
        "whole numbers of 8 or 16 bits"
    )


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
