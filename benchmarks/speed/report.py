"""Results as tables: those of a run, and those of a run beside an earlier one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

HEAD = (
    "| | side | batch | ours | stock | ours of stock | from turn to turn | floor, ours | memory, ours | memory, stock "
    "|\n|---|---|---|---|---|---|---|---|---|---|"
)
_KNOWN_BY = ("part", "what", "side", "batch", "variant")


def row(case: Mapping[str, Any]) -> str:
    """A measured case: the best of its turns, the middle ratio, and the most bytes beside weights and inputs."""
    ours, stock = (case["ways"].get(who) for who in ("ours", "stock"))
    ratio = case["ratio"]
    return (
        f"| {_name(case)} | {case['side']} | {case['batch']} | {_best(ours)} | {_best(stock)} "
        f"| {_middle(ratio)} | {_spread(ratio)} "
        f"| {_seconds(ours['floor_seconds'])} | {_megabytes(ours)} | {_megabytes(stock)} |"
    )


def lines(results: Mapping[str, Any]) -> Iterator[str]:
    """A whole run: where, how fast the machine is, every case, and what failed."""
    yield heading(results)
    yield ""
    yield HEAD
    yield from map(row, results["cases"])
    if results["failed"]:
        yield ""
    for failed in results["failed"]:
        yield f"Failed: {failed['what']}: {failed['error']}"


def heading(results: Mapping[str, Any]) -> str:
    """Machine, versions, scale and measured rates."""
    rates = results["rates"]
    return (
        f"{results['machine']}; {results['device']}; ComfyUI {results['comfyui']}. {results['scale']} Measured: "
        f"{rates['operations'] / 1e12:.2f} TFLOP/s in products of matrices, {rates['bytes'] / 1e9:.0f} GB/s in copies."
    )


def beside(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """Every case that both runs have: ours of stock, operations and memory of ours, then and now."""
    if now["scale"] != before["scale"]:
        yield f"Not comparable: the earlier run was {before['scale']!r}."
        return
    yield "| | side | batch | ours of stock, before | now | operations | memory |\n|---|---|---|---|---|---|---|"
    known = {_key(case): case for case in before["cases"]}
    for case in now["cases"]:
        if _key(case) in known:
            yield _beside_row(case, known[_key(case)])


def _beside_row(case: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    ours, was = case["ways"]["ours"], old["ways"]["ours"]
    ratios = (_middle(each["ratio"]) for each in (old, case))
    changes = (
        f"{ours[what] / was[what]:.3f}x" if ours[what] and was[what] else ""
        for what in ("operations", "peak_bytes")
    )
    return (
        f"| {_name(case)} | {case['side']} | {case['batch']} | {' | '.join((*ratios, *changes))} |"
    )


def _key(case: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(case[what] for what in _KNOWN_BY)


def _name(case: Mapping[str, Any]) -> str:
    return f"{case['what']}, {case['variant']}" if case["variant"] else str(case["what"])


def _middle(ratio: Mapping[str, float] | None) -> str:
    return "" if ratio is None else f"{ratio['median']:.3f}x"


def _spread(ratio: Mapping[str, float] | None) -> str:
    return "" if ratio is None else f"{ratio['least']:.3f} to {ratio['most']:.3f}"


def _best(way: Mapping[str, Any] | None) -> str:
    return "" if way is None else _seconds(min(way["seconds"]))


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f} s"


def _megabytes(way: Mapping[str, Any] | None) -> str:
    return "" if way is None else f"{way['peak_bytes'] / 1e6:.0f} MB"
