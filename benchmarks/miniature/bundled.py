"""Measure the bundled codec: ``python -m benchmarks.miniature.bundled [--control FILE]``.

On six photographs and on drawn scenes that nothing was trained on, beside its base VAE at full and at half size, a
linear code of as many numbers, and the same training without a detail (``--control``). PSNR alone prefers what is
blurred, so fine structure is counted too. Writes ``results.json``, ``results.md`` and the comparison picture.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from davae_core import mini
from davae_core.codec.autoencoder import DetailAlignedVAE
from davae_core.codec.files import load_base_vae, load_codec
from davae_core.files import CheckpointError, write_text
from davae_core.images import from_bytes
from training.mini.pictures_config import HELD_OUT_SEED
from training.mini.prompt_scenes import compose, render

from .linear_codes import fit_on_training_photographs
from .measures import (
    Rebuild,
    base_at_full_size,
    base_at_reduced_size,
    correlation,
    fidelity,
    held_out_pictures,
    rebuild_all,
    through_codec,
)
from .sheet import write_sheet
from .thresholds import CODEC, CONTROL, FULL, HALF, LINEAR_F16

HERE = Path(__file__).parent
PICTURE = HERE.parents[1] / "docs" / "images" / "miniature.png"
MULTIPLE = 16
PHOTOGRAPHS, SCENES = "six photographs", "drawn scenes"
TITLES = {
    FULL: "(a) base VAE at full size, four times the tokens",
    HALF: "(b) base VAE at half size, scaled up",
    CODEC: "(c) DA-VAE",
    CONTROL: "(control) the same training, detail held at zero",
    LINEAR_F16: "PCA f16 k32 of photographs: linear, as many numbers as (c)",
}


@dataclass(frozen=True)
class Scores:
    """Means over a set of pictures: PSNR in dB, SSIM, and fine structure as a multiple of the pictures' own."""

    psnr: float
    ssim: float
    structure: float


Found = dict[str, dict[str, Scores]]
"""By set of pictures, by row of TITLES."""


def held_out_scenes(count: int) -> dict[str, Tensor]:
    """Scenes that nothing was trained on, in their own formats, [1, 3, H, W] in [-1, 1]."""
    drawn = {}
    for number in range(HELD_OUT_SEED + 1000, HELD_OUT_SEED + 1000 + count):
        pixels = torch.from_numpy(render(compose(number), 256))
        drawn[str(number)] = from_bytes(rearrange(pixels, "h w c -> 1 c h w"))
    return drawn


def structure(picture: Tensor) -> float:
    """Mean square difference of neighbouring pixels of [1, 3, H, W]."""
    across, down = picture.diff(dim=-1).square().mean(), picture.diff(dim=-2).square().mean()
    return float(across + down)


def score(pictures: Mapping[str, Tensor], rebuild: Rebuild) -> Scores:
    """How well one way gives a set of pictures back."""
    made = rebuild_all(pictures, rebuild)
    found = fidelity(pictures, made)
    kept = [structure(made[name]) / structure(picture) for name, picture in pictures.items()]
    return Scores(found.mean_psnr, found.mean_ssim, sum(kept) / len(kept))


def ways_of(codec: DetailAlignedVAE, control: Path | None) -> dict[str, Rebuild]:
    """Every row's way to store a picture."""
    base = load_base_vae(mini.davae_path()).vae.float()
    ways = {
        FULL: base_at_full_size(base),
        HALF: base_at_reduced_size(base, codec.layout.ratio),
        CODEC: through_codec(codec),
    }
    if control is not None:
        ways[CONTROL] = through_codec(load_codec(control, dtype=torch.float32), detail=False)
    return {**ways, LINEAR_F16: fit_on_training_photographs(16, 32).reconstruct}


def as_markdown(found: Found, aligned: float, scenes: int) -> str:
    """The table for people."""
    head = "| | " + " | ".join(
        f"{name}: PSNR (SSIM) | fine structure" for name in (PHOTOGRAPHS, SCENES)
    )
    lines = [f"{head} |", "|---|---|---|---|---|"]
    for row in found[PHOTOGRAPHS]:
        cells = []
        for name in (PHOTOGRAPHS, SCENES):
            one = found[name][row]
            cells += [f"{one.psnr:.2f} ({one.ssim:.3f})", f"{one.structure:.2f}"]
        lines.append(f"| {TITLES[row]} | " + " | ".join(cells) + " |")
    return (
        "# The bundled codec\n\n"
        "Written by `python -m benchmarks.miniature.bundled --control FILE`, FILE being what `python -m training vae\n"
        "training/configs/mini_davae.yaml --set model.trunk=frozen --set model.detail=zero` ends with. Means over six\n"
        f"photographs at their own size and {scenes} scenes of 256 px that nothing was trained on. PSNR in dB; fine\n"
        "structure is the mean square difference of neighbouring pixels, 1 being the picture's own. The detail,\n"
        f"projected, follows the base with a correlation of {aligned:.2f} a channel on the photographs.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 0, or 1 with one sentence on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.miniature.bundled", description=__doc__
    )
    parser.add_argument("--control", type=Path, help="the control's weights")
    parser.add_argument("--scenes", type=int, default=40, help="how many scenes (default 40)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the JSON and Markdown")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="the comparison picture")
    given = parser.parse_args(arguments)
    try:
        codec = load_codec(mini.davae_path(), dtype=torch.float32)
        assert isinstance(codec, DetailAlignedVAE)
        photographs = held_out_pictures(MULTIPLE)
        sets = {PHOTOGRAPHS: photographs, SCENES: held_out_scenes(given.scenes)}
        ways = ways_of(codec, given.control)
        found = {
            name: {row: score(pictures, way) for row, way in ways.items()}
            for name, pictures in sets.items()
        }
        aligned = correlation(photographs, codec).mean
        text = as_markdown(found, aligned, given.scenes)
        given.out.mkdir(parents=True, exist_ok=True)
        kept = {
            name: {row: asdict(one) for row, one in rows.items()} for name, rows in found.items()
        }
        data = {"correlation": aligned, "scenes": given.scenes, "scores": kept}
        write_text(given.out / "results.json", json.dumps(data, indent=1) + "\n")
        write_text(given.out / "results.md", text)
        _draw(given.picture, photographs, ways)
    except (CheckpointError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(text)
    return 0


def _draw(path: Path, pictures: Mapping[str, Tensor], ways: Mapping[str, Rebuild]) -> None:
    headings = {
        HALF: "base VAE, half size",
        CODEC: "DA-VAE, same tokens",
        FULL: "base VAE, 4x tokens",
    }
    columns = {"original": dict(pictures)}
    captions = {"original": {name: name for name in pictures}}
    for row, heading in headings.items():
        columns[heading] = rebuild_all(pictures, ways[row])
        psnr = fidelity(pictures, columns[heading]).psnr
        captions[heading] = {name: f"{value:.2f} dB" for name, value in psnr.items()}
    write_sheet(path, columns, captions)


if __name__ == "__main__":
    sys.exit(main())
