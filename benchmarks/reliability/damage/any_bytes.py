"""Damage that knows nothing of a file's format."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from .values import DEEPEST, Random

CANARY = "code_ran"
"""The file that every hostile code here would make in the folder it runs in."""


@dataclass(frozen=True)
class Damage:
    """A damaged file, and what was done to it."""

    name: str
    data: bytes


Maker = Callable[[bytes, Random], Damage]


def cut_short(whole: bytes, random: Random) -> Damage:
    end = random.choice((0, 1, 7, 8, 9, len(whole) - 1, random.randrange(len(whole) + 1)))
    return Damage(f"cut short to {max(end, 0)} bytes", whole[: max(end, 0)])


def flipped_bits(whole: bytes, random: Random) -> Damage:
    data = bytearray(whole or b"\0")
    reach = random.choice((len(data), min(len(data), 512)))
    count = random.choice((1, 1, 3, 30))
    for _ in range(count):
        data[random.randrange(reach)] ^= 1 << random.randrange(8)
    return Damage(f"{count} bits of the first {reach} bytes flipped", bytes(data))


def overwritten(whole: bytes, random: Random) -> Damage:
    data = bytearray(whole or b"\0")
    start = random.randrange(min(len(data), random.choice((16, 512, len(data)))))
    length = random.choice((1, 4, 64, 4096))
    fill = random.choice((b"\0", b"\xff", b"[", b"{", b'"'))
    new = random.randbytes(length) if random.random() < 0.5 else fill * length
    data[start : start + length] = new
    return Damage(f"{length} bytes at {start} overwritten", bytes(data))


def inserted(whole: bytes, random: Random) -> Damage:
    start, length = random.randrange(len(whole) + 1), random.choice((1, 8, 1000))
    return Damage(
        f"{length} bytes inserted at {start}",
        whole[:start] + random.randbytes(length) + whole[start:],
    )


def part_removed(whole: bytes, random: Random) -> Damage:
    start, length = random.randrange(len(whole) + 1), random.choice((1, 8, 1000))
    return Damage(f"{length} bytes removed at {start}", whole[:start] + whole[start + length :])


def lengthened(whole: bytes, random: Random) -> Damage:
    return Damage("bytes added at the end", whole + random.choice((b"\0", b"}", whole[:100_000])))


def another_file(whole: bytes, random: Random) -> Damage:
    name, data = random.choice(STRANGERS)
    return Damage(f"{name} instead", data)


STRANGERS: tuple[tuple[str, bytes], ...] = (
    ("nothing", b""),
    ("a page", b"<!DOCTYPE html><title>404</title>"),
    ("zeros", bytes(4096)),
    ("words", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    ("an empty zip file", b"PK\x05\x06" + bytes(18)),
    (
        "an EPS picture",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
    ),
    ("a list of lists", b"[" * DEEPEST),
    ("a header alone", b"\x02\0\0\0\0\0\0\0{}"),
    ("a header of lists", struct.pack("<Q", DEEPEST) + b'{"a":' + b"[" * (DEEPEST - 5)),
    ("UTF-16", "{}".encode("utf-16")),
)
BYTES: tuple[Maker, ...] = (
    cut_short, flipped_bits, flipped_bits, overwritten, inserted, part_removed, lengthened, another_file,
)  # fmt: skip
