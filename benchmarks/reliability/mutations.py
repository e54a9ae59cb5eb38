"""Damaged and hostile files, made of whole ones: the same damage for the same random numbers, wherever it is asked for.

`damaged(FORMAT, whole, random)` gives one of them with the words for what was done. Formats: safetensors, JSON, YAML,
pickles (torch.save's zip files), tar, pictures, and any bytes.
"""

from __future__ import annotations

import io
import json
import pickle
import random as randomness
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import yaml
from PIL import Image

CANARY = "code_ran"
"""The file that every hostile code here would make in the folder it runs in."""
DEEP = "\x00deep\x00"
"""Stands in a value for lists within lists, more than any parser follows; `as_json` writes them."""
DEEPEST = 100_000

Random = randomness.Random


@dataclass(frozen=True)
class Damage:
    """A damaged file, and what was done to it."""

    name: str
    data: bytes


Maker = Callable[[bytes, Random], Damage]


def damaged(form: str, whole: bytes, random: Random) -> Damage:
    """One of the ways to damage a file of this format; a quarter of the time one that knows nothing of it."""
    own = MAKERS.get(form, ())
    makers = BYTES if not own or random.random() < 0.25 else own
    try:
        return random.choice(makers)(whole, random)
    except (ValueError, LookupError, struct.error, OSError, TypeError):
        # What is not whole to begin with has no parts to change.
        return random.choice(BYTES)(whole, random)


# Values


def hostile_value(random: Random) -> Any:
    """A value that no sound file holds where it will stand."""
    return random.choice(HOSTILE)


HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 10**9, 2**31, 2**63, -(2**63), 10**400, 10**4400,
    0.0, -0.5, 1e-45, 1e308, float("nan"), float("inf"), float("-inf"),
    "", " ", "x", "0", "1e999", "mini", "a" * 100_000, "<img src=x onerror=alert(1)>", "\x1b[2J\x07", "two\nlines",
    "../../../etc/passwd", "/dev/zero", "\ud800", "ÄÖ\u202e", "\x00", "0" * 64, "F32", "davae",
    [], {}, [[]], [None], [0], [-1], [10**9] * 4, [1, 2, 3], [1.5], ["x"] * 1000, list(range(10_000)),
    {"a": {"b": []}}, {"": ""}, {"kind": "davae"}, {"__metadata__": {"davae": "{}"}}, DEEP, [DEEP],
)  # fmt: skip
"""Of every type, too small, too large, and of every kind that a terminal, a page or a file system would act on."""


def as_json(value: Any) -> str:
    """JSON as a sloppy writer leaves it: NaN, numbers of any length, and the lists that DEEP stands for."""
    text = json.dumps(value, default=str) if not _has_long_number(value) else _long_json(value)
    nested = "[" * DEEPEST + "]" * DEEPEST
    return text.replace(json.dumps(DEEP), nested)


def _has_long_number(value: Any) -> bool:
    return any(isinstance(part, int) and abs(part) >= 10**4000 for part in _leaves(value))


