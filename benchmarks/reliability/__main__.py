"""What is promised of failures, tried at length: ``python -m benchmarks.reliability fuzz|prompts|kills|soak``.

Each keeps its figures in results.json and exits with 1 if anything was wrong; ``table`` prints what
docs/reliability.md quotes. The same seed gives the same cases. It needs Linux; prompts and soak take the ComfyUI in
.comfyui (``make test`` puts it there), or COMFYUI_PATH with COMFYUI_PYTHON. Set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import results
from .progress import Progress

DEFAULTS = {"fuzz": 10_000, "prompts": 300, "kills": 20, "soak": 500}
"""How many cases a long run has."""


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 0, or 1 when something was wrong."""
    given = _parser().parse_args(arguments)
    if given.form == "table":
        for form, table in results.tables(results.read()).items():
            print(f"{form}\n\n{table}\n")
        return 0
    cases = given.cases or DEFAULTS[given.form]
    figures, bad = FORMS[given.form](given, cases)
    if given.keep_figures:
        results.keep(given.form, figures, machine(), datetime.date.today().isoformat())
    print("\n".join([*bad, str(figures)]))
    return 1 if bad else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("form", choices=[*FORMS, "table"])
    parser.add_argument("--cases", type=int, help="how many (default: 10,000, 300, 20, 500)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for the files of fuzz that went wrong")
    parser.add_argument("--only", nargs="+", default=[], help="kills: these commands alone")
    parser.add_argument("--jobs", type=int, default=1, help="fuzz: processes side by side")
    parser.add_argument("--clients", type=int, default=8, help="soak: clients at a time")
    parser.add_argument(
        "--no-results", dest="keep_figures", action="store_false", help="leave results.json alone"
    )
    return parser


# Each form imports what only it needs.


def _fuzz(given: argparse.Namespace, cases: int) -> tuple[dict[str, Any], list[str]]:
    from .files_fuzz import fuzz, fuzz_side_by_side, in_words, places_of

    say = Progress("cases", 100)
    if given.jobs == 1:
        found = fuzz(cases, given.seed, given.keep, say)
    else:
        found = fuzz_side_by_side(cases, given.seed, given.keep, say, given.jobs)
    for place, count in places_of([*found.bad, *found.unforeseen]):
        print(f"{count} x {place}")
    return found.figures(), [in_words(case) for case in found.bad]


def _prompts(given: argparse.Namespace, cases: int) -> tuple[dict[str, Any], list[str]]:
    from .jobs import running_server
    from .prompts_fuzz import fuzz_prompts

    with running_server() as server:
        found = fuzz_prompts(server, cases, given.seed, Progress("prompts", 20))
    return found.figures(), found.bad


def _kills(given: argparse.Namespace, cases: int) -> tuple[dict[str, Any], list[str]]:
    from .kills import kill_all

    found = kill_all(cases, given.seed, given.only, Progress("kills", 1))
    return found.figures(), [f"{one.command} {one.moment}: {one.faults}" for one in found.bad]


def _soak(given: argparse.Namespace, cases: int) -> tuple[dict[str, Any], list[str]]:
    from .jobs import running_server
    from .soak import Plan, soak

    with running_server() as server:
        found = soak(server, Plan(cases, given.clients, seed=given.seed), Progress("prompts", 20))
    return found.figures(), found.bad


FORMS: dict[str, Callable[[argparse.Namespace, int], tuple[dict[str, Any], list[str]]]] = {
    "fuzz": _fuzz,
    "prompts": _prompts,
    "kills": _kills,
    "soak": _soak,
}


def machine() -> str:
    """Python, PyTorch and cores."""
    import torch

    return (
        f"Python {platform.python_version()}, PyTorch {torch.__version__}, {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    sys.exit(main())
