"""What ``run.sh`` found as one page: ``python -m benchmarks.gpu_kit.table RESULTS``, the folder of its JSON files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..speed import report

_ENDS = {0: "done", 1: "done, with failures", 124: "out of time", 137: "out of time, killed"}


def page(folder: Path) -> Iterator[str]:
    """Lines of Markdown: how each part ended, then what it wrote, if it did."""
    yield "| part | seconds | |\n|---|---|---|"
    parts = _json_lines(folder / "parts.jsonl")
    for part in parts:
        ended = _ENDS.get(part["exit"], f"broke off ({part['exit']})")
        yield f"| {part['name']} | {part['seconds']} | {ended} |"
    for name in (part["name"] for part in parts):
        found = list(_found(name, folder))
        if found:
            yield f"\n## {name}\n"
            yield from found


def _found(name: str, folder: Path) -> Iterator[str]:
    file = folder / f"{name}.json"
    if name == "miniature":
        yield from _training(_json_lines(folder / f"{name}.jsonl"))
    elif not file.is_file():
        return
    elif name == "precision":
        yield from _precision(json.loads(file.read_text()))
    else:
        results = json.loads(file.read_text())
        yield from report.lines(results)
        yield from _memory(results["cases"])


def _memory(cases: list[dict[str, Any]]) -> Iterator[str]:
    """Weights and all that is alive beside them, and how much of that a pixel of one picture takes."""
    yield "\n| | side | batch | with weights | bytes a pixel beside them |\n|---|---|---|---|---|"
    for case in cases:
        for who, way in case["ways"].items():
            name = ", ".join(filter(None, (case["what"], case["variant"], who)))
            whole = (way["weight_bytes"] + way["peak_bytes"]) / 1e9
            pixels = case["batch"] * case["side"] ** 2
            yield (
                f"| {name} | {case['side']} | {case['batch']} | {whole:.2f} GB "
                f"| {way['peak_bytes'] / pixels:.0f} |"
            )


def _precision(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"On {found['device']}.\n\n| | type | error | bound |\n|---|---|---|---|"
    for error in found["errors"]:
        yield f"| {error['what']} | {error['dtype']} | {error['error']:.2e} | {error['bound']:g} |"


def _training(records: list[dict[str, Any]]) -> Iterator[str]:
    """The first and the last line of the log that tell a loss."""
    steps = [record for record in records if record["event"] == "train"]
    if not steps:
        return
    yield "| step | loss | pictures a second | GiB of the GPU |\n|---|---|---|---|"
    for record in (steps[0], steps[-1]):
        memory = record.get("peak_gpu_gib", "")
        yield f"| {record['step']} | {record['loss']:.4f} | {record['samples_per_second']:.3g} | {memory} |"


def _json_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_kit.table")
    parser.add_argument("results", type=Path, help="the folder that run.sh wrote")
    print("\n".join(page(parser.parse_args().results)))


if __name__ == "__main__":
    main()