def _long_json(value: Any) -> str:
    """Python refuses to write a number of more than 4300 digits."""
    if isinstance(value, dict):
        parts = (f"{json.dumps(str(name))}: {_long_json(part)}" for name, part in value.items())
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_long_json, value)) + "]"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**4000:
        return "1" + "0" * 4400
    return json.dumps(value, default=str)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value within a value, outermost first; () is the whole."""
    yield before
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in inner:
        yield from places(part, (*before, key))


def put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """A copy of `value` with `new` at one place."""
    if not place:
        return new
    key, *rest = place
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = put(copy[key], tuple(rest), new)
    return copy


def without(value: Any, place: tuple[Any, ...]) -> Any:
    """A copy of `value` without what stands at a place."""
    *outer, key = place
    holder = value
    for part in outer:
        holder = holder[part]
    kept = dict(holder) if isinstance(holder, dict) else list(holder)
    del kept[key]
    return put(value, tuple(outer), kept)


def changed_value(value: Any, random: Random) -> tuple[str, Any]:
    """A structured value with one or two places changed, and the words for it."""
    words = []
    for _ in range(random.choice((1, 1, 1, 2))):
        found = list(places(value))
        place = random.choice(found[1:] or found)
        where = ".".join(map(str, place)) or "everything"
        if place and random.random() < 0.15:
            value = without(value, place)
            words.append(f"without {where}")
        elif random.random() < 0.1 and isinstance(value, dict):
            value = {
                **value,
                random.choice(("new", "", "\x1b[1m", "a" * 1000)): hostile_value(random),
            }
            words.append("another key")
        else:
            new = hostile_value(random)
            value = put(value, place, new)
            words.append(f"{where} = {_short(new)}")
    return ", ".join(words), value


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**20:
        return f"a number of {value.bit_length()} bits"
    return repr(value)[:40]


# Any bytes


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


# Safetensors

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
    made = damaged("json", text.encode(), random)
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


# JSON and YAML


def json_value(whole: bytes, random: Random) -> Damage:
    words, value = changed_value(json.loads(whole), random)
    return Damage(words, as_json(value).encode("utf-8", "replace"))


def json_text(whole: bytes, random: Random) -> Damage:
    """What is no JSON to some, or more than one."""
    words, text = random.choice(
        (
            ("a byte order mark", b"\xef\xbb\xbf" + whole),
            ("twice", whole * 2),
            ("lists within lists", b"[" * DEEPEST + b"]" * DEEPEST),
            ("objects within objects", b'{"a":' * DEEPEST + b"1" + b"}" * DEEPEST),
            ("Latin-1", whole + "ä".encode("latin-1")),
            ("single quotes", whole.replace(b'"', b"'")),
            ("a comment", whole + b"// end"),
        )
    )
    return Damage(words, text)


def yaml_value(whole: bytes, random: Random) -> Damage:
    words, value = changed_value(yaml.safe_load(whole), random)
    # JSON is YAML, and its writer takes values of which YAML's own makes aliases and tags.
    return Damage(words, as_json(value).encode("utf-8", "replace"))


def yaml_snippet(whole: bytes, random: Random) -> Damage:
    """One line's value replaced by what only YAML has."""
    lines = whole.decode().splitlines()
    chosen = random.choice([number for number, line in enumerate(lines) if ":" in line])
    snippet = random.choice(SNIPPETS)
    lines[chosen] = lines[chosen].partition(":")[0] + ": " + snippet
    return Damage(f"line {chosen}: {snippet[:40]}", "\n".join(lines).encode("utf-8", "replace"))


def yaml_text(whole: bytes, random: Random) -> Damage:
    words, text = random.choice(
        (
            ("an alias bomb", _ALIASES + whole),
            ("lists within lists", b"a: " + b"[" * 5000),
            ("a tab", b"\t" + whole),
            ("two documents", whole + b"\n---\n" + whole),
            ("a directive", b"%YAML 9.9\n---\n" + whole),
            ("a date for a key", b"2020-13-45: x\n" + whole),
            ("a complex key", b"? [a, {b: c}]\n: d\n" + whole),
            ("a key twice", whole + b"\n" + whole),
            ("a merge of a number", b"<<: 5\n" + whole),
        )
    )
    return Damage(words, text)


SNIPPETS = (
    f"!!python/object/apply:os.system ['touch {CANARY}']",
    f"!!python/object/new:subprocess.Popen [['touch', '{CANARY}']]",
    "!!python/name:os.system", "!!int x", "!!bool x", "!!float x", "!!timestamp x", "!!binary x", "!!set {a, b}",
    "!!omap [a: 1]", "2020-13-45", "2020-01-01", "0o7", "0x1F", "1_000", "1:30:00", "+.inf", ".nan", "1e999", "~",
    "&a [*a]", "&a {b: *a}", "*nobody", "9" * 5000, "'", '"\\x1b[2J"', "\"<img src=x>\"", "|\n  lines\n  more", "{",
    "[", "? x", "yes", "off", "{a: {b: {c: {}}}}", "@x", "`x`", "%x", "!x y", "[[[[]]]]", "a" * 50_000,
)  # fmt: skip
_ALIASES = b"".join(
    b"a%d: &a%d [%s]\n" % (level, level, b", ".join([b"*a%d" % (level - 1) if level else b"x"] * 9))
    for level in range(9)
)
JSON: tuple[Maker, ...] = (json_value, json_value, json_value, json_text)
YAML: tuple[Maker, ...] = (yaml_value, yaml_value, yaml_snippet, yaml_snippet, yaml_text)


