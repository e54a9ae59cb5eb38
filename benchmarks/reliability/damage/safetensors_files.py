"""Damaged safetensors files: their header, our metadata in it, and their tensors."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field, replace
from typing import Any

from .any_bytes import BYTES, Damage, Maker
from .text_files import JSON
from .values import Random, as_json, changed_value

SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
"""Bytes of each type of safetensors."""
NAN = {
    "F16": b"\x00\x7e",
    "BF16": b"\xc0\x7f",
    "F32": b"\x00\x00\xc0\x7f",
    "F64": bytes(6) + b"\xf8\x7f",
}
INFINITE = {
    "F16": b"\x00\x7c",
    "BF16": b"\x80\x7f",
    "F32": b"\x00\x00\x80\x7f",
    "F64": bytes(6) + b"\xf0\x7f",
}


@dataclass(frozen=True)
class Parts:
    """A safetensors file: type, shape and bytes of every tensor by name, and the metadata."""

    tensors: dict[str, tuple[Any, Any, bytes]]
    metadata: Any = field(default_factory=dict)

    @staticmethod
    def of(whole: bytes) -> Parts:
        """Raises ValueError or LookupError for other files."""
        (length,) = struct.unpack("<Q", whole[:8])
        header = json.loads(whole[8 : 8 + length])
        data = whole[8 + length :]
        metadata = header.pop("__metadata__", {})
        tensors = {
            name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in header.items()
        }
        return Parts(tensors, metadata)

    def header(self) -> dict[str, Any]:
        """What the header says, `__metadata__` first."""
        found: dict[str, Any] = {"__metadata__": self.metadata} if self.metadata else {}
        end = 0
        for name, (dtype, shape, data) in self.tensors.items():
            start, end = end, end + len(data)
            found[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        return found

    def as_bytes(self, header: Any = None) -> bytes:
        """The file, with another header if one is given."""
        text = as_json(self.header() if header is None else header).encode("utf-8", "replace")
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in self.tensors.values())

    def with_tensor(self, name: str, tensor: tuple[Any, Any, bytes]) -> Parts:
        """With one tensor set."""
        return replace(self, tensors={**self.tensors, name: tensor})

    def pick(self, random: Random) -> str:
        """A tensor's name, small ones, which say something, as often as weights."""
        small = [name for name, tensor in self.tensors.items() if len(tensor[2]) <= 16]
        return random.choice(small if small and random.random() < 0.3 else list(self.tensors))


def header_length(whole: bytes, random: Random) -> Damage:
    (length,) = struct.unpack("<Q", whole[:8])
    new = random.choice(
        (0, 1, 2**63, 2**64 - 1, 99_999_999, 10**12, length - 1, length + 1, length * 2)
    )
    return Damage(f"a header of {new} bytes announced", struct.pack("<Q", new) + whole[8:])


def header_value(whole: bytes, random: Random) -> Damage:
    parts = Parts.of(whole)
    words, header = changed_value(parts.header(), random)
    return Damage(f"header: {words}", parts.as_bytes(header))


def metadata_value(whole: bytes, random: Random) -> Damage:
    """Change what our own metadata says; it is JSON inside a string."""
    parts = Parts.of(whole)
    key = random.choice(list(parts.metadata))
    words, value = changed_value(json.loads(parts.metadata[key]), random)
    metadata = {**parts.metadata, key: as_json(value)}
    return Damage(f"metadata: {words}", replace(parts, metadata=metadata).as_bytes())


def metadata_text(whole: bytes, random: Random) -> Damage:
    parts = Parts.of(whole)
    key = random.choice([*parts.metadata, "davae"])
    text = parts.metadata.get(key, "{}")
    made = random.choice((*JSON, *BYTES))(text.encode() or b"{}", random)
    metadata = {**parts.metadata, key: made.data.decode("utf-8", "replace")}
    return Damage(f"metadata text: {made.name}", replace(parts, metadata=metadata).as_bytes())


def metadata_gone(whole: bytes, random: Random) -> Damage:
    return Damage("no metadata", replace(Parts.of(whole), metadata={}).as_bytes())


