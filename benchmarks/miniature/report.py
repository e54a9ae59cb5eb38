"""Measure the miniature codec on the held-out photographs: ``python -m benchmarks.miniature.report``.

Without ``--arms`` it measures the bundled files alone and prints. With ``--arms FILE`` (see
``arms.read_arms``) it also measures every training named there, judges every requirement, and writes
``arms.json`` and ``arms.md``. With ``--photographs DIR`` it measures the bundled files on the PNG files of a
folder instead, and writes ``fresh.json`` and ``fresh.md``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from davae_core import mini
from davae_core.codec.autoencoder import DetailAlignedVAE, KLAutoencoder
from davae_core.codec.files import load_base_vae, load_codec
from davae_core.files import write_text

from .arms import Arm, Arms, read_arms
from .linear_codes import LinearCode, fit_on_training_photographs
from .measures import (
    Correlation,
    Fidelity,
    base_at_full_size,
    base_at_reduced_size,
    correlation,
    fidelity,
    held_out_pictures,
    pictures_in,
    rebuild_all,
    through_codec,
)
from .tables import ANTIALIASED, FRESH, HELD_OUT, ArmResult, Report, as_data, as_markdown
from .thresholds import (
    ALIGNED,
    CODEC,
    CONTROL,
    FULL,
    HALF,
    LINEAR_F8,
    LINEAR_F16,
    UNALIGNED,
    thresholds,
)

Pictures = dict[str, Tensor]
HERE = Path(__file__).parent
MULTIPLE = 16
"""The codec's factor; `davae demo` cuts the photographs to the same."""


def rebuild_bundled(
    pictures: Pictures,
    base: KLAutoencoder,
    codec: DetailAlignedVAE,
    linear: dict[str, LinearCode],
) -> dict[str, Pictures]:
    """The pictures as (a), (b), (c) and the linear anchors give them back, by row of the table."""
    ratio = codec.layout.ratio
    ways = {
        FULL: base_at_full_size(base),
        HALF: base_at_reduced_size(base, ratio),
        ANTIALIASED: base_at_reduced_size(base, ratio, antialias=True),
        CODEC: through_codec(codec),
        **{row: code.reconstruct for row, code in linear.items()},
    }
    return {row: rebuild_all(pictures, rebuild) for row, rebuild in ways.items()}


def measure(
    pictures: Pictures,
    rebuilt: dict[str, Pictures],
    codec: DetailAlignedVAE,
    arms: Arms | None,
    control: Path | None = None,
) -> Report:
    """Score what was rebuilt, the ``control`` file, then every arm, and judge the requirements."""
    scores = {row: fidelity(pictures, made) for row, made in rebuilt.items()}
    if control is not None:
        without_detail = through_codec(load_codec(control, dtype=torch.float32), False)
        scores[CONTROL] = fidelity(pictures, rebuild_all(pictures, without_detail))
    correlations = {CODEC: correlation(pictures, codec)}
    rows: list[ArmResult] = []
    roles = _roles(arms)
    for arm in arms.arms.values() if arms else ():
        score, found = _measure_arm(pictures, arm)
        gain = score.mean_psnr - scores[HALF].mean_psnr
        rows.append(
            ArmResult(
                arm.name,
                arm.trunk,
                arm.weight,
                arm.detail,
                arm.steps,
                arm.choosing,
                score.mean_psnr,
                gain,
                found,
            )
        )
        for role in (role for role, name in roles.items() if name == arm.name):
            scores[role] = score
            if found is not None:
                correlations[role] = found
    rows.sort(key=lambda row: (row.detail == "learned", row.trunk, row.weight, row.steps))
    sizes = {name: (picture.shape[-1], picture.shape[-2]) for name, picture in pictures.items()}
    judged = tuple(thresholds(scores, correlations))
    return Report(sizes, scores, correlations, tuple(rows), judged)


def _roles(arms: Arms | None) -> dict[str, str | None]:
    if arms is None:
        return {}
    return {CONTROL: arms.control, ALIGNED: arms.aligned or arms.codec, UNALIGNED: arms.unaligned}


def _measure_arm(pictures: Pictures, arm: Arm) -> tuple[Fidelity, Correlation | None]:
    codec = load_codec(arm.file, dtype=torch.float32)
    learned = arm.detail == "learned"
    score = fidelity(pictures, rebuild_all(pictures, through_codec(codec, learned)))
    return score, correlation(pictures, codec) if learned else None


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 0, or 1 with one sentence on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.miniature.report", description=__doc__
    )
    parser.add_argument("--arms", type=Path, help="JSON that names the trained files to compare")
    parser.add_argument(
        "--photographs", type=Path, help="folder of PNG files, for the bundled files"
    )
    parser.add_argument("--control", type=Path, help="the control's weights, with --photographs")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the JSON and Markdown")
    given = parser.parse_args(arguments)
    if given.photographs and given.arms:
        parser.error("--photographs measures the bundled files: leave --arms out")
    if given.control and not given.photographs:
        parser.error("--control goes with --photographs")
    try:
        arms = read_arms(given.arms) if given.arms else None
        base_file = arms.base if arms else mini.davae_path()
        codec_file = arms.arms[arms.codec].file if arms else mini.davae_path()
        base = load_base_vae(base_file).vae.float()
        codec = load_codec(codec_file, dtype=torch.float32)
        pictures = (
            pictures_in(given.photographs, MULTIPLE)
            if given.photographs
            else held_out_pictures(MULTIPLE)
        )
        linear = {
            LINEAR_F8: fit_on_training_photographs(8, 16),
            LINEAR_F16: fit_on_training_photographs(16, 32),
        }
        rebuilt = rebuild_bundled(pictures, base, codec, linear)
        report = measure(pictures, rebuilt, codec, arms, given.control)
        text = as_markdown(report, FRESH if given.photographs else HELD_OUT)
        sys.stdout.write(text)
        if arms or given.photographs:
            name = "arms" if arms else "fresh"
            given.out.mkdir(parents=True, exist_ok=True)
            write_text(given.out / f"{name}.json", json.dumps(as_data(report), indent=1) + "\n")
            write_text(given.out / f"{name}.md", text)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