# Pickles


@dataclass(frozen=True)
class Call:
    """An object whose pickle calls a function when it is read."""

    function: Any
    arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def hostile_pickle(random: Random) -> bytes:
    """A pickle that would make CANARY if any of it ran."""
    import os
    from pathlib import Path

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


# Tar files


def tar_member(whole: bytes, random: Random) -> Damage:
    """One member's header changed, its sum set right."""
    members = _tar_members(whole)
    number = random.randrange(len(members))
    info, data = members[number]
    words, change = random.choice(TAR_CHANGES)
    change(info)
    members[number] = (info, data)
    return Damage(f"{number}: {words}", _tarred(members))


def tar_content(whole: bytes, random: Random) -> Damage:
    """One member's content damaged in the manner of its kind."""
    members = _tar_members(whole)
    number = random.randrange(len(members))
    info, data = members[number]
    form = {"json": "json", "png": "picture"}.get(info.name.rpartition(".")[2], "bytes")
    made = damaged(form, data, random)
    info.size = len(made.data)
    members[number] = (info, made.data)
    return Damage(f"{info.name}: {made.name}", _tarred(members))


def tar_size(whole: bytes, random: Random) -> Damage:
    """A header that announces more than there is, or less than nothing, its sum set right."""
    data = bytearray(whole)
    size = random.choice(
        (b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-0000000001\0", b"x" * 12)
    )
    at = 512 * random.randrange(max(len(data) // 512 - 20, 1))
    data[at + 124 : at + 136] = size
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % (sum(data[at : at + 512]) & 0o777777)
    return Damage(f"size {size!r} at {at}", bytes(data))


def _named(name: str) -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        info.name = name

    return change


def _typed(kind: bytes, target: str = "") -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, target

    return change


TAR_CHANGES: tuple[tuple[str, Callable[[tarfile.TarInfo], None]], ...] = (
    ("outside", _named("../../outside.png")),
    ("absolute", _named("/tmp/absolute.png")),
    ("no name", _named("")),
    ("control characters", _named("a\x1b[2Jb\nc.png")),
    ("markup", _named("<img src=x onerror=alert(1)>.png")),
    ("a long name", _named("long/" * 400 + "a.png")),
    ("a surrogate", _named("\udcff.png")),
    ("a symbolic link", _typed(tarfile.SYMTYPE, "/etc/passwd")),
    ("a hard link", _typed(tarfile.LNKTYPE, "0.png")),
    ("a device", _typed(tarfile.CHRTYPE)),
    ("a pipe", _typed(tarfile.FIFOTYPE)),
    ("a folder", _typed(tarfile.DIRTYPE)),
    ("a sparse file", _typed(tarfile.GNUTYPE_SPARSE)),
    ("a type of its own", _typed(b"Z")),
)


def _tar_members(whole: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
            return [
                (info, content.read() if (content := tar.extractfile(info)) else b"")
                for info in tar.getmembers()
            ]
    except tarfile.TarError as error:
        raise ValueError("no tar file") from error


def _tarred(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return target.getvalue()


TAR: tuple[Maker, ...] = (tar_member, tar_content, tar_content, tar_size)


# Pictures


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

MAKERS: dict[str, tuple[Maker, ...]] = {
    "safetensors": SAFETENSORS,
    "json": JSON,
    "yaml": YAML,
    "pickle": PICKLE,
    "tar": TAR,
    "picture": PICTURE,
}
"""The ways to damage each format beyond those for any bytes."""
