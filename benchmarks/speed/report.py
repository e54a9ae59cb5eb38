"""Results as tables: those of a run, and those of a run beside an earlier one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import starmap
from typing import Any

HEAD = (
    "| | side | batch | ours | stock | ours of stock | from turn to turn | floor, ours | memory, ours | memory, stock "
    "|\n|---|---|---|---|---|---|---|---|---|---|"
)
BESIDE_HEAD = (
    "| | side | batch | ours of stock, before | now | operations | memory | moved "
    "|\n|---|---|---|---|---|---|---|---|"
)
_KNOWN_BY = ("part", "what", "side", "batch", "variant")
_SAME, _DISTURBED = 0.01, 0.05


def rows(case: Mapping[str, Any]) -> Iterator[str]:
    """A line for each of our ways: the best turn, the middle ratio, and the most bytes beside weights and inputs."""
    ways = dict(case["ways"])
    stock = ways.pop("stock", None)
    for who, way in ways.items():
        ratio = case["ratios"].get(who)
        yield (
            f"| {_name(case, who)} | {case['side']} | {case['batch']} | {_best(way)} | {_best(stock)} "
            f"| {_middle(ratio)} | {_spread(ratio)} "
            f"| {_seconds(way['floor_seconds'])} | {_megabytes(way)} | {_megabytes(stock)} |"
        )


def lines(results: Mapping[str, Any]) -> Iterator[str]:
    """A whole run: where, how fast the machine is, every case, and what failed."""
    yield heading(results)
    yield ""
    yield HEAD
    for case in results["cases"]:
        yield from rows(case)
    if results["failed"]:
        yield ""
    for failed in results["failed"]:
        which = (str(failed[name]) for name in ("side", "batch", "variant") if failed.get(name))
        yield f"Failed: {', '.join((failed['what'], *which))}: {failed['error']}"


def heading(results: Mapping[str, Any]) -> str:
    """Machine, versions, scale and measured rates."""
    rates = results["rates"]
    return (
        f"{results['date']}; {results['machine']}; {results['device']}; ComfyUI {results['comfyui']}. "
        f"{results['scale']} Measured: {rates['operations'] / 1e12:.2f} TFLOP/s in products of matrices, "
        f"{rates['bytes'] / 1e9:.0f} GB/s in copies."
    )


def beside(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """Every case of both runs, then and now: ours of stock, operations and memory of ours, and what moved."""
    if now["scale"] != before["scale"]:
        yield f"Not comparable: the earlier run was {before['scale']!r}."
        return
    yield f"Beside the run of {before['date']}: {before['machine']}; ComfyUI {before['comfyui']}.\n"
    yield BESIDE_HEAD
    known = {_key(case): case for case in before["cases"]}
    for case in now["cases"]:
        old = known.get(_key(case))
        for who in case["ways"]:
            if old is not None and who != "stock":
                yield _beside_row(case, old, who)


def _beside_row(case: Mapping[str, Any], old: Mapping[str, Any], who: str) -> str:
    ours, was = case["ways"][who], old["ways"][who]
    then, ratio = (each["ratios"].get(who) for each in (old, case))
    changes = {
        what: ours[key] / was[key] if ours[key] and was[key] else 1.0
        for what, key in (("operations", "operations"), ("memory", "peak_bytes"))
    }
    counted = (f"{change:.3f}x" for change in changes.values())
    moved = [_moved_time(ratio, then), *starmap(_moved_count, changes.items())]
    cells = (_middle(then), _middle(ratio), *counted, ", ".join(filter(None, moved)))
    return f"| {_name(case, who)} | {case['side']} | {case['batch']} | {' | '.join(cells)} |"


def _moved_time(now: Mapping[str, float] | None, before: Mapping[str, float] | None) -> str:
    """Only where the turns of both runs lie well apart: others may use the machine too."""
    if now is None or before is None:
        return ""
    if now["least"] > (1 + _DISTURBED) * before["most"]:
        return "slower"
    return "faster" if (1 + _DISTURBED) * now["most"] < before["least"] else ""


def _moved_count(what: str, change: float) -> str:
    """More than counting may differ by from version to version of PyTorch."""
    if abs(change - 1) <= _SAME:
        return ""
    return f"more {what}" if change > 1 else f"less {what}"


def _key(case: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(case[what] for what in _KNOWN_BY)


def _name(case: Mapping[str, Any], who: str) -> str:
    return ", ".join(filter(None, (case["what"], case["variant"], who if who != "ours" else "")))


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
