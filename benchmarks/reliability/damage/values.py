"""Values that no sound file holds, and structured values with one of them inside."""

from __future__ import annotations

import json
import random as randomness
from collections.abc import Iterator
from typing import Any

Random = randomness.Random
DEEP = "\x00deep\x00"
"""Stands in a value for lists within lists, more than any parser follows; `as_json` writes them."""
DEEPEST = 100_000


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
