"""Damaged JSON and YAML."""

from __future__ import annotations

import json

import yaml

from .any_bytes import CANARY, Damage, Maker
from .values import DEEPEST, Random, as_json, changed_value


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
