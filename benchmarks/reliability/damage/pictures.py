"""Damaged pictures, pictures of formats that are not read, and pictures of few bytes and very many pixels."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

from PIL import Image

from .any_bytes import BYTES, Damage, Maker, cut_short, flipped_bits, lengthened, overwritten
from .values import Random


def picture_of_another_kind(whole: bytes, random: Random) -> Damage:
    """A sound picture of any format and mode under this one's name, as a rule damaged."""
    form, mode = random.choice(PICTURE_KINDS)
    target = io.BytesIO()
    side = random.choice((1, 2, 16, 33))
    _noise(side, random).convert(mode).save(target, format=form)
    made = random.choice((*BYTES, lengthened, lengthened))(target.getvalue(), random)
    return Damage(f"{form} {mode} of {side} pixels, {made.name}", made.data)


def _noise(side: int, random: Random) -> Image.Image:
    return Image.frombytes("RGB", (side, side), random.randbytes(3 * side * side))


def png_header(whole: bytes, random: Random) -> Damage:
    """A PNG that announces other sizes, depths or colours, its sums set right."""
    width, height = random.choice(
        ((0, 0), (2**31 - 1, 1), (50_000, 50_000), (1, 1), (30_000, 2), (2**32 - 1,) * 2)
    )
    rest = random.choice((bytes([8, 2, 0, 0, 0]), bytes([16, 6, 0, 0, 1]), random.randbytes(5)))
    head = _chunk(b"IHDR", struct.pack(">II", width, height) + rest)
    pixels = _chunk(b"IDAT", zlib.compress(bytes(random.choice((0, 1, 3000)))))
    return Damage(f"a PNG of {width} x {height}", _SIGNATURE + head + pixels + _chunk(b"IEND", b""))


def png_chunk(whole: bytes, random: Random) -> Damage:
    """A chunk of text, profile or animation that unpacks to much or makes no sense."""
    name = random.choice(
        (b"zTXt", b"iTXt", b"iCCP", b"acTL", b"fcTL", b"PLTE", b"tRNS", b"eXIf", b"gAMA", b"pHYs")
    )
    body = random.choice(
        (b"", random.randbytes(20), b"x\0\0" + zlib.compress(bytes(2**24)), b"\xff" * 1000)
    )
    target = io.BytesIO()
    _noise(16, random).save(target, format="PNG")
    sound = target.getvalue()
    return Damage(f"a PNG with {name.decode()}", sound[:33] + _chunk(name, body) + sound[33:])


def large_picture(whole: bytes, random: Random) -> Damage:
    """A PNG of few bytes and very many pixels."""
    side = random.choice((9_000, 14_000, 30_000))
    return Damage(f"an empty PNG of {side} pixels a side", _blank_png(side))


@cache
def _blank_png(side: int) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">II", side, side) + bytes([1, 0, 0, 0, 0]))
    packer = zlib.compressobj(9)
    rows = bytes(1 + -(-side // 8)) * 100
    pixels = b"".join(packer.compress(rows) for _ in range(side // 100)) + packer.flush()
    return _SIGNATURE + head + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PICTURE_KINDS = (
    ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "1"), ("PNG", "LA"), ("PNG", "I;16"), ("PNG", "I"),
    ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("WEBP", "RGBA"),
    ("TIFF", "RGB"), ("TIFF", "F"), ("TIFF", "CMYK"), ("TIFF", "I;16"), ("TIFF", "LAB"), ("BMP", "RGB"), ("BMP", "P"),
    ("GIF", "P"), ("PPM", "RGB"), ("ICO", "RGB"), ("PDF", "RGB"), ("EPS", "RGB"), ("TGA", "RGB"), ("PCX", "RGB"),
    ("SGI", "RGB"), ("JPEG2000", "RGB"),
)  # fmt: skip
PICTURE: tuple[Maker, ...] = (
    flipped_bits, overwritten, cut_short, picture_of_another_kind, picture_of_another_kind, png_header, png_chunk,
    large_picture,
)  # fmt: skip
