"""Ways to make a whole file hostile: each takes bytes and a source of chance, and gives other bytes."""

import json
import random
import struct
from collections.abc import Callable
from typing import Any

import yaml

Mutation = Callable[[bytes, random.Random], bytes]
MARKUP = "<img src=x onerror=alert(1)>"
FORGED = "x\nNeeds: nothing, it is safe.\x1b[31m\u202e"
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 10**9, 10**8, -(10**12), 2**63, 10**400, 0.5, -0.0, 1e308, 1e-320, float("nan"),
    float("inf"), float("-inf"), "", "x", "1", "nan", MARKUP, FORGED, "a" * 5000, "../../etc/passwd", [], {}, [[]],
    [1, 2], ["x"], [None], [10**9] * 50, {"x": 1}, {MARKUP: MARKUP}, {"": {}}, list(range(300)),
)  # fmt: skip
"""What is put where something else was."""
DEEP = "[" * 100_000
TYPES = {
    8: ("F64", "I64", "U64", "C64"),
    4: ("F32", "I32", "U32"),
    2: ("F16", "BF16", "I16", "U16"),
    1: ("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"),
}
SIZE_OF = {name: size for size, names in TYPES.items() for name in names}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a value of dicts and lists, the whole included."""
    found = [path]
    if isinstance(value, dict):
        keys: Any = value
    else:
        keys = range(min(len(value), 8)) if isinstance(value, list) else ()
    for key in keys:
        found += places(value[key], (*path, key))
    return found


def changed(value: Any, chance: random.Random) -> Any:
    """A value with something in it replaced, left out, or put beside it."""
    value = json.loads(json.dumps(value))
    *way, last = chance.choice(places(value)) or (None,)
    if last is None:
        return chance.choice(VALUES)
    inner = value
    for key in way:
        inner = inner[key]
    kind = chance.randrange(8)
    if kind == 0:
        del inner[last]
    elif kind == 1 and isinstance(inner, dict):
        inner[chance.choice((MARKUP, "x", FORGED))] = inner.pop(last)
    elif kind == 2 and isinstance(inner, dict):
        inner["unheard_of"] = chance.choice(VALUES)
    else:
        inner[last] = chance.choice(VALUES)
    return value


def damaged_bytes(whole: bytes, chance: random.Random) -> bytes:
    """Cut short, overwritten here and there, doubled, or with something in between."""
    kind = chance.randrange(5)
    place = chance.randrange(len(whole) + 1)
    if kind == 0:
        return whole[:place]
    if kind == 1:
        return whole[:place] + chance.randbytes(9) + whole[place:]
    if kind == 2:
        return whole[: chance.randrange(64)]
    if kind == 3:
        return whole[:place] + whole
    broken = bytearray(whole)
    # The beginning is where the sizes are.
    ends = (len(broken), min(200, len(broken)))
    for _ in range(chance.choice((1, 3, 20))):
        broken[chance.randrange(chance.choice(ends))] = chance.randrange(256)
    return bytes(broken)


def json_text(whole: bytes, chance: random.Random) -> bytes:
    """A JSON file with a value changed, or nested too deep."""
    if chance.random() < 0.1:
        return DEEP.encode()
    if chance.random() < 0.15:
        return damaged_bytes(whole, chance)
    value = changed(json.loads(whole), chance)
    text = json.dumps(value)
    if chance.random() < 0.1:
        text = text.replace("1", DEEP, 1)
    return text.encode()


def described(whole: bytes, chance: random.Random) -> bytes:
    """A safetensors file whose own JSON says something else."""
    header, data = _parts(whole)
    metadata = header.setdefault("__metadata__", {})
    told = metadata.get("davae", "{}")
    metadata["davae"] = json_text(told.encode(), chance).decode("utf-8", "replace")
    return _joined(header, data)


def retyped(whole: bytes, chance: random.Random) -> bytes:
    """A tensor of another type or rank, renamed, left out, or full of one byte."""
    header, data = _parts(whole)
    names = [name for name in header if name != "__metadata__"]
    name = chance.choice(names)
    entry = header[name]
    kind = chance.randrange(7)
    start, end = entry["data_offsets"]
    if kind == 0:
        entry["dtype"] = chance.choice(TYPES[SIZE_OF[entry["dtype"]]])
    elif kind == 1:
        entry["dtype"] = chance.choice(list(SIZE_OF))
        entry["shape"] = [(end - start) // SIZE_OF[entry["dtype"]]]
    elif kind == 2:
        count = (end - start) // SIZE_OF[entry["dtype"]]
        entry["shape"] = chance.choice(([count], [1, count], [count, 1, 1, 1], [1, 1, 1, 1, count]))
    elif kind == 3:
        header[chance.choice((MARKUP, FORGED, "x", "joint_blocks.999999999999.x", "y" * 4000))] = (
            header.pop(name)
        )
    elif kind == 4:
        for other in names:
            if header[other]["data_offsets"][0] >= end:
                header[other]["data_offsets"] = [
                    at - end + start for at in header[other]["data_offsets"]
                ]
        del header[name]
        data = data[:start] + data[end:]
    elif kind == 5:
        data = data[:start] + bytes([chance.choice((0, 255, 127))]) * (end - start) + data[end:]
    else:
        header["empty"] = {
            "dtype": "F32",
            "shape": [0, 10**9],
            "data_offsets": [len(data), len(data)],
        }
    return _joined(header, data)


def emptied(whole: bytes, chance: random.Random) -> bytes:
    """Tensors without numbers, of no dimension or of one number, as few bytes as a file can have."""
    header, _ = _parts(whole)
    name = chance.choice([name for name in header if name != "__metadata__"])
    shape = chance.choice(([], [1], [0], [0, 0, 0, 0], [2**40, 0], [1, 2**30, 0, 1]))
    kind = chance.choice(list(SIZE_OF))
    size = SIZE_OF[kind] * (0 if 0 in shape else 1)
    kept = {"__metadata__": header["__metadata__"]} if "__metadata__" in header else {}
    told = {name: {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}
    return _joined({**kept, **told}, b"\xff" * size)


def _parts(whole: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", whole[:8])
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def _joined(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


YAML_PIECES = (
    "*a", "&a [*a]", "? [b]\n: c", "2020-13-45", "!!int x", "!!bool x", "!!float y", "!!timestamp z", "!!set {a}",
    "!!binary x", "!!python/object/apply:os.system ['true']", "1" + "0" * 400, "0x" + "f" * 6000, "[" * 3000,
    "{a: " * 3000, "1:1:1:1:1:1", "<<: {a: 1}", ".inf", "1e999", '"\\e[31m"', "'<b>'", "- " * 500, "|\n  text", "~",
)  # fmt: skip


def yaml_text(whole: bytes, chance: random.Random) -> bytes:
    """A configuration with a value changed, or with a piece of YAML that no configuration needs."""
    if chance.random() < 0.5:
        value = changed(yaml.safe_load(whole), chance)
        # JSON is YAML; safe_dump would refuse what is hostile about some values.
        return json.dumps(value).encode()
    lines = whole.decode().splitlines()
    number = chance.randrange(len(lines))
    key = lines[number].partition(":")[0]
    lines[number] = f"{key}: {chance.choice(YAML_PIECES)}"
    return "\n".join(lines).encode()
