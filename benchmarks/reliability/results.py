"""What the long runs found, kept in results.json, and the tables that docs/reliability.md quotes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from davae_core.files import write_text

RESULTS = Path(__file__).with_name("results.json")

Figures = Mapping[str, Any]


def read() -> dict[str, Figures]:
    """The last figures of every form that was run."""
    return dict(json.loads(RESULTS.read_text(encoding="utf-8"))) if RESULTS.is_file() else {}


def keep(form: str, figures: Figures, machine: str, date: str) -> None:
    """Replace one form's figures."""
    found = {**read(), form: {"date": date, "machine": machine, **figures}}
    write_text(RESULTS, json.dumps(found, indent=1, sort_keys=True) + "\n")


def tables(results: Mapping[str, Figures]) -> dict[str, str]:
    """A Markdown table for each form that was run."""
    return {form: _table(TABLES[form], results[form]) for form in TABLES if form in results}


def _table(rows: tuple[tuple[str, Callable[[Figures], str]], ...], figures: Figures) -> str:
    lines = ["| | |", "|---|---|", *(f"| {name} | {found(figures)} |" for name, found in rows)]
    return "\n".join(lines)


def _outcomes(*names: str) -> Callable[[Figures], str]:
    return lambda figures: f"{sum(figures['outcomes'].get(name, 0) for name in names):,}"


def _count(name: str) -> Callable[[Figures], str]:
    return lambda figures: f"{figures[name]:,}"


def _states(*names: str) -> Callable[[Figures], str]:
    return lambda figures: f"{sum(figures['states'].get(name, 0) for name in names):,}"


def _listed(name: str) -> Callable[[Figures], str]:
    return lambda figures: ", ".join(f"{count} {what}" for what, count in figures[name].items())


def _memory(figures: Figures) -> str:
    (first, before), *_, (last, after) = sorted(
        (int(done), size) for done, size in figures["memory_mib"].items()
    )
    return f"{before:,} MiB after {first} prompts, {after:,} MiB after {last}"


TABLES: dict[str, tuple[tuple[str, Callable[[Figures], str]], ...]] = {
    "fuzz": (
        ("date", lambda figures: str(figures["date"])),
        ("damaged files, of kinds", lambda f: f"{f['cases']:,}, {f['kinds']}"),
        ("a valid result", _outcomes("valid")),
        ("one sentence", _outcomes("sentence")),
        ("the sentence of the last net", _outcomes("unforeseen")),
        ("a traceback", _outcomes("traceback")),
        ("something that is no one sentence", _outcomes("garbled")),
        ("more than 5 s of processor time", _outcomes("timeout")),
        ("more than 1.5 GB", _outcomes("memory")),
        ("ended by a signal", _outcomes("signal")),
        ("an output or a half-written file after a failure", _outcomes("leftover")),
        ("code of a file that ran", _outcomes("code ran")),
        ("the slowest, the largest", lambda f: f"{f['slowest_cpu_seconds']} s, {f['largest_mib']:,} MiB"),
    ),
    "prompts": (
        ("date", lambda figures: str(figures["date"])),
        ("hostile prompts", _count("prompts")),
        ("refused before anything ran", _states("refused")),
        ("one sentence of ours", _states("sentence")),
        ("a result", _states("success")),
        ("an error of ComfyUI's own", _states("ComfyUI's error", "ComfyUI's broken")),
        ("late, lost or gone", _states("late", "lost", "gone")),
        ("wrong", _count("wrong")),
    ),
    "kills": (
        ("date", lambda figures: str(figures["date"])),
        ("kills", lambda f: f"{f['kills']} ({_listed('commands')(f)})"),
        ("half-written files they left", _count("half_written_at_the_kill")),
        ("wrong afterwards", _count("wrong")),
    ),
    "soak": (
        ("date", lambda figures: str(figures["date"])),
        ("prompts, clients, kills of the server", lambda f: f"{f['prompts']}, {f['clients']}, {f['kills']}"),
        ("their own picture, bit for bit", _states("own picture")),
        ("our sentence", _states("sentence")),
        ("refused by ComfyUI, the file being gone", _states("refused")),
        ("interrupted or withdrawn", _states("interrupted", "withdrawn")),
        ("sent again after a kill", _count("sent_again")),
        ("wrong", _count("wrong")),
        ("the server's memory", _memory),
    ),
}  # fmt: skip
"""What is quoted of each form, and how to find it among its figures."""
