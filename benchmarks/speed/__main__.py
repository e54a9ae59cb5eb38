"""Ours against the stock model and VAE: ``python -m benchmarks.speed [--parts codec sampling ...] [--out FILE]``.

counts     operations, and bytes alive at once of decode and encode in bfloat16, counted: the same everywhere
codec      decode and encode, plain, channels_last and (on a GPU) by torch.compile
sampling   one step with guidance at each size and batch
pictures   whole pictures: sampling and decode, jointly and by the detail pass
training   a step of stage 2 beside a LoRA of the stock model, and of stage 1

Random weights, both ways in turns in one process: on the GPU in bfloat16 at SD3.5 Medium's size where there is one,
else on the CPU in float32 with few blocks and small pictures. Every case is written to --out as soon as it is done;
--against sets the run beside an earlier one's and says what moved.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from davae_core.files import write_text

from ..timing import machine
from . import arithmetic, codec, pictures, report, sampling, training
from .case import Case, described, measured
from .comfyui import ROOT
from .floors import Rates, rates
from .scale import Scale, scale_here

COUNTS = "counts"
PARTS: Mapping[str, Callable[[Scale], Iterator[Case]]] = {
    "codec": codec.cases,
    "sampling": sampling.cases,
    "pictures": pictures.cases,
    "training": training.cases,
}


def main() -> int:
    """Count, time, print, write; 1 where a case failed."""
    options = _parser().parse_args()
    scale = _chosen(options)
    if COUNTS in options.parts:
        print("\n".join((*arithmetic.lines(), "")), flush=True)
    timed = [name for name in PARTS if name in options.parts]
    if not timed:
        return 0
    reached = rates(scale)
    results: dict[str, Any] = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine(),
        "device": torch.cuda.get_device_name() if scale.device == "cuda" else "no GPU",
        "comfyui": _comfyui_version(),
        "scale": scale.in_words(),
        "rates": asdict(reached),
        "cases": [],
        "failed": [],
    }
    print(f"{report.heading(results)}\n\n{report.HEAD}", flush=True)
    for name in timed:
        for found in _part(name, scale, options.rounds, reached):
            kind = "failed" if "error" in found else "cases"
            results[kind].append(found)
            lines = [f"Failed: {found}"] if kind == "failed" else report.rows(found)
            print("\n".join(lines), flush=True)
            if options.out is not None:
                write_text(options.out, json.dumps(results, indent=1) + "\n")
    if options.against is not None:
        print()
        print("\n".join(report.beside(results, json.loads(options.against.read_text()))))
    return int(bool(results["failed"]))


def _part(name: str, scale: Scale, rounds: int, reached: Rates) -> Iterator[dict[str, Any]]:
    """Its cases, measured; one that the device cannot do, for want of memory for instance, says so instead."""
    cases = PARTS[name](scale)
    while True:
        known: dict[str, Any] = {"part": name, "what": name}
        try:
            case = next(cases, None)
            if case is None:
                return
            known = described(case)
            found = measured(case, rounds, reached)
        except RuntimeError as error:
            # A part that failed while it was prepared has no further cases.
            found = {**known, "error": str(error).splitlines()[0]}
        yield found


def _chosen(options: argparse.Namespace) -> Scale:
    """This machine's scale with what the command line changes."""
    here = scale_here()
    sides, batches = (given and tuple(given) for given in (options.sides, options.batches))
    return replace(
        here,
        sides=sides or here.sides,
        decoded=sides or here.decoded,
        batches=batches or here.batches,
        pictures=batches or here.pictures,
        steps=options.steps or here.steps,
        blocks=options.blocks or here.blocks,
    )


def _comfyui_version() -> str:
    file = Path(os.environ.get("COMFYUI_PATH", ROOT / ".comfyui")) / "comfyui_version.py"
    found = re.search(r'__version__ = "(.+)"', file.read_text()) if file.is_file() else None
    return "of an unknown version" if found is None else found[1]


def _parser() -> argparse.ArgumentParser:
    known = (COUNTS, *PARTS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed")
    parser.add_argument(
        "--parts", nargs="+", choices=known, default=known, help="all of them, unless said"
    )
    parser.add_argument("--sides", nargs="+", type=int, help="pixels of the pictures")
    parser.add_argument("--batches", nargs="+", type=int, help="pictures drawn at once")
    parser.add_argument("--steps", type=int, help="of a whole picture")
    parser.add_argument("--blocks", type=int, help="of the transformer's 24")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each way")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--against", type=Path, help="JSON file of an earlier run to compare with")
    return parser


if __name__ == "__main__":
    sys.exit(main())
