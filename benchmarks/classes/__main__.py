"""Train, sample and judge the class-conditional miniature: ``python -m benchmarks.classes OUT``.

Twelve drawn classes, cached through the bundled DA-VAE; a small LightningDiT over its base at half the size from
nothing, then widened by zeros and trained on the whole latent; samples of both, judged by a checker that was never
trained. Everything goes through the recipes of docs/imagenet.md. Writes ``results.json``, ``results.md`` and
``pictures.png`` into OUT. A run that is stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from davae_core.files import write_text

from .judging import Verdict, judge_drawn, judge_folder, judge_rebuilt
from .pictures import write_classes
from .sheet import write_sheet
from .stages import BASE, WIDE, Settings, cache, sample, train

DRAWN = "drawn"
ROWS = {
    DRAWN: "the drawn pictures themselves",
    "rebuilt": "through the bundled DA-VAE",
    BASE: "LightningDiT over the base, 64 px from 64 tokens, scaled up",
    WIDE: "widened and trained, 128 px from 64 tokens",
}

SHORT = {BASE: "the base, enlarged", WIDE: "widened and trained"}


def run(
    out: Path, pictures: int, base_steps: int, steps: int, samples: int, more: Settings
) -> dict[str, Verdict]:
    """Every stage in `out`; the verdict on each row of ROWS. `more`: settings of both trainings."""
    write_classes(out, pictures)
    for name, length in ((BASE, base_steps), (WIDE, steps)):
        cache(out, name)
        train(out, name, length, more)
    found = {DRAWN: judge_drawn(samples), "rebuilt": judge_rebuilt(samples)}
    folders = {name: sample(out, name, samples) for name in (BASE, WIDE)}
    write_sheet(out / "pictures.png", {SHORT[name]: folders[name] for name in folders}, samples)
    return found | {name: judge_folder(folder, samples) for name, folder in folders.items()}


def table(found: dict[str, Verdict]) -> str:
    """The verdicts in Markdown; the strength of lines beside the drawn pictures'."""
    lines = [
        "| pictures | judged | colour and place | and form | and hatching | strength of its lines |",
        "|---|---|---|---|---|---|",
    ]
    real = found[DRAWN].lines
    for name, verdict in found.items():
        shares = (verdict.coloured, verdict.formed, verdict.hatched)
        cells = " | ".join(f"{share / verdict.pictures:.0%}" for share in shares)
        strength = f"{verdict.lines / real:.2f}" if verdict.lines is not None and real else ""
        lines.append(f"| {ROWS[name]} | {verdict.pictures} | {cells} | {strength} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classes", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to work in; what is finished there is kept")
    parser.add_argument("--pictures", type=int, default=16, help="of each class (default 16)")
    parser.add_argument("--base-steps", type=int, default=400, help="default 400")
    parser.add_argument("--steps", type=int, default=300, help="of the widened one (default 300)")
    parser.add_argument("--samples", type=int, default=48, help="of each model (default 48)")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    out = given.out.expanduser()
    out.mkdir(parents=True, exist_ok=True)
    found = run(out, given.pictures, given.base_steps, given.steps, given.samples, {})
    told = {
        "pictures_of_a_class": given.pictures,
        "base_steps": given.base_steps,
        "steps": given.steps,
        "verdicts": {name: asdict(verdict) for name, verdict in found.items()},
    }
    write_text(out / "results.json", json.dumps(told, indent=1) + "\n")
    write_text(out / "results.md", table(found))
    sys.stdout.write(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
