"""Damaged files of torch.save, pickles with code that must never run, and a zip file that unpacks to very much."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .any_bytes import BYTES, CANARY, Damage, Maker
from .values import Random


@dataclass(frozen=True)
class Call:
    """An object whose pickle calls a function when it is read."""

    function: Any
    arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def hostile_pickle(random: Random) -> bytes:
    """A pickle that would make CANARY if any of it ran."""
    code = f"open({CANARY!r}, 'w').close()"
    called = random.choice(
        (
            Call(os.system, (f"touch {CANARY}",)),
            Call(exec, (code,)),
            Call(eval, (code,)),
            Call(Path.touch, (Path(CANARY),)),
            Call(getattr, (os, "system")),
        )
    )
    value = random.choice((called, {"weight": called}, {"state_dict": {"a": [called]}}))
    return pickle.dumps(value, protocol=random.choice((2, 4)))


def plain_pickle(whole: bytes, random: Random) -> Damage:
    return Damage("a pickle with code", hostile_pickle(random))


def pickle_inside(whole: bytes, random: Random) -> Damage:
    """The zip file's pickle replaced by one with code, or with a few of its bytes changed."""
    members = _members(whole)
    name = next(name for name in members if name.endswith("data.pkl"))
    if random.random() < 0.4:
        return Damage("its pickle has code", _zipped({**members, name: hostile_pickle(random)}))
    made = random.choice(BYTES)(members[name], random)
    return Damage(f"its pickle: {made.name}", _zipped({**members, name: made.data}))


def member_changed(whole: bytes, random: Random) -> Damage:
    members = _members(whole)
    name = random.choice(list(members))
    how = random.randrange(4)
    if how == 0:
        del members[name]
        return Damage(f"without {name}", _zipped(members))
    if how == 1:
        made = random.choice(BYTES)(members[name], random)
        return Damage(f"{name}: {made.name}", _zipped({**members, name: made.data}))
    if how == 2:
        return Damage("compressed", _zipped(members, zipfile.ZIP_DEFLATED))
    renamed = {random.choice(("../", "/", "x/")) + key: data for key, data in members.items()}
    return Damage("its members elsewhere", _zipped(renamed))


def zip_bomb(whole: bytes, random: Random) -> Damage:
    """A member that unpacks to 2 GB."""
    members = _members(whole)
    target = random.choice([name for name in members if "/data/" in name] or list(members))
    return Damage(f"{target} unpacks to 2 GB", _with_bomb(members, target))


def _members(whole: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(whole)) as file:
            return {name: file.read(name) for name in file.namelist()}
    except zipfile.BadZipFile as error:
        raise ValueError("no zip file") from error


def _zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as file:
        for name, data in members.items():
            # Without the time of day.
            file.writestr(zipfile.ZipInfo(name), data, method)
    return target.getvalue()


def _with_bomb(members: dict[str, bytes], target: str) -> bytes:
    """zipfile compresses what it is given; the bomb is put in ready-made, its sizes and sum in both directories."""
    data = bytearray(_zipped({name: b"" if name == target else d for name, d in members.items()}))
    packed, size, crc = _bomb()
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as file:
        at = file.getinfo(target).header_offset
        directory = file.start_dir
    start = at + 30 + int.from_bytes(data[at + 26 : at + 28], "little")
    start += int.from_bytes(data[at + 28 : at + 30], "little")
    data[at + 8 : at + 10] = (8).to_bytes(2, "little")
    data[at + 14 : at + 26] = struct.pack("<III", crc, len(packed), size)
    data[start:start] = packed
    return _with_directory(data, directory + len(packed), at, (crc, len(packed), size))


def _with_directory(
    data: bytearray, start: int, changed: int, numbers: tuple[int, int, int]
) -> bytes:
    """Tell the central directory of the member at `changed`, and move those behind it."""
    at = start
    while data[at : at + 4] == b"PK\x01\x02":
        (offset,) = struct.unpack("<I", data[at + 42 : at + 46])
        if offset == changed:
            data[at + 10 : at + 12] = (8).to_bytes(2, "little")
            data[at + 16 : at + 28] = struct.pack("<III", *numbers)
        elif offset > changed:
            data[at + 42 : at + 46] = struct.pack("<I", offset + numbers[1])
        at += 46 + sum(struct.unpack("<HHH", data[at + 28 : at + 34]))
    data[at + 16 : at + 20] = struct.pack("<I", start)
    return bytes(data)


@cache
def _bomb() -> tuple[bytes, int, int]:
    """Deflated zeros, how many they are, and their sum."""
    block, count, crc = bytes(2**24), 128, 0
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b""
    for _ in range(count):
        packed += packer.compress(block)
        crc = zlib.crc32(block, crc)
    return packed + packer.flush(), count * len(block), crc


PICKLE: tuple[Maker, ...] = (
    plain_pickle, pickle_inside, pickle_inside, pickle_inside, member_changed, member_changed, zip_bomb,
)  # fmt: skip