def tensor_type(whole: bytes, random: Random) -> Damage:
    """Another type of the same size, so that the file stays sound, or of another."""
    parts = Parts.of(whole)
    name = parts.pick(random)
    dtype, shape, data = parts.tensors[name]
    same = [other for other in SIZES if SIZES[other] == SIZES.get(dtype) and other != dtype]
    new = random.choice(
        same if random.random() < 0.7 and same else ["F4", "F8_E8M0", "C64", "X", *SIZES]
    )
    return Damage(f"{name} as {new}", parts.with_tensor(name, (new, shape, data)).as_bytes())


def tensor_shape(whole: bytes, random: Random) -> Damage:
    """Another shape of as many numbers, or any."""
    parts = Parts.of(whole)
    name = parts.pick(random)
    dtype, shape, data = parts.tensors[name]
    count = len(data) // SIZES.get(dtype, 1)
    new = random.choice(
        (
            [count],
            [1, *shape],
            shape[::-1],
            [*shape, 1],
            [],
            [0],
            [-1],
            [2**62, 2],
            [10**9] * 3,
            [1] * 70,
        )
    )
    return Damage(f"{name} of shape {new}", parts.with_tensor(name, (dtype, new, data)).as_bytes())


def tensor_instead(whole: bytes, random: Random) -> Damage:
    """A sound tensor of another kind in the place of one: a number, an empty one, a huge count, a longer one."""
    parts = Parts.of(whole)
    name = parts.pick(random)
    dtype, shape, data = parts.tensors[name]
    new = random.choice(
        (
            ("I64", [], struct.pack("<q", 3_000_000_000)),
            ("I64", [1], struct.pack("<q", -1)),
            ("F32", [], struct.pack("<f", 1.0)),
            ("F32", [0], b""),
            (dtype, [0, *shape[1:]], b""),
            (dtype, [2 * shape[0], *shape[1:]] if shape else [2], data * 2),
            ("U8", [len(data)], data),
            ("BOOL", [len(data)], data),
        )
    )
    return Damage(f"{name} is {new[0]} {new[1]}", parts.with_tensor(name, new).as_bytes())


def tensor_values(whole: bytes, random: Random) -> Damage:
    """NaN, infinity or random bits among the numbers."""
    parts = Parts.of(whole)
    name = parts.pick(random)
    dtype, shape, data = parts.tensors[name]
    size = SIZES[dtype]
    new = random.choice(
        (
            NAN.get(dtype, b"\xff" * size),
            INFINITE.get(dtype, b"\xff" * size),
            random.randbytes(size),
        )
    )
    count = len(data) // size
    whole_tensor = random.random() < 0.3
    at = size * random.randrange(max(count, 1))
    data = new * count if whole_tensor else data[:at] + new + data[at + size :]
    return Damage(
        f"{'all' if whole_tensor else 'one'} of {name} {new.hex()}",
        parts.with_tensor(name, (dtype, shape, data)).as_bytes(),
    )


def tensor_gone(whole: bytes, random: Random) -> Damage:
    parts = Parts.of(whole)
    name = parts.pick(random)
    kept = {other: tensor for other, tensor in parts.tensors.items() if other != name}
    return Damage(f"without {name}", replace(parts, tensors=kept).as_bytes())


def tensor_renamed(whole: bytes, random: Random) -> Damage:
    parts = Parts.of(whole)
    name = parts.pick(random)
    hostile = ("", "\x1b[31m", "<script>", "a" * 10_000, "x.y\nz", ".", "0", "..")
    new = random.choice(
        (*hostile, name + ".x", name.replace("0", "99"), name.upper(), "prefix." + name)
    )
    tensors = {new if other == name else other: tensor for other, tensor in parts.tensors.items()}
    return Damage(f"{name} named {new[:40]!r}", replace(parts, tensors=tensors).as_bytes())


SAFETENSORS: tuple[Maker, ...] = (
    header_length, header_value, header_value, metadata_value, metadata_value, metadata_value, metadata_text,
    metadata_gone, tensor_type, tensor_shape, tensor_instead, tensor_values, tensor_gone, tensor_renamed,
)  # fmt: skip
